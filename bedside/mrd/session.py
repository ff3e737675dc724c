"""One client from its first message to its last: every frame gets exactly one answer while the client is there."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from bedside.frames import Answer, Frame, FrameRunner, OpenRunner
from bedside.mrd.answer import declaration, mask_images
from bedside.mrd.config import check_config, check_parameters
from bedside.mrd.gather import Drop, Gathered, Gatherer
from bedside.mrd.gather_slices import SliceGatherer
from bedside.mrd.limits import Limits
from bedside.mrd.messages import Close, Config, DisconnectedError, Header, PeerError, Text, Waveform
from bedside.mrd.outbox import Outbox
from bedside.mrd.pace import Pace
from bedside.mrd.wire import MessageReader, MessageWriter
from bedside.slices import of_whole_stack, with_ages

_KEPT_SAMPLES = 100_000

Publish = Callable[[Frame | None, Answer], None]
"""Shows an answer elsewhere, at once; a frame that was dropped comes without its images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """What all sessions of a server share."""

    open_runner: OpenRunner
    limits: Limits
    bundle: str
    """Digest, written beside every mask."""
    slices: int | None
    """In a frame; None takes what the client's header says."""
    queue: int
    """Frames that may wait; 1 serves the freshest."""
    fresh_slices: int | None = None
    """So many fresh slices of a stack that is known are a frame; None: every frame is a whole stack."""
    stale_ms: float = math.inf
    """A stack with an older slice is `stale` to those who show the whole of it."""


@dataclass(slots=True)
class Tally:
    """What a session did, for the log."""

    images: int = 0
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    total_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_SAMPLES))

    def count(self, answer: Answer) -> None:
        """Add an answer."""
        self.states[answer.state] += 1
        if answer.mask is None:
            self.reasons[answer.reason] += 1
        else:
            self.total_ms.append(answer.total_ms)

    def __str__(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        text = f"{self.images} images, {sum(self.states.values())} frames" + (f": {states}" if states else "")
        if self.total_ms:
            p50, p99 = np.percentile(list(self.total_ms), [50, 99])
            text += f"; frame to mask p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        if self.reasons:
            text += "; no mask: " + ", ".join(f"{reason} ({n})" for reason, n in self.reasons.most_common(3))
        return text


class Session:
    """Serves one connected socket; `run` returns when the client is gone or was sent away, and closes the socket.

    One thread receives, so that the newest frame is always known; another segments and answers.
    """

    def __init__(self, connection: socket.socket, service: Service, publish: Publish) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tally = Tally()
        self._socket = connection
        self._service = service
        self._publish = publish
        self._reader = MessageReader(connection, service.limits)
        self._writer = MessageWriter(connection, service.limits)
        self._outbox = Outbox(service.queue, service.limits.max_held_bytes)
        self._answering: threading.Thread | None = None
        self._given_up = ""

    def run(self) -> str:
        """Serve; say in words how it ended."""
        ended = "the client closed"
        try:
            self._serve()
        except PeerError as error:
            ended = f"refused: {error}"
        except DisconnectedError as error:
            ended = self._given_up or f"lost: {error}"
            self._outbox.discard()
        self._outbox.finish()
        if self._answering is not None:
            self._answering.join()
        self._writer.part(ended if ended.startswith("refused") else "")
        self._socket.close()
        return ended

    def _serve(self) -> None:
        # Whoever connects has something to say: a place is not held for the silent.
        wait_s = self._service.limits.stall_s
        config = self._reader.read(wait_s=wait_s)
        if isinstance(config, Close):
            return
        if not isinstance(config, Config):
            raise PeerError(f"the first message is {_kind(config)}; it has to be the configuration")
        check_config(config)
        header = self._reader.read(wait_s=wait_s)
        if isinstance(header, Close):
            return
        if not isinstance(header, Header):
            raise PeerError(f"the second message is {_kind(header)}; it has to be the XML header")
        gatherer = self._gatherer(self._slices(header))
        self._answering = threading.Thread(target=self._answer_all, name="mrd-answers", daemon=True)
        self._answering.start()
        self._receive(gatherer)

    def _slices(self, header: Header) -> int:
        slices = self._service.slices or header.slices
        if slices is None:
            raise PeerError(
                "the XML header has no encodingLimits of slices, and the server was given no --slices: serve-mrd"
                " --slices N says how many slices a frame has"
            )
        if slices > self._service.limits.max_slices:
            raise PeerError(f"{slices} slices in a frame; {self._service.limits.max_slices} are allowed")
        return slices

    def _gatherer(self, slices: int) -> Gatherer | SliceGatherer:
        held, fresh = self._service.limits.max_held_bytes, self._service.fresh_slices
        if fresh is None:
            return Gatherer(slices, held, by_order=True)
        if fresh > slices:
            raise PeerError(f"a stack of {slices} slices, and this server answers {fresh} fresh ones at a time")
        return SliceGatherer(slices, fresh, held)

    def _receive(self, gatherer: Gatherer | SliceGatherer) -> None:
        try:
            self._receive_until_close(gatherer)
        except PeerError:
            # Whatever was begun gets its answer before the refusal.
            self._put_all(gatherer.finish())
            raise
        self._put_all(gatherer.finish())

    def _put_all(self, events: Iterable[Gathered | Drop]) -> None:
        for event in events:
            self._outbox.put(event)

    def _receive_until_close(self, gatherer: Gatherer | SliceGatherer) -> None:
        pace = Pace(self._service.limits.max_images_per_s)
        parameters = True
        while True:
            message = self._reader.read()
            pace.wait()
            match message:
                case Close():
                    return
                case Text():
                    # A text before the images carries parameters; later ones are words.
                    if parameters and (unused := check_parameters(message.text)):
                        self._outbox.put(unused)
                case Waveform():
                    pass
                case Config() | Header():
                    raise PeerError(f"{_kind(message)} came again in the middle of the images")
                case image:
                    parameters = False
                    self.tally.images += 1
                    self._put_all(gatherer.add(image, time.perf_counter_ns()))

    def _answer_all(self) -> None:
        try:
            runner = self._service.open_runner()
            try:
                while (item := self._outbox.take()) is not None:
                    self._answer(item, runner)
            finally:
                runner.close()
        except DisconnectedError as error:
            self._hang_up(f"lost: {error}")
        except BaseException as error:
            self._hang_up(f"an error of the server: {type(error).__name__}")
            raise

    def _answer(self, item: Gathered | Drop | str, runner: FrameRunner) -> None:
        if isinstance(item, str):
            self._writer.send(item)
            return
        if isinstance(item, Drop):
            answer, frame = Answer("dropped", None, 0.0, item.reason), None
        else:
            answer, frame = with_ages(runner.submit(item.frame), item.frame), item.frame
        self._publish(frame, of_whole_stack(answer, stale_ms=self._service.stale_ms))
        if isinstance(item, Gathered) and answer.mask is not None:
            self._writer.send(*mask_images(item, answer, bundle=self._service.bundle))
        else:
            drop = item if isinstance(item, Drop) else item.dropped(answer.told)
            self._writer.send(declaration(drop, answer.state))
        self.tally.count(answer)

    def _hang_up(self, why: str) -> None:
        """Wake the receiving thread: nobody answers any more."""
        self._given_up = why
        self._outbox.discard()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _kind(message: object) -> str:
    return {"Config": "a configuration", "Header": "an XML header", "Text": "a text", "Waveform": "a waveform"}.get(
        type(message).__name__, "an image"
    )
