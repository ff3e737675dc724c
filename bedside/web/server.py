"""The page's HTTP server: a few files and the newest message, to a few viewers, each in a thread of its own.

The standard library's server is enough here: a few files, one request that waits for the newest, no upload, no login. A
viewer that asks again when it has drawn is never sent an old picture, which WebSocket and Server-Sent Events do as soon
as their buffers fill, and the bedside gets no further package to trust.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import socketserver
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bedside.frames import Answer, Frame
from bedside.mrd.pace import Pace
from bedside.web.board import Board, Facts
from cinert.errors import BadInputError

MAX_VIEWERS = 8
_WAKE_S = 0.1
_BEAT_S = 1.0
"""Without news a viewer is answered all the same, so that it knows that the server lives."""
_MOST_PER_S = 40.0
"""Messages to one connection; a page asks for fewer."""
_STALL_S = 10.0
"""A viewer that takes longer to say or to take a message is hung up on."""
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _page() -> dict[str, tuple[str, bytes]]:
    """Every file of the page by its path: type and content."""
    files = {
        f"/{file.name}": (f"{_TYPES[file.name.rsplit('.', 1)[1]]}; charset=utf-8", file.read_bytes())
        for file in resources.files("bedside.web").joinpath("page").iterdir()
    }
    return {"/": files["/index.html"], **files}


def is_own_host(host: str | None) -> bool:
    """Whether a request's Host header is `localhost` or an address.

    A page of somewhere else that made its own name point here (DNS rebinding) still sends that name.
    """
    with contextlib.suppress(ValueError):
        name = urlsplit(f"//{host}").hostname if host else None
        return name is not None and (name == "localhost" or bool(ipaddress.ip_address(name)))
    return False


class WebView(ThreadingHTTPServer):
    """Shows what is published to all viewers. A context manager that serves in threads of its own.

    Args:
        host: to listen on; whoever reaches it sees the images.
        port: 0 takes a free one.
        facts: what the page says of the server.
        max_viewers: at one time, with two connections each: a browser holds one or two for each page.

    Raises:
        BadInputError: the port cannot be listened on.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, facts: Facts, *, max_viewers: int = MAX_VIEWERS) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.board = Board(facts)
        self.page = _page()
        self._room = threading.Semaphore(2 * max_viewers)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise BadInputError(
                f"cannot listen on {host} port {port} for the page: {error.strerror or error}.",
                hint="is another server there?",
            ) from error

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = str(self.server_address[0]), int(self.server_address[1])
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def publish(self, place: int, frame: Frame | None, answer: Answer) -> None:
        """Show an answer of the source `place`, counted from 1; returns at once."""
        self.board.publish(place, frame, answer)

    def server_bind(self) -> None:
        """Bind without asking a name server for the host's name, as the standard library's server does."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, if there is room."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with contextlib.suppress(OSError):
            # A connection that is closed on an unread request is reset, and the viewer would not see why.
            request.settimeout(_WAKE_S)
            request.recv(2**16)
            request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 16\r\nConnection: close\r\n\r\n")
            request.sendall(b"too many viewers")
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A viewer may leave at any time; anything else is told."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def __enter__(self) -> WebView:
        self.board.__enter__()
        threading.Thread(target=self.serve_forever, args=(_WAKE_S,), name="web", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.board.__exit__()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: WebView
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _STALL_S

    def setup(self) -> None:
        """Begin a connection."""
        super().setup()
        self._pace = Pace(_MOST_PER_S)

    def do_GET(self) -> None:
        """A file of the page, or the newest message."""
        if not is_own_host(self.headers.get("Host")):
            self._say(HTTPStatus.MISDIRECTED_REQUEST, "ask by address or as localhost; names may be somebody else's")
            return
        path, _, query = self.path.partition("?")
        if self.server.board.closing:
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, "the server ends")
        elif path == "/newest":
            self._newest(query)
        elif (file := self.server.page.get(path)) is not None:
            self._send(HTTPStatus.OK, *file)
        else:
            self._say(HTTPStatus.NOT_FOUND, "no such page")

    def _newest(self, query: str) -> None:
        asked = {name: values[-1] for name, values in parse_qs(query).items()}
        numbers = asked.get("after", "0"), asked.get("place", "0")
        if not all(number.isascii() and number.isdigit() and len(number) < 16 for number in numbers):
            self._say(HTTPStatus.BAD_REQUEST, "after and place are whole numbers")
            return
        after, place = map(int, numbers)
        self._pace.wait()
        message = self.server.board.newest(run=asked.get("run", ""), after=after, place=place, wait_s=_BEAT_S)
        self._send(HTTPStatus.OK, "application/octet-stream", message)

    def _say(self, status: HTTPStatus, words: str) -> None:
        self.close_connection = True
        self._send(status, "text/plain; charset=utf-8", words.encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        """Not the versions of everything, as the standard library has it."""
        return "cinert"

    def log_message(self, *_: object) -> None:
        """The terminal is for frames; viewers are not logged."""
