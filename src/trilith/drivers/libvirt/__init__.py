"""The libvirt driver: KVM (or emulation) and Xen guests. Importing the package does not import libvirt-python."""
