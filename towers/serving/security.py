"""Access to the service: the bearer token, loopback names, and the length of bodies."""

from __future__ import annotations

import hmac
import ipaddress
import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from towerzoo.registry.errors import ServingError
from towerzoo.towers.serving.errors import error_response

TOKEN_VARIABLE: Final = "TOWERZOO_TOKEN"  # noqa: S105  (the name of a variable, not a token)
SHORTEST_TOKEN: Final = 16
OPEN_PATHS: Final = ("/", "/health", "/openapi.json")
"""Paths that reveal nothing about the runs; the page asks for the token."""
CHALLENGE: Final = {"www-authenticate": "Bearer"}


def read_token(file: Path | None) -> str | None:
    """Reads the token from a file, or from the environment if there is no file; None if neither has one.

    Raises:
        ServingError: The file cannot be read, or the token is too short or not printable ASCII.
    """
    where, token = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE)
    if file is not None:
        where = str(file)
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ServingError(f"--token-file must be a readable text file, got {where!r}: {error}.") from None
    if token is None:
        return None
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ServingError(
            f"the token of {where} must be at least {SHORTEST_TOKEN} printable ASCII characters without spaces, "
            f"got {len(token)} characters. "
            'Create one with python -c "import secrets; print(secrets.token_urlsafe())".'
        )
    return token


def require_safe_host(host: str, token: str | None) -> None:
    """Restricts a service without a token to loopback addresses.

    Raises:
        ServingError: Other machines could reach it.

    Example:
        >>> require_safe_host("127.0.0.1", None)
        >>> require_safe_host("0.0.0.0", None)
        Traceback (most recent call last):
        ...
        towerzoo.registry.errors.ServingError: --host must be a loopback address without a token, ...
    """
    if token is None and not is_loopback(host):
        raise ServingError(
            f"--host must be a loopback address without a token, got {host!r}. "
            f"Set {TOKEN_VARIABLE} or pass --token-file."
        )


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is a loopback name.

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
    """Middleware that rejects requests without the token or, without a token, requests by other than loopback names.

    The latter keeps a web page in a user's browser from reaching the service through a name that resolves to loopback
    (DNS rebinding).

    Args:
        app: The application.
        token: Token of `Authorization: Bearer TOKEN`, required except for `OPEN_PATHS`; None for none.
    """

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self._app = app
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or rejects it."""
        rejection = self._rejection(scope) if scope["type"] == "http" else None
        await (rejection or self._app)(scope, receive, send)

    def _rejection(self, scope: Scope) -> Response | None:
        if self._expected is None:
            host = Headers(scope=scope).get("host", "")
            if is_loopback(host):
                return None
            return error_response(403, [f"Host must be a loopback name without a token, got {host!r}. Use 127.0.0.1."])
        if scope["path"] in OPEN_PATHS:
            return None
        actual = Headers(scope=scope).get("authorization", "").encode("latin-1")
        if hmac.compare_digest(actual, self._expected):
            return None
        problem = (
            f"Authorization must be 'Bearer' and the service's token, got {'another value' if actual else 'none'}."
        )
        return error_response(401, [problem], CHALLENGE)


MOST_DISCARDED: Final = 16 << 20
"""Bytes of a too long body that are read and dropped: many clients read the response only after sending."""


async def read_body(request: Request, most: int) -> bytes:
    """Returns the body of a request, with or without a content length; keeps at most the limit in memory.

    Args:
        request: The request.
        most: Limit in bytes.

    Raises:
        HTTPException: The body is longer, or the client disconnected.
    """
    body = bytearray()
    length = 0
    try:
        async for chunk in request.stream():
            length += len(chunk)
            if length <= most:
                body += chunk
            elif length > MOST_DISCARDED:
                break
    except ClientDisconnect:
        raise HTTPException(499, ["The client disconnected."]) from None  # type: ignore[arg-type]
    if length > most:
        problem = f"the request body must be at most {most:,} bytes, got {length:,} or more. Send less at once."
        raise HTTPException(413, [problem], {"connection": "close"})  # type: ignore[arg-type]
    return bytes(body)
