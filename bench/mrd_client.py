"""Sends frames to an MRD server at a fixed rate, as a scanner would, and notes when each was answered."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import ismrmrd
import numpy as np
from ismrmrd.serialization import ConfigFile

from bedside.mrd.answer import read_declaration
from bedside.mrd.client import as_scanned, document_of, frame_images, scanner_axes
from bedside.mrd.limits import Limits
from bedside.mrd.messages import Close, DisconnectedError, PeerError, Text
from bedside.mrd.server import Address
from bedside.mrd.wire import MessageReader, MessageWriter
from bench.frames import FrameSource
from bench.served import FrameRecord
from bench.stream import OnFrame, WallClock
from cinert.data.nifti import Cine
from cinert.errors import BadInputError
from cinert.open_recon import CONFIG

_SILENCE_S = 60.0
"""Without a message from the server while answers are due."""
_REPETITIONS = 2**16
"""The counter in an image's header has 16 bits and wraps."""


class PacedClient:
    """One session: frames at absolute times, whatever the server does with them.

    Args:
        address: of the server.
        source: frames, sent round and round.

    Raises:
        BadInputError: nobody listens there.
    """

    def __init__(self, address: Address, source: FrameSource) -> None:
        image = np.stack(source.frames, axis=3).astype(np.float32)
        cine = Cine(image, source.geometry, None, None)
        self._cine = as_scanned(cine, scanner_axes(source.geometry))
        # Made once: making them for each frame would take the server's time on a small machine.
        self._images = [
            frame_images(self._cine, phase, repetition=0, time_ms=0.0) for phase in range(len(source.frames))
        ]
        self._records: list[FrameRecord] = []
        self._clock = WallClock()
        self._refused = ""
        try:
            self._socket = socket.create_connection((address.host, address.port), timeout=_SILENCE_S)
        except OSError as error:
            raise BadInputError(f"no MRD server answers at {address}: {error.strerror or error}.") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def stream(self, frames: int, *, fps: float, warmup: int, on_frame: OnFrame) -> list[FrameRecord]:
        """Send the frames and wait for their answers.

        Args:
            frames: that count.
            fps: frames due per second.
            warmup: frames before them, at the same rate; left out of what is returned.
            on_frame: called after each frame that was sent, in this thread.

        Raises:
            BadInputError: the server refuses the session, is silent, or breaks off.
        """
        limits = Limits(
            max_text_bytes=2**20,
            max_image_bytes=2**28,
            max_held_bytes=0,
            max_images_per_s=np.inf,
            max_slices=len(self._images[0]),
            idle_s=_SILENCE_S,
            stall_s=_SILENCE_S,
        )
        failed: list[Exception] = []
        self._records = [FrameRecord(np.nan, np.nan) for _ in range(warmup + frames)]
        self._latest = 0

        def receive() -> None:
            try:
                self._receive(MessageReader(self._socket, limits))
            except (PeerError, DisconnectedError) as error:
                failed.append(error)

        receiver = threading.Thread(target=receive, name="mrd-answers", daemon=True)
        receiver.start()
        try:
            self._send(MessageWriter(self._socket, limits, nul=True), fps, receiver, on_frame)
            receiver.join()
        except DisconnectedError as error:
            failed.append(error)
        finally:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            receiver.join()
            self._socket.close()
        if self._refused or failed:
            raise BadInputError(f"the MRD server broke off: {self._refused or failed[0]}.")
        return self._records[warmup:]

    def _send(self, writer: MessageWriter, fps: float, receiver: threading.Thread, on_frame: OnFrame) -> None:
        writer.send(ConfigFile(CONFIG), document_of(self._cine))
        first_ms = self._clock.now_ms()
        for number, record in enumerate(self._records):
            record.due_ms = first_ms + number * 1000 / fps
            repetition, phase = divmod(number, len(self._images))
            for image in self._images[phase]:
                image.repetition = repetition % _REPETITIONS
            self._clock.sleep_until_ms(record.due_ms)
            if not receiver.is_alive():
                return
            writer.send(*self._images[phase])
            record.sent_ms = self._clock.now_ms()
            on_frame()
        writer.close()

    def _receive(self, reader: MessageReader) -> None:
        slices: dict[int, int] = {}
        while not isinstance(message := reader.read(), Close):
            if isinstance(message, Text):
                declared = read_declaration(message.text)
                if declared is None:
                    self._refused = message.text if message.text.startswith("refused") else ""
                    continue
                key, state, reason = declared
                self._answer(self._number(key.repetition, key.phase), state, reason=reason)
            elif isinstance(message, ismrmrd.Image):
                number = self._number(message.repetition, message.phase)
                slices[number] = slices.get(number, 0) + 1
                # Attributes are XML: those of one slice say all.
                if slices[number] == len(self._images[message.phase]):
                    del slices[number]
                    meta: Any = message.meta
                    self._answer(number, str(meta["CineRT_state"]), server_ms=float(meta["CineRT_frame_to_mask_ms"]))

    def _number(self, repetition: int, phase: int) -> int:
        number, wrap = repetition * len(self._images) + phase, _REPETITIONS * len(self._images)
        # Of the frames that this counter may stand for, the one nearest to the latest answer.
        number += round((self._latest - number) / wrap) * wrap
        if not (phase < len(self._images) and 0 <= number < len(self._records)):
            raise PeerError(f"phase {phase} of repetition {repetition} was never sent")
        return number

    def _answer(self, number: int, state: str, *, reason: str = "", server_ms: float | None = None) -> None:
        self._latest, record = number, self._records[number]
        record.answered_ms, record.state = self._clock.now_ms(), state
        record.reason, record.server_ms = reason, server_ms
