"""Replays a cine to an MRD server as a scanner would, and keeps the answers."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ismrmrd
import numpy as np
from ismrmrd.serialization import ConfigFile
from numpy.typing import NDArray

from bedside.mrd.answer import read_declaration
from bedside.mrd.geometry import slice_fields
from bedside.mrd.limits import Limits
from bedside.mrd.messages import Close, DisconnectedError, PeerError, Text
from bedside.mrd.server import Address
from bedside.mrd.wire import MessageReader, MessageWriter
from cinert.data.nifti import Cine, Geometry
from cinert.data.orientation import orientation_of
from cinert.errors import BadInputError

SERIES = 1
_MAX_TEXT_BYTES = 2**20


@dataclass(slots=True)
class Replay:
    """What came back."""

    mask: NDArray[np.uint8]
    """(x, y, z, t) of the first pass; 0 where a phase got no mask."""
    answered: dict[tuple[int, int], str] = field(default_factory=dict)
    """State of each frame by (pass, phase)."""
    reasons: dict[tuple[int, int], str] = field(default_factory=dict)
    """Why a frame got no mask."""
    round_trip_ms: list[float] = field(default_factory=list)
    """First byte of a frame out to last byte of its mask in; frames without a mask have none."""
    refused: str = ""
    """What the server said when it ended the session; empty if it did not."""


class ReplayClient:
    """Sends a cine's phases in order, slice by slice, in a thread; another collects the answers.

    Args:
        address: of the server.
        config: name of the configuration to ask for.
        fps: frames a second; None sends a frame when the one before is answered.
        nul: end header and texts in a NUL, as most clients do; False sends them bare.
        fresh_slices: after the first phase, send so many slices of each, in turn; None sends whole phases.
        timeout_s: without a message from the server while answers are due.

    Raises:
        BadInputError: nobody listens there.
    """

    def __init__(
        self,
        address: Address,
        *,
        config: str,
        fps: float | None,
        timeout_s: float,
        nul: bool = True,
        fresh_slices: int | None = None,
    ) -> None:
        self._config, self._fps, self._timeout_s, self._fresh = config, fps, timeout_s, fresh_slices
        self._nul = nul
        try:
            self._socket = socket.create_connection((address.host, address.port), timeout=timeout_s)
        except OSError as error:
            raise BadInputError(
                f"no MRD server answers at {address}: {error.strerror or error}.", hint="serve-mrd starts one."
            ) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._changed = threading.Condition()
        self._ended = False

    def replay(self, cine: Cine, *, passes: int = 1, on_answer: Callable[[], None] | None = None) -> Replay:
        """Send every phase `passes` times and wait for the answers.

        Raises:
            BadInputError: the server is silent, breaks off, or says something that is no MRD.
        """
        stored = scanner_axes(cine.geometry)
        cine = as_scanned(cine, stored)
        result = Replay(np.zeros(cine.image.shape, dtype=np.uint8))
        limits = Limits(
            max_text_bytes=_MAX_TEXT_BYTES,
            max_image_bytes=max(2**20, 2 * cine.image[..., 0].nbytes),
            max_held_bytes=0,
            max_images_per_s=np.inf,
            max_slices=cine.geometry.shape[2],
            idle_s=self._timeout_s,
            stall_s=self._timeout_s,
        )
        sent_s: dict[tuple[int, int], float] = {}
        failed: list[Exception] = []

        def send() -> None:
            try:
                self._send(cine, passes, MessageWriter(self._socket, limits, nul=self._nul), sent_s, result)
            except DisconnectedError as error:
                failed.append(error)

        sender = threading.Thread(target=send, name="replay", daemon=True)
        sender.start()
        try:
            self._receive(MessageReader(self._socket, limits), sent_s, result, on_answer)
        except (PeerError, DisconnectedError) as error:
            if not result.refused:
                raise BadInputError(f"the MRD server broke off: {error}.") from error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            sender.join()
            self._socket.close()
        if failed and not result.refused:
            raise BadInputError(f"the MRD server broke off: {failed[0]}.")
        result.mask = result.mask.transpose(*np.argsort(stored), 3)
        return result

    def _send(
        self, cine: Cine, passes: int, writer: MessageWriter, sent_s: dict[tuple[int, int], float], result: Replay
    ) -> None:
        writer.send(ConfigFile(self._config), document_of(cine))
        start = time.monotonic()
        for number in range(passes * cine.image.shape[3]):
            frame = divmod(number, cine.image.shape[3])
            if self._fps is not None and (left_s := start + number / self._fps - time.monotonic()) > 0:
                time.sleep(left_s)
            images = frame_images(cine, frame[1], repetition=frame[0], time_ms=(time.monotonic() - start) * 1e3)
            if self._fresh is not None and number:
                images = [images[(number * self._fresh + place) % len(images)] for place in range(self._fresh)]
            sent_s[frame] = time.perf_counter()
            writer.send(*images)
            if self._fps is None:
                self._wait_for_answer(frame, result)
            if self._ended:
                return
        writer.close()

    def _wait_for_answer(self, frame: tuple[int, int], result: Replay) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or frame in result.answered)

    def _receive(
        self,
        reader: MessageReader,
        sent_s: dict[tuple[int, int], float],
        result: Replay,
        on_answer: Callable[[], None] | None,
    ) -> None:
        slices: dict[tuple[int, int], list[Any]] = {}
        while not isinstance(message := reader.read(), Close):
            if isinstance(message, Text):
                if (declared := read_declaration(message.text)) is None:
                    result.refused = message.text if message.text.startswith("refused") else ""
                    continue
                key, state, result.reasons[declared[0].repetition, declared[0].phase] = declared
                frame = key.repetition, key.phase
            elif isinstance(message, ismrmrd.Image):
                frame, state = (message.repetition, message.phase), str(message.meta.get("CineRT_state"))
                columns, rows, depth, _ = result.mask.shape
                if frame not in sent_s or message.slice >= depth or message.data.shape != (1, 1, rows, columns):
                    raise PeerError(f"slice {message.slice} of phase {frame[1]} and pass {frame[0]} was never sent")
                slices.setdefault(frame, []).append(message)
                if len(slices[frame]) < (depth if self._fresh is None or frame == (0, 0) else self._fresh):
                    continue
                images = slices.pop(frame)
                result.round_trip_ms.append((time.perf_counter() - sent_s[frame]) * 1e3)
                if frame[0] == 0:
                    for image in images:
                        result.mask[:, :, image.slice, frame[1]] = image.data[0, 0].T
            else:
                continue
            with self._changed:
                result.answered[frame] = state
                self._changed.notify_all()
            if on_answer is not None:
                on_answer()


def scanner_axes(geometry: Geometry) -> tuple[int, int, int]:
    """The stored axes that are column, row and slice: a scanner sends slices, whatever order a file stores."""
    slice_axis, row_axis, column_axis = orientation_of(geometry).stored_axis
    return column_axis, row_axis, slice_axis


def as_scanned(cine: Cine, axes: tuple[int, int, int]) -> Cine:
    """The cine with its axes in the order (column, row, slice, phase)."""
    affine = cine.geometry.affine[:, [*axes, 3]]
    image = cine.image.transpose(*axes, 3)
    return cine._replace(image=image, geometry=Geometry((image.shape[0], image.shape[1], image.shape[2]), affine))


def document_of(cine: Cine) -> Any:
    """The XML header of a cine, as `ismrmrd.xsd.ismrmrdHeader`: its matrix, field of view, slices and phases."""
    xsd = ismrmrd.xsd
    columns, rows, slices = cine.geometry.shape
    spacing = cine.geometry.spacing_mm
    space = xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=columns, y=rows, z=1),
        fieldOfView_mm=xsd.fieldOfViewMm(x=columns * spacing[0], y=rows * spacing[1], z=spacing[2]),
    )
    limits = xsd.encodingLimitsType(
        slice=xsd.limitType(minimum=0, maximum=slices - 1, center=0),
        phase=xsd.limitType(minimum=0, maximum=cine.image.shape[3] - 1, center=0),
    )
    encoding = xsd.encodingType(
        encodedSpace=space, reconSpace=space, encodingLimits=limits, trajectory=xsd.trajectoryType.CARTESIAN
    )
    # The schema asks for it; a replay has no magnet, so it is that of 1.5 T.
    conditions = xsd.experimentalConditionsType(H1resonanceFrequency_Hz=63_870_000)
    return xsd.ismrmrdHeader(experimentalConditions=conditions, encoding=[encoding])


def frame_images(cine: Cine, phase: int, *, repetition: int, time_ms: float) -> list[Any]:
    """One `ismrmrd.Image` per slice of a phase; uint16 where that loses nothing, since it is sent twice as fast."""
    volume = cine.image[..., phase]
    whole = volume.min() >= 0 and volume.max() < 2**16 and bool((volume == np.floor(volume)).all())
    images = []
    for number in range(volume.shape[2]):
        pixels = np.ascontiguousarray(volume[:, :, number].T, dtype=np.uint16 if whole else np.float32)
        image = ismrmrd.Image(data=pixels[None, None])
        image.version, image.image_type, image.image_series_index = 1, ismrmrd.IMTYPE_MAGNITUDE, SERIES
        image.slice, image.phase, image.repetition = number, phase, repetition
        image.image_index = number + 1
        image.acquisition_time_stamp = round(time_ms)
        for name, value in slice_fields(cine.geometry, number).items():
            setattr(image, name, value)
        images.append(image)
    return images
