"""Runs the service: a socket, signals, and an end that leaves no request unanswered."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

import torch
import uvicorn

from towerzoo.registry.errors import ServingError
from towerzoo.towers.device import settle_process, torch_device
from towerzoo.towers.serving.http import PatientHttp

Reload = Callable[[], Coroutine[Any, Any, object]]

SECONDS_TO_FINISH: Final = 20
"""For which requests in flight are waited for after a signal; container managers kill after 30."""
SECONDS_AT_REST: Final = 15
"""After which a connection between requests is closed."""
MOST_CONNECTIONS: Final = 512
"""Connections at one time; a further one is answered 503."""


def settle_threads(device: str) -> None:
    """Settles the process as training does, but leaves half of the cores to the loop and its clients.

    A small matrix product on all cores waits for the thread that has to share one. OMP_NUM_THREADS goes first.
    """
    settle_process(torch_device(device))
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // 2))


def bind(host: str, port: int) -> socket.socket:
    """Takes a port, before the run is loaded, so that a port in use is told at once.

    Args:
        host: A name or address of this machine.
        port: From 1 to 65535, or 0 for any that is free.

    Raises:
        ServingError: It is in use, not allowed, or the host is none of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ServingError(f"--host must be an address of this machine, got {host!r}: {_reason(error)}.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise ServingError(f"--host must be an address of this machine, got {host!r}. Try 127.0.0.1.") from None
        advice = "Stop what listens there, or choose another with --port."
        raise ServingError(
            f"--port must be a port that is free on {host}, got {port}: {_reason(error)}. {advice}"
        ) from None
    listener.set_inheritable(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """Returns the address to open in a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Answers requests until SIGTERM or SIGINT, then those in flight, and returns; a second signal does not wait.

    `run([listener])` takes a bound socket, and closes it at the end.

    Args:
        app: The ASGI application.
        on_ready: Called once requests are taken.
        reload: Called at each SIGHUP.
    """

    def __init__(self, app: Any, *, on_ready: Callable[[], object], reload: Reload) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=PatientHttp,
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_keep_alive=SECONDS_AT_REST,
                timeout_graceful_shutdown=SECONDS_TO_FINISH,
            )
        )
        self._on_ready = on_ready
        self._reload = reload
        self._reloads: set[asyncio.Task[object]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes requests."""
        await super().startup(sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals while it is open, in the main thread alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # Uvicorn's own raises the signal again at the end, so that a service that was stopped as it should be would die
        # of it, with another status than 0.
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._hang_up}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    def _hang_up(self) -> None:
        task = asyncio.ensure_future(self._reload())
        self._reloads.add(task)  # the loop alone would not keep it
        task.add_done_callback(self._reloads.discard)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if isinstance(error.errno, int) and error.errno > 0 else str(error)
