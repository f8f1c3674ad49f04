"""The ovs library's JSON-RPC, with the parser that its wheel lacks.

PyPI's `ovs` parses JSON one character at a time in Python (its C parser needs libopenvswitch); with a thousand rules
that is most of a transaction's time. OVSDB sends whole objects one after the other, which is what the standard
library's C decoder reads. poll(2) replaces select(2), which fails on file descriptors from 1024 on.
"""

from __future__ import annotations

import codecs
import errno
import json
import select
from typing import Any

import ovs.json
import ovs.jsonrpc
import ovs.poller

_CHUNK = 1 << 18
#: Bytes of one message; a northbound database of 10,000 ports is about 10 MiB.
_BOUND = 1 << 30


class Connection(ovs.jsonrpc.Connection):  # type: ignore[misc]
    """One stream; `recv` yields a message, or EAGAIN while none is whole."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._text = ""
        self._perhaps = False  # _text may hold a whole message
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder()

    def recv(self) -> tuple[int, Any]:
        if self.status:
            return self.status, None
        while True:
            if self._perhaps:
                found = self._message()
                if found is not None or self.status:
                    return self.status, found
            error, data = self.stream.recv(_CHUNK)
            if error == errno.EAGAIN:
                return error, None
            if error or not data:
                self.error(error or ovs.jsonrpc.EOF)
                return self.status, None
            try:
                text = self._utf8.decode(data)
            except UnicodeDecodeError:
                self.error(errno.EILSEQ)
                return self.status, None
            self.received_bytes += len(data)
            self._text += text
            if len(self._text) > _BOUND:
                self.error(errno.EPROTO)
                return self.status, None
            # a message ends in a brace: without one at the end of what came there is nothing to try
            self._perhaps = text.endswith("}")

    def _message(self) -> Any:
        try:
            value, end = self._json.raw_decode(self._text)
        except json.JSONDecodeError:
            self._perhaps = False
            return None
        self._text = self._text[end:].lstrip()
        self._perhaps = bool(self._text)
        message = ovs.jsonrpc.Message.from_json(value)
        if not isinstance(message, ovs.jsonrpc.Message):
            self.error(errno.EPROTO)
            return None
        return message

    def recv_wait(self, poller: Any) -> None:
        if self.status or self._perhaps:
            poller.immediate_wake()
        else:
            self.stream.recv_wait(poller)


class Poll:
    """poll(2) with the library's own emulation's manners: registering an fd again adds to what is waited for."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._events: dict[int, int] = {}

    def register(self, fd: int, events: int) -> None:
        self._events[fd] = self._events.get(fd, 0) | events
        self._poll.register(fd, self._events[fd])

    def poll(self, timeout: int) -> list[tuple[int, int]]:
        return self._poll.poll(timeout)


def install() -> None:
    """Make the library use these (once a process; both are drop-in)."""
    if ovs.json.PARSER != ovs.json.PARSER_C:
        ovs.jsonrpc.Connection = Connection
    ovs.poller.SelectPoll = Poll
