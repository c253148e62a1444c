"""HTTP that is patient, but not without end: slow clients are dropped, and those in the middle are let finish."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SECONDS_TO_SEND: Final = 10.0
"""Within which a client must have sent a request, head and body."""
SECONDS_TO_TAKE: Final = 10.0
"""Within which a client must go on reading an answer that does not fit into the buffers between."""
SECONDS_TO_SETTLE: Final = 0.1
"""For which a connection at rest is kept at shutdown: a request may be on its way that was sent before."""

LONGEST_HEAD: Final = 64 << 10
"""Bytes of a request's head, within the piece that is read at once; its parser keeps it whole."""

SLOW_BODY: Final = b'{"problems": ["a request must be sent within 10 seconds, got a part of one. Send it again."]}'
TOO_SLOW: Final = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(SLOW_BODY), SLOW_BODY)
)
LONG_BODY: Final = b'{"problems": ["a request\'s head must be at most 65,536 bytes, got more. Send fewer headers."]}'
TOO_LONG: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(LONG_BODY), LONG_BODY)
)


class PatientHttp(HttpToolsProtocol):
    """A connection of uvicorn's with the deadlines that uvicorn leaves out.

    Uvicorn ends connections that rest between requests. This ends those that stop in the middle of one, those whose
    head has no end, and those whose client does not read. At shutdown, uvicorn closes connections at rest at once, and
    a request that is on its way is lost; this waits a moment for it, and answers it with `Connection: close`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sending: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._leaving = False
        self._head: int | None = 0  # bytes of pieces that are all of one head; None while a body is read
        self._next = False  # whether the piece that is read holds the end of a request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the deadline of the first request."""
        super().connection_made(transport)
        self._start_sending()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends all deadlines."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._sent()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Bounds the head of a request, and gives a deadline also to what may never become one."""
        self._next = False
        super().data_received(data)
        if self._head is not None and not self._next:
            self._head += len(data)
            if self._head > LONGEST_HEAD and not self.transport.is_closing():
                self.transport.write(TOO_LONG)
                self.transport.close()
                return
        if not self._busy():
            self._start_sending()

    def on_message_begin(self) -> None:
        """Starts the deadline of a request."""
        self._start_sending()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Lets a request that comes during shutdown be the connection's last."""
        self._head = None
        super().on_headers_complete()
        if self._leaving and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Ends the deadline of a request."""
        self._sent()
        self._head, self._next = 0, True
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Starts the deadline of a client whose answers fill the buffers."""
        super().pause_writing()
        self._taking = self._taking or self.loop.call_later(SECONDS_TO_TAKE, self.transport.abort)

    def resume_writing(self) -> None:
        """Ends that deadline."""
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def timeout_keep_alive_handler(self) -> None:
        """Drops a connection at rest, even where its last answer was not taken."""
        self.transport.abort()

    def shutdown(self) -> None:
        """Closes the connection, after the request that is being answered or is on its way."""
        self._leaving = True
        super().shutdown() if self._busy() else self.loop.call_later(SECONDS_TO_SETTLE, super().shutdown)

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _start_sending(self) -> None:
        self._sending = self._sending or self.loop.call_later(SECONDS_TO_SEND, self._drop_sender)

    def _sent(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def _drop_sender(self) -> None:
        self._sending = None
        if self._busy() and not self.cycle.more_body:  # the answer to another one is on its way, and not taken
            self.transport.abort()
        elif not self.transport.is_closing():
            self.transport.write(TOO_SLOW)
            self.transport.close()
