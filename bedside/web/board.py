"""Between the frames and the viewers: keeps the newest answer of each source, paints it once for all who look.

Whoever segments leaves an answer here and goes on. One thread of this board counts and cuts; while it works, answers
that come are taken together, so that nothing piles up. A viewer asks for the newest when it has shown the last one: a
slow one skips frames by itself, and nothing is kept for it.
"""

from __future__ import annotations

import json
import secrets
import struct
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

from bedside.frames import Answer, Frame
from bedside.web.source import Shown, Source, pixels, rate_fps, told
from cinert.colours import CLASS_COLOURS

_WATCHED_S = 3.0
"""Nothing is painted if nobody has asked for so long; volumes are counted all the same."""
_PAINT_EVERY_S = 1 / 30
_LENGTHS = struct.Struct("<II")


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the page says of the whole server."""

    bundle: str
    """Digest."""
    device: str
    budget_ms: float
    stale_ms: float
    """A picture that is older is shown as stale."""
    source: str
    """Where the frames come from, in words."""

    def document(self) -> dict[str, Any]:
        """For the page."""
        return {**asdict(self), "colours": CLASS_COLOURS}


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A source at one moment."""

    newest: Shown
    newest_mask: Shown | None
    counts: dict[str, int]
    latencies: list[tuple[float, float, str]]


@dataclass(frozen=True, slots=True)
class _Painted:
    number: int
    story: bytes
    pixels: bytes


_NOTHING = _Painted(0, b"null", b"")


class Board:
    """Takes answers and gives messages. A context manager that paints in a thread of its own.

    A message is two lengths (uint32, little-endian), two JSON texts of these lengths, and the picture: grey values of
    all slices, then their labels, uint8. The first text holds what is true of the moment (`now_s`, `run`, `number`,
    `place`, `places`, `facts`), the second what was painted of one source, or null.

    Args:
        facts: said in every message.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts.document()
        self._run = secrets.token_hex(8)
        self._sources: dict[int, Source] = {}
        self._painted: dict[int, _Painted] = {}
        self._measured: dict[int, int] = {}
        self._number = 0
        self._asked_s = float("-inf")
        self._closing = False
        self._changed = threading.Condition()

    @property
    def closing(self) -> bool:
        """Whether the server ends."""
        return self._closing

    def publish(self, place: int, frame: Frame | None, answer: Answer) -> None:
        """Show an answer; returns at once. Frame and mask are read later and must not change."""
        with self._changed:
            self._number += 1
            self._sources.setdefault(place, Source()).publish(self._number, frame, answer)
            self._changed.notify_all()

    def newest(self, *, run: str, after: int, place: int, wait_s: float) -> bytes:
        """Wait until there is something new, or for `wait_s`; then give the newest.

        Args:
            run: of the message that the viewer had before; a server that was started again answers at once.
            after: its number.
            place: of the source; 0 is the one that answered last.
            wait_s: at most.
        """
        with self._changed:
            self._asked_s = time.perf_counter()
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._closing or run != self._run or self._of(place)[1].number not in {0, after}, wait_s
            )
            chosen, painted = self._of(place)
            places = sorted(self._sources)
        head = {
            "now_s": time.perf_counter(),
            "run": self._run,
            "number": painted.number,
            "place": chosen,
            "places": places,
            "facts": self._facts,
        }
        text = json.dumps(head).encode()
        return b"".join((_LENGTHS.pack(len(text), len(painted.story)), text, painted.story, painted.pixels))

    def _of(self, place: int) -> tuple[int, _Painted]:
        if place == 0 and self._painted:
            place = max(self._painted, key=lambda each: self._painted[each].number)
        return place, self._painted.get(place, _NOTHING)

    def _paint_all(self) -> None:
        while not self._closing:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._work())
                work = [(place, self._snapshot(self._sources[place])) for place in self._work()]
                watched = self._watched()
            started = time.perf_counter()
            for place, snapshot in work:
                source = self._sources[place]
                painted = _paint(source, snapshot, watched=watched)
                with self._changed:
                    self._measured[place] = snapshot.newest.number
                    if painted is not None:
                        self._painted[place] = painted
                        self._changed.notify_all()
            # The eye sees no more, and the engine needs the cores.
            time.sleep(max(0.0, _PAINT_EVERY_S - (time.perf_counter() - started)))

    def _work(self) -> list[int]:
        """Places with something new to do."""
        watched = self._watched()
        return [
            place
            for place, source in self._sources.items()
            if source.newest is not None
            and (
                source.newest.number > self._measured.get(place, 0)
                or (watched and source.newest.number > self._painted.get(place, _NOTHING).number)
            )
        ]

    def _watched(self) -> bool:
        return time.perf_counter() - self._asked_s < _WATCHED_S

    @staticmethod
    def _snapshot(source: Source) -> _Snapshot:
        if source.newest is None:
            raise RuntimeError("a source is made by its first answer")
        return _Snapshot(source.newest, source.newest_mask, dict(source.counts), list(source.latencies))

    def __enter__(self) -> Board:
        threading.Thread(target=self._paint_all, name="web-painter", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()


def _paint(source: Source, snapshot: _Snapshot, *, watched: bool) -> _Painted | None:
    """Count, and cut if somebody looks; None if nobody does."""
    shown = snapshot.newest_mask
    picture, data, problem = None, b"", ""
    try:
        if shown is not None:
            source.measure(shown)
        if not watched:
            return None
        if shown is not None:
            tiles = source.cut(shown)
            picture = {
                **told(shown),
                "slices": [index + 1 for index in tiles.slices],
                "shape_SYX": list(tiles.grey_SYX.shape),
                "pixel_mm": list(tiles.pixel_mm),
            }
            data = pixels(tiles).tobytes()
    except Exception as error:
        # The page says so; the next frame has to be painted, and no frame may suffer from a picture.
        picture, data, problem = None, b"", f"{type(error).__name__}: {error}"
    fps = rate_fps(snapshot.latencies)
    story = {
        "newest": told(snapshot.newest),
        "picture": picture,
        "problem": problem,
        "counts": snapshot.counts,
        "fps": None if fps is None else round(fps, 1),
        "latencies": [[round(at, 3), round(ms, 1), state] for at, ms, state in snapshot.latencies],
        "volumes": source.volumes(),
    }
    return _Painted(snapshot.newest.number, json.dumps(story).encode(), data)
