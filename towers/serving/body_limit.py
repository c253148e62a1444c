"""Reads the body of a request before the application does, and no more of it than is allowed."""

from __future__ import annotations

from typing import Final

from towerzoo.towers.serving.errors import App, Message, Receive, Refusal, Send

MOST_DISCARDED: Final = 16 << 20
"""Bytes of too long a body that are read and dropped, so that its client, done sending, reads why it was refused."""


class BodyLimit:
    """Refuses longer bodies with 413, whether they say their length or not; never keeps more than the limit.

    Args:
        app: The application that gets the request with its whole body.
        most: Bytes of a body.
    """

    def __init__(self, app: App, *, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Passes a request on with its whole body, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        length, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunk, more = message.get("body", b""), message.get("more_body", False)
            length += len(chunk)
            if length <= self._most:
                body += chunk
            elif length > MOST_DISCARDED:
                break
        if length > self._most:
            expected = f"at most {self._most:,} bytes"
            problem = f"the request's body must be {expected}, got {length:,} or more. Ask for less at once."
            await Refusal(413, problem, headers={"connection": "close"}).send(send)
            return
        read = False

        async def whole_body() -> Message:
            nonlocal read
            if read:
                return await receive()
            read = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, whole_body, send)
