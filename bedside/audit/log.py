"""The audit log of a service: frames are noted at once and written by a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bedside.audit.chain import Chain, Entry
from bedside.audit.record import Moment, mask_digest, short
from bedside.frames import Answer
from cinert.errors import BadInputError

QUEUE_FRAMES = 256
"""Frames that may wait for the disk, with their masks: 12 s at 22 frames/s, 160 MiB of 256 x 256 x 10 at most."""
_SYNC_S = 1.0
_CLOSE_S = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class _Noted:
    """A frame that was answered; its mask is hashed later."""

    moment: Moment
    place: int
    answer: Answer


class AuditLog:
    """Writes a line per answer. A context manager; at the end it writes what waits, and a closing line.

    `note` never waits: not for the disk, and not for the hash of a mask. What finds the queue full, or the disk, is
    counted, and a later line says how many frames are missing. The service goes on meanwhile.

    Args:
        path: file to append to; one that exists is continued.
        max_bytes: of all files of the log together; the oldest is removed for a new one.
        opened: what the first line says of the service: bundle, engine, device.
        identity: is written into every frame's line: {bundle, engine}.
        tell: takes a line for the operator: once when writing fails, once when it works again, and after a time in
            which the disk stood still.

    Raises:
        BadInputError: the file cannot be written, is no audit log, or another process writes it.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        opened: Mapping[str, Any],
        identity: Mapping[str, str],
        tell: Callable[[str], None],
    ) -> None:
        self._path = path
        self._chain = Chain(path, max_bytes)
        self._identity = identity
        self._tell = tell
        self._waiting: deque[_Noted] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._overrun = 0
        """Frames that found the queue full."""
        self._lost = 0
        """Frames that no line says anything of yet."""
        self._lost_since: Moment | None = None
        self._failing = False
        _, problem = self._chain.append([("opened", Moment.now(), opened)])
        if problem is not None:
            self._chain.close()
            raise BadInputError(f"cannot write the audit log {path}: {problem.strerror}.", hint="is the disk full?")
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def note(self, place: int, answer: Answer) -> None:
        """Note an answer of a source; returns at once. The mask must not be written to afterwards."""
        noted = _Noted(Moment.now(), place, answer)
        with self._changed:
            if len(self._waiting) >= QUEUE_FRAMES:
                self._overrun += 1
                return
            self._waiting.append(noted)
            self._changed.notify()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        # A disk that does not answer must not keep the service from ending.
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            self._write_all()
        except Exception as error:
            # The service goes on, and its operator has to know that nobody writes any more.
            self._tell(f"audit log {self._path}: ended by an error of the server, {type(error).__name__}: {error}")
            raise

    def _write_all(self) -> None:
        synced_s = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing, _SYNC_S)
                batch, closing = list(self._waiting), self._closing
                self._waiting.clear()
                overrun, self._overrun = self._overrun, 0
            if overrun:
                self._count_lost(overrun)
                self._tell(f"audit log {self._path}: {overrun} frames were not logged, the disk was too slow for them")
            if batch:
                self._write([self._entry(each) for each in batch])
            if closing:
                self._write([("closed", Moment.now(), {})])
                if not self._failing:
                    self._report(self._chain.sync())
                self._chain.close()
                return
            if time.monotonic() - synced_s > _SYNC_S and not self._failing:
                self._report(self._chain.sync())
                synced_s = time.monotonic()

    def _entry(self, noted: _Noted) -> Entry:
        answer = noted.answer
        content: dict[str, Any] = {
            "place": noted.place,
            "state": answer.state,
            "reason": short(answer.reason),
            "total_ms": round(float(answer.total_ms), 3),
            "quality": None if answer.quality is None else round(float(answer.quality), 4),
            **self._identity,
            "shape": None if answer.mask is None else list(answer.mask.shape),
            "mask": None if answer.mask is None else mask_digest(answer.mask),
        }
        return "frame", noted.moment, content

    def _write(self, entries: list[Entry]) -> None:
        """Write lines, with one before them that says what is missing; count the frames that do not get through."""
        missing: list[Entry] = []
        if self._lost_since is not None:
            missing = [("lost", Moment.now(), {"frames": self._lost, "since": self._lost_since.to_dict()["at"]})]
        written, problem = self._chain.append([*missing, *entries])
        if missing and written:
            self._lost, self._lost_since, written = 0, None, written - 1
        self._count_lost(sum(kind == "frame" for kind, *_ in entries[written:]))
        self._report(problem)

    def _count_lost(self, frames: int) -> None:
        if frames:
            self._lost += frames
            self._lost_since = self._lost_since or Moment.now()

    def _report(self, problem: OSError | None) -> None:
        if problem is not None and not self._failing:
            self._failing = True
            self._tell(
                f"audit log {self._path}: cannot write, {problem.strerror}; frames are served, and not logged until it"
                " can"
            )
        elif problem is None and self._failing:
            self._failing = False
            self._tell(f"audit log {self._path}: writing again; the log says what is missing")
