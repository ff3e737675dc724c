"""The picture of a latency measurement: every frame, and their distribution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cinert.files import atomic_path

GOOD, BAD, INK = "#3b78b5", "#c8443c", "#333333"


def save_latency_plot(path: Path, latency_ms: Sequence[float], *, budget_ms: float, title: str) -> None:
    """Draw every frame's latency in order, late frames in red, and the distribution beside it.

    Args:
        path: of the picture; its suffix chooses the format.
        latency_ms: frame in to mask out, in the order of the frames.
        budget_ms: drawn as a line.
        title: what was measured.

    Raises:
        BadInputError: the picture cannot be written.
    """
    # Slow to import, and only pictures need it. Figure without pyplot: no window system is looked for.
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import: matplotlib

    values = np.asarray(latency_ms)
    late = values > budget_ms
    p50, p99 = np.percentile(values, [50, 99])
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    strip, histogram = figure.subplots(1, 2, sharey=True, width_ratios=[4, 1])
    number = np.arange(len(values))
    strip.plot(number[~late], values[~late], ".", color=GOOD, markersize=3)
    if late.any():
        strip.plot(number[late], values[late], "x", color=BAD, markersize=6, label=f"{int(late.sum())} late")
    strip.axhline(budget_ms, color=BAD, linewidth=1, label=f"budget {budget_ms:g} ms")
    strip.axhline(p50, color=INK, linewidth=0.8, linestyle="--", label=f"p50 {p50:.1f} ms")
    strip.set(xlabel="frame", ylabel="frame in to mask out, ms", title=title, xlim=(-1, len(values)))
    strip.legend(loc="upper right", ncols=3, fontsize=9, frameon=False)
    histogram.hist(values, bins=40, orientation="horizontal", color=GOOD)
    histogram.set(xlabel="frames", title=f"p99 {p99:.1f} ms")
    histogram.title.set_fontsize(10)
    # From 0, because a strip that starts at its lowest value makes any jitter look like a storm.
    strip.set_ylim(0, 1.25 * max(float(values.max()), budget_ms))
    for axes in (strip, histogram):
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=110)
