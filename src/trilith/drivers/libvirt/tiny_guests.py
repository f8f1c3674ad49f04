"""The smallest guests there are, as bytes: what the probes run. Each prints one line and stops.

Written out instruction by instruction, so that a host needs no assembler and no image to be probed.
"""

from __future__ import annotations

import struct

#: what the bare guests print
BARE_LINE = b"trilith: bare guest runs"
#: what the first process of the Linux probe prints
LINUX_LINE = b"trilith: user space reached"

_ROM_BYTES = 65_536  # QEMU maps a ROM below 4 GiB; the processor starts 16 bytes from its end
_PVH_BASE = 0x10_0000  # load address of the ELF: 1 MiB
_XEN_ELFNOTE_PHYS32_ENTRY = 18  # Xen: public/elfnote.h; QEMU and Firecracker boot by it


def rom(line: bytes = BARE_LINE) -> bytes:
    """A 64 KiB ROM in real mode: writes `line` to the first serial port and halts."""
    head = b"\xfa\xba\xf8\x03\xbe"  # cli; mov dx,0x3f8; mov si,imm16
    loop = (
        b"\x2e\xac"  # again: cs lodsb
        b"\x84\xc0"  #        test al,al
        b"\x74\x03"  #        jz halt
        b"\xee"  #            out dx,al
        b"\xeb\xf7"  #        jmp again
        b"\xf4"  #      halt: hlt
        b"\xeb\xfd"  #        jmp halt
    )
    text = len(head) + 2 + len(loop)
    image = bytearray(b"\xf4" * _ROM_BYTES)
    program = head + struct.pack("<H", text) + loop + line + b"\r\n\0"
    image[: len(program)] = program
    # the reset vector: jmp to the start of the same 64 KiB segment
    image[0xFFF0:0xFFF3] = b"\xe9" + struct.pack("<H", 0x10000 - 0xFFF3)
    return bytes(image)


def pvh_elf(line: bytes = BARE_LINE) -> bytes:
    """A 32-bit ELF with a PVH note: the same in protected mode, entered without any firmware."""
    code = b"\xfc\x66\xba\xf8\x03\xbeTEXT"  # cld; mov dx,0x3f8; mov esi,text
    code += b"\xac\x84\xc0\x74\x03\xee\xeb\xf8\xfa\xf4\xeb\xfc"  # lodsb; test; jz; out; jmp; cli; hlt; jmp
    code = code.replace(b"TEXT", struct.pack("<I", _PVH_BASE + len(code)))
    segment = code + line + b"\r\n\0"
    offset = 0x1000
    note = struct.pack("<III", 4, 4, _XEN_ELFNOTE_PHYS32_ENTRY) + b"Xen\0" + struct.pack("<I", _PVH_BASE)
    header = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, _PVH_BASE, 52, 0, 0, 52, 32, 2, 0, 0, 0)
    load = struct.pack("<8I", 1, offset, _PVH_BASE, _PVH_BASE, len(segment), len(segment), 5, 0x1000)
    notes = struct.pack("<8I", 4, 52 + 2 * 32, 0, 0, len(note), len(note), 4, 4)
    return (header + load + notes + note).ljust(offset, b"\0") + segment


def init_elf(line: bytes = LINUX_LINE) -> bytes:
    """A static x86-64 program for /init: writes `line` to its console and powers the machine off."""
    base, head = 0x40_0000, 64 + 56
    text = line + b"\n"
    code = b"\xb8\x01\x00\x00\x00\xbf\x01\x00\x00\x00"  # mov eax,1 (write); mov edi,1
    code += b"\xbe" + b"TEXT" + b"\xba" + struct.pack("<I", len(text)) + b"\x0f\x05"  # mov esi,text; mov edx,n; syscall
    # reboot(LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF)
    code += b"\xb8\xa9\x00\x00\x00\xbf\xad\xde\xe1\xfe\xbe\x69\x19\x12\x28\xba\xdc\xfe\x21\x43\x0f\x05"
    code += b"\xeb\xfe"  # jmp to itself: init may not end
    code = code.replace(b"TEXT", struct.pack("<I", base + head + len(code)))
    size = head + len(code) + len(text)
    elf = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    elf += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + head, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    elf += struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return elf + code + text


def initramfs(init: bytes) -> bytes:
    """An uncompressed cpio (newc; the kernel's Documentation/driver-api/early-userspace) of /init and /dev/console."""
    archive = b""
    for number, (name, mode, device, data) in enumerate(
        [
            ("dev", 0o040755, (0, 0), b""),
            ("dev/console", 0o020600, (5, 1), b""),
            ("init", 0o100755, (0, 0), init),
            ("TRAILER!!!", 0, (0, 0), b""),
        ],
        start=1,
    ):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        entry = b"070701" + b"".join(b"%08X" % value for value in fields) + name.encode() + b"\0"
        archive += _pad(entry) + _pad(data)
    return archive


def _pad(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
