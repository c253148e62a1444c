"""Deadlines for slow clients, a limit for request heads, and a shutdown that loses no request."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SECONDS_TO_SEND: Final = 10.0
"""Deadline for sending a request, head and body."""
SECONDS_TO_READ: Final = 10.0
"""Deadline for reading on when a response fills the buffers."""
SECONDS_TO_SETTLE: Final = 0.1
"""Time that an idle connection stays open at shutdown: the client may already have sent a request."""
LONGEST_HEAD: Final = 64 << 10
"""Limit of a request head in bytes, checked after each read; the parser keeps the whole head in memory."""


def _closing_response(status: str, problem: str) -> bytes:
    body = json.dumps({"problems": [problem]})
    headers = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close"
    return f"HTTP/1.1 {status}\r\n{headers}\r\n\r\n{body}".encode()


TOO_SLOW: Final = _closing_response(
    "408 Request Timeout", f"The request was incomplete after {SECONDS_TO_SEND:.0f} seconds. Send it again."
)
TOO_LONG: Final = _closing_response(
    "431 Request Header Fields Too Large",
    f"The head of the request must be at most {LONGEST_HEAD:,} bytes. Send fewer headers.",
)


class PatientHttpProtocol(HttpToolsProtocol):
    """An HTTP connection with the deadlines that uvicorn lacks.

    Uvicorn closes connections that are idle between requests. This also closes connections that stop in the middle of
    a request, whose head never ends, or whose client does not read. At shutdown, uvicorn closes idle connections at
    once and loses requests in transit; this waits a moment for them and answers with `Connection: close`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._send_deadline: asyncio.TimerHandle | None = None
        self._read_deadline: asyncio.TimerHandle | None = None
        self._shutting_down = False
        self._head: int | None = 0  # bytes of the current head; None while a body is received
        self._completed = False  # whether the last data contained the end of a request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the deadline for the first request."""
        super().connection_made(transport)
        self._start_send_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancels all deadlines."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._cancel_send_deadline()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Limits the head, and starts a deadline also for data that may never become a request."""
        self._completed = False
        super().data_received(data)
        if self._head is not None and not self._completed:
            self._head += len(data)
            if self._head > LONGEST_HEAD and not self.transport.is_closing():
                self.transport.write(TOO_LONG)
                self.transport.close()
                return
        if not self._is_answering():
            self._start_send_deadline()

    def on_message_begin(self) -> None:
        """Starts the deadline for a request."""
        self._start_send_deadline()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Makes a request that arrives during shutdown the last one of the connection."""
        self._head = None
        super().on_headers_complete()
        if self._shutting_down and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Cancels the deadline for a request."""
        self._cancel_send_deadline()
        self._head, self._completed = 0, True
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Starts the deadline for reading a response that fills the buffers."""
        super().pause_writing()
        self._read_deadline = self._read_deadline or self.loop.call_later(SECONDS_TO_READ, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancels the deadline for reading."""
        super().resume_writing()
        if self._read_deadline is not None:
            self._read_deadline.cancel()
            self._read_deadline = None

    def timeout_keep_alive_handler(self) -> None:
        """Drops an idle connection, even if the client has not read the last response."""
        self.transport.abort()

    def shutdown(self) -> None:
        """Closes the connection after a request that is being answered or in transit."""
        self._shutting_down = True
        if self._is_answering():
            super().shutdown()
        else:
            self.loop.call_later(SECONDS_TO_SETTLE, super().shutdown)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _start_send_deadline(self) -> None:
        self._send_deadline = self._send_deadline or self.loop.call_later(SECONDS_TO_SEND, self._drop_sender)

    def _cancel_send_deadline(self) -> None:
        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None

    def _drop_sender(self) -> None:
        self._send_deadline = None
        if self._is_answering() and not self.cycle.more_body:  # the client does not read the previous response
            self.transport.abort()
        elif not self.transport.is_closing():
            self.transport.write(TOO_SLOW)
            self.transport.close()
