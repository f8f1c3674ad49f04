"""Containers: liblxc by its tools, an overlay on a shared image, limits by control groups and a btrfs pool."""

from trilith.drivers.lxc.driver import LxcDriver

__all__ = ["LxcDriver"]
