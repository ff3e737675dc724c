"""The two charts beside the slices: volumes over the beat, and each frame's latency against the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bedside.overlay_canvas import Canvas
from bedside.overlay_style import Box
from bedside.volumes import ejection_words
from cinert.colours import CLASS_COLOURS

VENTRICLES = ("lv", "rv")
_AXIS = 34
"""Room for the numbers left of a chart, in points."""
_LABEL_WIDTH = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """What is written around the slices."""

    title: str
    latency_ms: Sequence[float]
    """Of each phase, frame in to mask out."""
    budget_ms: float
    volumes_ml: Mapping[str, Sequence[float]]
    """{rv, myo, lv}, a value per phase."""
    function: Mapping[str, Any]
    """As `bedside.volumes.function` gives it."""
    time_step_ms: float | None
    """From one phase to the next; None where the cine does not say."""
    unsure: str = ""
    """Why the whole is not to be relied on; empty if it is."""
    unsure_phases: Sequence[str] = ()
    """The same of each phase; none where no phase was judged."""

    def is_late(self, phase: int) -> bool:
        """Whether the frame took longer than the budget."""
        return self.latency_ms[phase] > self.budget_ms

    @property
    def has_doubts(self) -> bool:
        """Whether the whole, or any phase, is not to be relied on."""
        return bool(self.unsure) or any(self.unsure_phases)

    def doubt(self, phase: int) -> str:
        """Why a phase, or the whole that it belongs to, is not to be relied on; empty if it is."""
        return (self.unsure_phases[phase] if self.unsure_phases else "") or self.unsure

    @property
    def beats(self) -> bool:
        """Whether there is more than one phase, and so an end of diastole and of systole."""
        return len(self.latency_ms) > 1

    def ejection_words(self, ventricle: str) -> str:
        """`EF 55 %`, or why there is none."""
        return ejection_words(ventricle, self.function, self.volumes_ml)


def ticks(high: float, most: int = 4) -> list[float]:
    """Round numbers from 0 up to `high`, at most `most` (3 or more) of them above 0, and one at least."""
    step = 10.0 ** math.floor(math.log10(high / most))
    step *= next(factor for factor in (1, 2, 5, 10) if high / (factor * step) <= most)
    return [number * step for number in range(int(high / step + 1e-9) + 1)]


def volume_chart(canvas: Canvas, box: Box, story: Story, *, now: int | None = None) -> None:
    """LV and RV volume over the beat, ED and ES as dashed lines, a dot on each curve at phase `now`."""
    theme, (left, top, right, bottom) = canvas.theme, _plot_area(box, head=32)
    canvas.text((box[0], box[1] + 7), "volume, ml", size=12, fill=theme.dim)
    phases = len(story.latency_ms)
    highest = max(max(story.volumes_ml[name]) for name in VENTRICLES) * 1.08 or 1.0
    _y_axis(canvas, (left, top, right, bottom), highest)
    step = (right - left - 22) / max(1, phases - 1)

    def place(phase: int, value: float) -> tuple[float, float]:
        return left + phase * step, bottom - (bottom - top) * value / highest

    _x_axis(canvas, left, step, bottom, story)
    if story.beats:
        _mark_phases(canvas, left, step, (top, bottom), story)
    ends = {}
    for name in VENTRICLES:
        points = [place(phase, value) for phase, value in enumerate(story.volumes_ml[name])]
        canvas.line(points, fill=CLASS_COLOURS[name], width=2.2)
        ends[name] = points[-1]
    apart = ends["lv"][1] - ends["rv"][1]
    for name, (x, y) in ends.items():
        # Curves that end together would write one name over the other.
        shift = 0.0 if abs(apart) >= 13 else math.copysign((13 - abs(apart)) / 2, apart if name == "lv" else -apart)
        canvas.text((x + 5, y + shift), name.upper(), size=12, fill=CLASS_COLOURS[name])
    if now is not None:
        canvas.line([(left + now * step, top), (left + now * step, bottom)], fill=theme.dim)
        for name in VENTRICLES:
            canvas.dot(place(now, story.volumes_ml[name][now]), 4, fill=CLASS_COLOURS[name], outline=theme.ink)


def latency_strip(canvas: Canvas, box: Box, story: Story, *, now: int | None = None) -> None:
    """A bar per frame from 0, the budget as a line; late frames in another colour, above the line, and counted."""
    theme, (left, top, right, bottom) = canvas.theme, _plot_area(box, head=36)
    late = sum(story.is_late(phase) for phase in range(len(story.latency_ms)))
    canvas.text((box[0], box[1] + 7), "frame in to mask out, ms", size=12, fill=theme.dim)
    words = f"{late} of {len(story.latency_ms)} late"
    canvas.text((box[2], box[1] + 7), words, size=12, fill=theme.late if late else theme.dim, anchor="rm")
    # The budget is named above the bars: beside its line it would lie on them.
    canvas.line([(left, box[1] + 24), (left + 16, box[1] + 24)], fill=theme.ink, width=1.4)
    canvas.text((left + 22, box[1] + 24), f"budget {story.budget_ms:g} ms", size=12)
    highest = max(*story.latency_ms, story.budget_ms) * 1.08
    _y_axis(canvas, (left, top, right, bottom), highest, most=3)
    width = (right - left) / len(story.latency_ms)
    gap = min(2.0, width / 4)
    for phase, value in enumerate(story.latency_ms):
        x, y = left + phase * width, bottom - (bottom - top) * value / highest
        colour = theme.late if story.is_late(phase) else theme.ink if phase == now else theme.dim
        canvas.box((x, y, x + width - gap, bottom), fill=colour)
        if phase == now:
            canvas.box((x, bottom + 3, x + width - gap, bottom + 6), fill=theme.ink)
    y = bottom - (bottom - top) * story.budget_ms / highest
    canvas.line([(left, y), (right, y)], fill=theme.ink, width=1.4)


def _plot_area(box: Box, *, head: float) -> Box:
    return box[0] + _AXIS, box[1] + head, box[2], box[3] - 18


def _y_axis(canvas: Canvas, area: Box, highest: float, *, most: int = 4) -> None:
    left, top, right, bottom = area
    for value in ticks(highest, most):
        y = bottom - (bottom - top) * value / highest
        canvas.line([(left, y), (right, y)], fill=canvas.theme.rule, width=0.7)
        canvas.text((left - 5, y), f"{value:g}", size=11, fill=canvas.theme.dim, anchor="rm")


def _x_axis(canvas: Canvas, left: float, step: float, bottom: float, story: Story) -> None:
    last = len(story.latency_ms) - 1
    for phase in sorted({0, last}):
        words = f"phase {phase + 1}" if story.time_step_ms is None else f"{phase * story.time_step_ms:.0f} ms"
        canvas.text((left + phase * step, bottom + 11), words, size=11, fill=canvas.theme.dim,
                    anchor="lm" if phase == 0 else "mm")  # fmt: skip


def _mark_phases(canvas: Canvas, left: float, step: float, height: tuple[float, float], story: Story) -> None:
    top, bottom = height
    ed, es = (left + story.function[key] * step for key in ("ed_phase", "es_phase"))
    for words, x, other in (("ED", ed, es), ("ES", es, ed)):
        canvas.dashes((x, top), (x, bottom), fill=canvas.theme.ink, width=1)
        # Neighbouring phases have their names on the far sides of their lines.
        canvas.text((x, top - 3), words, size=12, anchor="rs" if 0 < other - x < _LABEL_WIDTH else "ls")
