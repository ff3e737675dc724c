"""Charts of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.plots import GOOD, INK

_SHOWN = 12


def _figure(height: float, width: float = 8) -> Any:
    # Slow to import, and only pictures need it. Figure without pyplot: no window system is looked for.
    from matplotlib.figure import Figure  # noqa: PLC0415

    return Figure(figsize=(width, height), layout="constrained")


def save_part_chart(path: Path, parts_ms: Mapping[str, float], *, title: str) -> None:
    """Draw the parts that take most time as bars, and the rest as one."""
    ordered = sorted(parts_ms.items(), key=lambda item: -item[1])
    shown, rest = ordered[:_SHOWN], ordered[_SHOWN:]
    if rest:
        shown.append((f"{len(rest)} others", sum(ms for _, ms in rest)))
    total = sum(parts_ms.values())
    figure = _figure(0.6 + 0.28 * len(shown))
    axes = figure.subplots()
    names, values = [name for name, _ in shown], [ms for _, ms in shown]
    bars = axes.barh(names, values, color=[GOOD] * min(_SHOWN, len(ordered)) + ["#aaaaaa"] * bool(rest))
    axes.bar_label(bars, [f"{ms:.2f} ms, {ms / total:.0%}" if total else "0" for ms in values], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="ms", title=title, xlim=(0, 1.2 * max(values) or 1))
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def save_estimates_chart(
    path: Path, measured_ms: Sequence[float], estimated_ms: Sequence[float], *, title: str
) -> None:
    """Draw held-out estimates over measurements, with the 10 % band."""
    figure = _figure(4, 4.4)
    axes = figure.subplots()
    top = 1.05 * max(*measured_ms, *estimated_ms)
    axes.fill_between([0, top], [0, 0.9 * top], [0, 1.1 * top], color="#dddddd", label="within 10 %")
    axes.plot([0, top], [0, top], color=INK, linewidth=0.8)
    axes.plot(measured_ms, estimated_ms, ".", color=GOOD)
    axes.set(xlabel="measured, ms", ylabel="estimated, ms", title=title, xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.legend(loc="upper left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
