"""Signals to one very process, and a guest's power button: a signal to its first process."""

from __future__ import annotations

import contextlib
import os
import signal

from trilith.drivers.lxc import state

#: seconds after which the button is pressed again: the kernel drops a signal that a first process which is still
#: starting has no handler for (pid_namespaces(7))
PRESS_AGAIN = 5.0


def send(process: state.Process, number: int) -> None:
    """To this very process, never to one that got its pid."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if process.alive():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)
