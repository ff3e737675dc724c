"""The MRD server: a socket, a session per client in threads of its own."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass

from bedside.frames import Answer, Frame
from bedside.mrd.session import Service, Session
from bedside.mrd.wire import MessageWriter
from cinert.errors import BadInputError

_WAKE_S = 0.1

Log = Callable[[str], None]
Watch = Callable[[int, Frame | None, Answer], None]
"""Is shown every answer, with the number of the client's place."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class MrdServer(socketserver.ThreadingTCPServer):
    """Serves clients side by side: a slow or hostile one costs the others nothing but turns at the engine.

    A context manager that accepts clients in a thread of its own; at the end it hangs up on them and waits for their
    sessions to end.

    Args:
        address: to listen on.
        service: what the sessions share.
        max_clients: at one time; others are told so and sent away. Each has a place, numbered from 1.
        log: takes a line per event.
        watch: is shown every answer; has to return at once.

    Raises:
        BadInputError: the address cannot be listened on.
    """

    allow_reuse_address = True
    daemon_threads = False
    block_on_close = True

    def __init__(self, address: Address, service: Service, *, max_clients: int, log: Log, watch: Watch) -> None:
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._service = service
        self._log = log
        self._watch = watch
        self._free = set(range(1, max_clients + 1))
        self._sockets: dict[int, socket.socket] = {}
        self._lock = threading.Lock()
        # Those who are sent away are told so, but a flood of them is not: each takes a thread for a moment.
        self._partings = threading.Semaphore(max_clients)
        try:
            super().__init__((address.host, address.port), socketserver.BaseRequestHandler)
        except OSError as error:
            raise BadInputError(
                f"cannot listen on {address}: {error.strerror or error}.", hint="is another server there?"
            ) from error

    @property
    def address(self) -> Address:
        """Where it listens, with the port that was taken."""
        return Address(str(self.server_address[0]), int(self.server_address[1]))

    def finish_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override] # its base serves UDP too
        """Serve one client, in its own thread."""
        peer = str(Address(*client_address[:2]))
        with self._lock:
            place = min(self._free, default=None)
            if place is not None:
                self._free.remove(place)
                self._sockets[place] = request
        if place is None:
            self._log(f"{peer}: sent away, every place is taken")
            if self._partings.acquire(blocking=False):
                MessageWriter(request, self._service.limits).part("refused: every place is taken")
                self._partings.release()
            return
        self._log(f"client {place} {peer}: connected")
        try:
            session = Session(request, self._service, lambda frame, answer: self._watch(place, frame, answer))
            ended = session.run()
            self._log(f"client {place} {peer}: {ended}; {session.tally}")
        finally:
            with self._lock:
                del self._sockets[place]
                self._free.add(place)

    def __enter__(self) -> MrdServer:
        # Not in the caller's thread: an interrupt there would close the socket of a client that is just coming in.
        threading.Thread(target=self.serve_forever, args=(_WAKE_S,), name="mrd", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        with self._lock:
            for connection in self._sockets.values():
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
