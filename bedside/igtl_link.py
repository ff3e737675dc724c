"""The OpenIGTLink server: every viewer is sent the newest mask and state of every source, and never an old one as new.

`pyigtl`'s own server keeps a queue of 100 messages for one viewer, which would show a slow one masks of seconds ago.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from dataclasses import dataclass

from bedside.frames import Answer, Frame
from bedside.igtl import image_message, status_message
from cinert.errors import BadInputError

_Slot = tuple[int, bool]

_WAKE_S = 0.1
_SEND_S = 5.0


@dataclass(frozen=True, slots=True)
class _Shown:
    """An answer as it was published."""

    number: int
    answer: Answer
    frame: Frame | None
    timestamp: float
    monotonic_s: float


class IgtlLink(socketserver.ThreadingTCPServer):
    """Sends what is published to all viewers. A context manager that serves in a thread of its own.

    Args:
        host: to listen on.
        port: 18944 is what 3D Slicer asks for; 0 takes a free one.
        stale_ms: after this time without a new mask the state is sent as `stale`.

    Raises:
        BadInputError: the port cannot be listened on.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, *, stale_ms: float) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._stale_s = stale_ms / 1e3
        # By place, and whether it has a mask: a frame that was dropped must not hide the newest mask.
        self._newest: dict[_Slot, _Shown] = {}
        self._number = 0
        self._changed = threading.Condition()
        self._closing = False
        try:
            super().__init__((host, port), socketserver.BaseRequestHandler)
        except OSError as error:
            raise BadInputError(f"cannot listen on {host} port {port} for OpenIGTLink: {error.strerror}.") from error

    @property
    def port(self) -> int:
        """The port that was taken."""
        return int(self.server_address[1])

    def publish(self, place: int, frame: Frame | None, answer: Answer) -> None:
        """Show an answer to every viewer; returns at once, packing and sending are the viewers' threads' work."""
        with self._changed:
            self._number += 1
            self._newest[place, answer.mask is not None] = _Shown(
                self._number, answer, frame, time.time(), time.monotonic()
            )
            self._changed.notify_all()

    def finish_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override] # noqa: ARG002 - socketserver's signature
        """Serve one viewer, in its own thread, until it leaves."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent: dict[_Slot, int] = {}
        stale: dict[_Slot, int] = {}
        with contextlib.suppress(OSError):
            while not self._closing and _still_there(request):
                request.settimeout(_SEND_S)
                for slot, shown in self._wait(sent):
                    if sent.get(slot) != shown.number:
                        request.sendall(_packed(slot[0], shown))
                        sent[slot] = shown.number
                    elif self._is_stale(shown) and stale.get(slot) != shown.number:
                        since = f"no new mask for {self._stale_s * 1e3:g} ms"
                        request.sendall(status_message("stale", since, place=slot[0], timestamp=time.time()).pack())
                        stale[slot] = shown.number

    def _wait(self, sent: dict[_Slot, int]) -> list[tuple[_Slot, _Shown]]:
        """Wait until there is something that this viewer has not seen, or a moment; then give the newest, in order."""
        with self._changed:
            self._changed.wait_for(
                lambda: any(sent.get(slot) != shown.number for slot, shown in self._newest.items()), _WAKE_S
            )
            return sorted(self._newest.items(), key=lambda item: item[1].number)

    def _is_stale(self, shown: _Shown) -> bool:
        return shown.answer.mask is not None and time.monotonic() - shown.monotonic_s > self._stale_s

    def __enter__(self) -> IgtlLink:
        threading.Thread(target=self.serve_forever, args=(_WAKE_S,), name="igtl", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self.shutdown()
        self.server_close()


def _packed(place: int, shown: _Shown) -> bytes:
    answer = shown.answer
    status: bytes = status_message(answer.state, answer.told, place=place, timestamp=shown.timestamp).pack()
    if shown.frame is None or answer.mask is None:
        return status
    image: bytes = image_message(
        answer.mask, shown.frame.geometry, answer, place=place, timestamp=shown.timestamp
    ).pack()
    # The state first, so that no viewer shows a mask under the state of the one before.
    return status + image


def _still_there(request: socket.socket) -> bool:
    """Read away what a viewer says, and see whether it left."""
    request.setblocking(False)
    try:
        return request.recv(2**16) != b""
    except BlockingIOError:
        return True
