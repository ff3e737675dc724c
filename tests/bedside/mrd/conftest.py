"""A server on loopback, and a client written from the MRD specification alone: no byte of it comes from `ismrmrd`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import socket
import struct
import threading
import time

import numpy as np
import pytest

from bedside.frames import Answer
from bedside.mrd.limits import Limits
from bedside.mrd.outbox import Outbox
from bedside.mrd.server import Address, MrdServer
from bedside.mrd.session import Service

HEADER = (
    '<?xml version="1.0" encoding="UTF-8"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
    "<experimentalConditions><H1resonanceFrequency_Hz>63870000</H1resonanceFrequency_Hz></experimentalConditions>"
    "<encoding><encodedSpace><matrixSize><x>8</x><y>6</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>16</x><y>18</y><z>8</z></fieldOfView_mm></encodedSpace>"
    "<reconSpace><matrixSize><x>8</x><y>6</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>16</x><y>18</y><z>8</z></fieldOfView_mm></reconSpace>"
    "<encodingLimits><slice><minimum>0</minimum><maximum>{last}</maximum><center>0</center></slice></encodingLimits>"
    "<trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"
)
# version, data type, flags, uid, matrix, field of view, channels, position, read, phase and slice direction, table
# position, average, slice, contrast, phase, repetition, set, time stamp, 3 physiological ones, image type, index,
# series, 8 integers, 8 floats, length of the attributes: 198 bytes.
HEAD = struct.Struct("<HHQI3H3fH3f3f3f3f3f6HI3I3H8i8fI")
TYPES = {1: np.uint16, 2: np.int16, 5: np.float32, 6: np.float64}
LIMITS = Limits(
    max_text_bytes=2**16,
    max_image_bytes=2**20,
    max_held_bytes=2**22,
    max_images_per_s=1e6,
    max_slices=16,
    idle_s=60.0,
    stall_s=60.0,
)


@dataclasses.dataclass
class Received:
    """An image as it came over the wire."""

    series: int
    slice: int
    phase: int
    repetition: int
    fields: tuple
    meta: dict
    pixels_YX: np.ndarray


class SpecClient:
    """Speaks MRD as its specification has it."""

    head = HEAD

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection((address.host, address.port), timeout=60)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def config(self, name: str = "cinert") -> None:
        self.send(struct.pack("<H", 1) + name.encode().ljust(1024, b"\0"))

    @contextlib.contextmanager
    def at_once(self):
        """Send all that follows in one go, so that no time passes in between."""
        parts, send = [], self.send
        self.send = parts.append
        yield
        self.send = send
        send(b"".join(parts))

    def text(self, text: str, number: int = 5) -> None:
        self.send(struct.pack("<HI", number, len(text.encode())) + text.encode())

    def header(self, slices: int) -> None:
        self.text(HEADER.format(last=slices - 1), 3)

    def start(self, slices: int) -> None:
        self.config()
        self.header(slices)

    def close(self) -> None:
        self.send(struct.pack("<H", 4))

    def waveform_head(self, channels: int, samples: int) -> None:
        """Version, flags, uid, counter, time, samples, channels, sample time and id take 40 bytes with padding."""
        head = struct.pack("<H6xQIIIHHfH2x", 1, 0, 7, 0, 99, samples, channels, 2.5, 0)
        self.send(struct.pack("<H", 1026) + head)

    def waveform(self, channels: int, samples: int) -> None:
        self.waveform_head(channels, samples)
        self.send(bytes(4 * channels * samples))

    def image(self, pixels_YX: np.ndarray, **named) -> None:
        self.send(image_bytes(pixels_YX, **named))

    def receive(self):
        """The next message: an image, a text (str), or None for close; EOFError when the connection ended."""
        (number,) = struct.unpack("<H", self._exactly(2))
        if number == 4:
            return None
        if number == 5:
            (length,) = struct.unpack("<I", self._exactly(4))
            return self._exactly(length).decode()
        assert number == 1022, number
        fields = HEAD.unpack(self._exactly(HEAD.size))
        (length,) = struct.unpack("<Q", self._exactly(8))
        meta = {}
        for block in re.findall(r"<meta>(.*?)</meta>", self._exactly(length).decode(), flags=re.DOTALL):
            values = re.findall(r"<value>(.*?)</value>", block)
            meta[re.search(r"<name>(.*?)</name>", block)[1]] = values[0] if len(values) == 1 else values
        columns, rows, depth = fields[4:7]
        dtype = np.dtype(TYPES[fields[1]]).newbyteorder("<")
        pixels = np.frombuffer(self._exactly(columns * rows * depth * dtype.itemsize), dtype)
        return Received(
            fields[38], fields[27], fields[29], fields[30], fields, meta, pixels.reshape(-1, rows, columns)[0]
        )

    def rest(self) -> list:
        """Everything until the server closes or the connection ends."""
        messages = []
        with contextlib.suppress(EOFError, ConnectionError):
            while (message := self.receive()) is not None:
                messages.append(message)
        return messages

    def refusal(self) -> str:
        """The last words of the server."""
        *_, words = self.rest()
        assert words.startswith("refused: "), words
        return words

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            if not (chunk := self.socket.recv(size - len(data))):
                raise EOFError
            data += chunk
        return data


def image_bytes(
    pixels_YX: np.ndarray,
    *,
    slice=0,
    phase=0,
    repetition=0,
    series=3,
    image_type=1,
    channels=1,
    field_mm=(16.0, 18.0, 8.0),
    position=None,
    read=(1.0, 0.0, 0.0),
    phase_dir=(0.0, 1.0, 0.0),
    attributes=b"",
    matrix=None,
    data_type=None,
) -> bytes:
    """An image message; slices lie 8 mm apart along z."""
    kind = data_type or {np.dtype(value): key for key, value in TYPES.items()}[pixels_YX.dtype]
    rows, columns = pixels_YX.shape
    centre = (0.0, 0.0, 8.0 * slice) if position is None else position
    head = HEAD.pack(
        1, kind, 0, 7, *(matrix or (columns, rows, 1)), *field_mm, channels, *centre, *read, *phase_dir,
        *np.cross(read, phase_dir), 0, 0, 0, 0, slice, 0, phase, repetition, 0, 99, 1, 2, 3, image_type, 5, series,
        *range(8), *range(8), len(attributes),
    )  # fmt: skip
    return struct.pack("<H", 1022) + head + struct.pack("<Q", len(attributes)) + attributes + pixels_YX.tobytes()


class Brightness:
    """Stands for a runner: LV where a pixel is brighter than 500. May be made to wait or to fail."""

    def __init__(self) -> None:
        self.frames = []
        self.go = threading.Event()
        self.go.set()
        self.failure: Exception | None = None

    def submit(self, frame) -> Answer:
        self.frames.append(frame)
        assert self.go.wait(60)
        if self.failure is not None:
            return Answer("failed", None, 1.0, str(self.failure))
        return Answer("live", np.where(frame.image > 500, 3, 0).astype(np.uint8), 1.5)

    def close(self) -> None:
        pass


@dataclasses.dataclass
class Running:
    """A server that runs, and what it said."""

    server: MrdServer
    lines: list
    seen: list
    runners: list
    arrived: list
    """Frames and drops that were put before the engine."""
    clients: list

    def connect(self) -> SpecClient:
        client = SpecClient(self.server.address)
        self.clients.append(client)
        return client

    def assert_still_serving(self, pixels) -> None:
        client = self.connect()
        client.start(1)
        client.image(pixels())
        client.close()
        assert len(client.rest()) == 1

    def wait_for(self, condition) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.002)

    def wait_for_line(self, *words: str) -> str:
        def found() -> list:
            return [line for line in self.lines if all(word in line for word in words)]

        self.wait_for(found)
        return found()[0]


@pytest.fixture
def limits() -> Limits:
    """Those of `serve`."""
    return LIMITS


@pytest.fixture
def serve(monkeypatch):
    """Starts servers with stand-ins for the engine; `limits` change the defaults."""
    running = []
    arrived = []

    class Watched(Outbox):
        def put(self, item) -> None:
            super().put(item)
            arrived.append(item)

    monkeypatch.setattr("bedside.mrd.session.Outbox", Watched)

    def serve(
        *,
        slices=None,
        queue=1,
        fresh_slices=None,
        stale_ms=1e6,
        max_clients=4,
        open_runner=None,
        bundle="b" * 64,
        **limits,
    ) -> Running:
        lines, seen, runners = [], [], []

        def open_brightness():
            runners.append(Brightness())
            return runners[-1]

        service = Service(
            open_runner=open_runner or open_brightness,
            limits=dataclasses.replace(LIMITS, **limits),
            bundle=bundle,
            slices=slices,
            queue=queue,
            fresh_slices=fresh_slices,
            stale_ms=stale_ms,
        )
        server = MrdServer(
            Address("127.0.0.1", 0),
            service,
            max_clients=max_clients,
            log=lines.append,
            watch=lambda *event: seen.append(event),
        )
        server.__enter__()
        running.append(Running(server, lines, seen, runners, arrived, []))
        return running[-1]

    yield serve
    for each in running:
        for client in each.clients:
            client.socket.close()
        each.server.__exit__(None, None, None)


@pytest.fixture
def pixels():
    """Pixels of a slice, (rows, columns); which are bright says the seed."""
    return lambda seed=0: np.random.default_rng(seed).integers(0, 1000, (6, 8)).astype(np.uint16)


@pytest.fixture
def make_image():
    """Makes the bytes of an image message."""
    return image_bytes


@pytest.fixture
def declared():
    """Reads the texts that answer frames without a mask."""
    return lambda messages: [json.loads(text) for text in messages if isinstance(text, str) and "cinert" in text]


@pytest.fixture
def header():
    """The XML header of one slice."""
    return HEADER.format(last=0)
