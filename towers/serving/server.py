"""Runs the service: its socket, its signals, and a shutdown that answers every request."""

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
from towerzoo.towers.serving.http import PatientHttpProtocol

Reload = Callable[[], Coroutine[Any, Any, object]]

SECONDS_TO_FINISH: Final = 20
"""Time for requests in flight after a signal; container managers kill a process after 30 seconds."""
SECONDS_IDLE: Final = 15
"""Time after which an idle connection is closed."""
MOST_CONNECTIONS: Final = 512
"""Limit of open connections; further ones get status 503."""


def configure_process(device: str) -> None:
    """Configures the process like training, but leaves half of the cores to the event loop and to clients.

    Otherwise small matrix products wait for the thread whose core is busy. OMP_NUM_THREADS takes precedence.
    """
    settle_process(torch_device(device))
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // 2))


def bind(host: str, port: int) -> socket.socket:
    """Binds a port. Doing so before the run is loaded reports a port in use at once.

    Args:
        host: A name or address of this machine.
        port: From 1 to 65535, or 0 for any free port.

    Raises:
        ServingError: The port is in use or not permitted, or the host is not an address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ServingError(f"--host must be an address of this machine, got {host!r}: {error.strerror}.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise ServingError(f"--host must be an address of this machine, got {host!r}. Try 127.0.0.1.") from None
        advice = "Stop the process that listens there, or choose another --port."
        raise ServingError(f"--port must be a free port of {host}, got {port}: {error.strerror}. {advice}") from None
    listener.set_inheritable(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """Returns the URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Answers requests until SIGTERM or SIGINT, then requests in flight; a second signal does not wait for these.

    `run([listener])` takes a bound socket and closes it at the end.

    Args:
        app: The ASGI application.
        on_ready: Called once the service accepts requests.
        reload: Called at each SIGHUP.
    """

    def __init__(self, app: Any, *, on_ready: Callable[[], object], reload: Reload) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=PatientHttpProtocol,
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_keep_alive=SECONDS_IDLE,
                timeout_graceful_shutdown=SECONDS_TO_FINISH,
            )
        )
        self._on_ready = on_ready
        self._reload = reload
        self._reloads: set[asyncio.Task[object]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to accept requests."""
        await super().startup(sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals inside the context, in the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # Uvicorn's method raises the signal again at the end: a clean shutdown would exit with a status other than 0.
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
        self._reloads.add(task)  # the event loop keeps only a weak reference
        task.add_done_callback(self._reloads.discard)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
