"""An ordinary Debian 12 host as a machine of QEMU: systemd is PID 1, one cgroup v2 tree, openvswitch.ko, AppArmor."""
