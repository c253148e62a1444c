"""How the service says no: a status, and all that is wrong, in the words of all other errors."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
"""An ASGI application: called with a request's scope, and with what receives its body and sends the answer."""


class Refusal(Exception):  # noqa: N818  (an answer to the client, not a failure of the service)
    """An answer that says what is wrong with a request.

    Args:
        status: The HTTP status, 4xx or 503.
        problems: Sentences of the form `<where> must be <expected>, got <value!r>. <what to do next>`.
        headers: Headers of the answer.
    """

    def __init__(self, status: int, *problems: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(*problems)
        self.status = status
        self.problems = problems
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        """The answer as JSON.

        Example:
            >>> Refusal(404, "user must be a user of the run, got 7.").body
            b'{"problems": ["user must be a user of the run, got 7."]}'
        """
        return json.dumps({"problems": self.problems}).encode()

    async def send(self, send: Send) -> None:
        """Sends it as the answer to a request."""
        headers = {"content-type": "application/json", "content-length": str(len(self.body)), **self.headers}
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        await send({"type": "http.response.body", "body": self.body})
