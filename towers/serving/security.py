"""Who may ask: the bearer token, and the names under which a service on loopback is known."""

from __future__ import annotations

import hmac
import ipaddress
import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from towerzoo.registry.errors import ServingError
from towerzoo.towers.serving.errors import App, Message, Receive, Refusal, Send

TOKEN_VARIABLE: Final = "TOWERZOO_TOKEN"  # noqa: S105  (the name of a variable, not a token)
SHORTEST_TOKEN: Final = 16
OPEN_PATHS: Final = ("/", "/health", "/openapi.json")
"""What tells nothing of the run, so that a browser gets the page that asks for the token."""
CHALLENGE: Final = {"www-authenticate": "Bearer"}


def read_token(file: Path | None) -> str | None:
    """Returns the token of a file, or that of the environment where no file is given, or None where there is neither.

    Raises:
        ServingError: The file cannot be read, or the token is too short or not of printable ASCII.
    """
    where, token = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE)
    if file is not None:
        where = str(file)
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ServingError(f"--token-file must be a text file that can be read, got {where!r}: {error}.") from None
    if token is None:
        return None
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ServingError(
            f"the token of {where} must be at least {SHORTEST_TOKEN} letters of ASCII without spaces, "
            f"got {len(token)} that are not so. "
            'Make one by python -c "import secrets; print(secrets.token_urlsafe())".'
        )
    return token


def require_safe_host(host: str, token: str | None) -> None:
    """Lets a service without a token be bound to loopback alone.

    Raises:
        ServingError: Others could reach it.

    Example:
        >>> require_safe_host("127.0.0.1", None)
        >>> require_safe_host("0.0.0.0", None)
        Traceback (most recent call last):
        ...
        towerzoo.registry.errors.ServingError: --host must be a loopback address where no token is set, ...
    """
    if token is None and not is_loopback(host):
        raise ServingError(
            f"--host must be a loopback address where no token is set, got {host!r}. "
            f"Set {TOKEN_VARIABLE} or give --token-file."
        )


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, names this machine alone.

    Example:
        >>> [is_loopback(host) for host in ("localhost:8000", "127.0.0.1", "[::1]:80", "::1", "example.org", "")]
        [True, True, True, True, False, False]
    """
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host
    if name.count(":") == 1:
        name = name.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Access:
    """Refuses who has not the token; without a token, who does not call the service by a loopback name.

    The latter keeps a web page that a person has open from asking through a name that it has made point here.

    Args:
        app: The application behind it.
        token: What must come as `Authorization: Bearer TOKEN`, but for `OPEN_PATHS`; None asks for none.
    """

    def __init__(self, app: App, *, token: str | None) -> None:
        self._app = app
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal.send(send)

    def _refusal(self, scope: Message) -> Refusal | None:
        if self._expected is None:
            host = _header(scope, b"host").decode("latin-1")
            if is_loopback(host):
                return None
            return Refusal(403, f"Host must be a loopback name where no token is set, got {host!r}. Call 127.0.0.1.")
        if scope["path"] in OPEN_PATHS:
            return None
        given = _header(scope, b"authorization")
        if hmac.compare_digest(given, self._expected):
            return None
        found = "another one" if given else "none"
        return Refusal(401, f"Authorization must be 'Bearer' and the service's token, got {found}.", headers=CHALLENGE)


def _header(scope: Message, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


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
