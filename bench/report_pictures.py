"""Charts of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.plots import BAD, GOOD, INK
from cinert.colours import hexadecimal

_SHOWN = 12


def _figure(height: float, width: float = 8) -> Any:
    # Slow to import, and only pictures need it. Figure without pyplot: no window system is looked for.
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import: matplotlib

    return Figure(figsize=(width, height), layout="constrained")


def save_part_chart(path: Path, parts_ms: Mapping[str, float]) -> None:
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
    axes.set(xlabel="ms", xlim=(0, 1.2 * max(values) or 1))
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def save_estimates_chart(path: Path, measured_ms: Sequence[float], estimated_ms: Sequence[float]) -> None:
    """Draw held-out estimates over measurements, with the 10 % band."""
    figure = _figure(4, 4.4)
    axes = figure.subplots()
    top = 1.05 * max(*measured_ms, *estimated_ms)
    axes.fill_between([0, top], [0, 0.9 * top], [0, 1.1 * top], color="#dddddd", label="within 10 %")
    axes.plot([0, top], [0, top], color=INK, linewidth=0.8)
    axes.plot(measured_ms, estimated_ms, ".", color=GOOD)
    axes.set(xlabel="measured, ms", ylabel="estimated, ms", xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.legend(loc="upper left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def save_cine_chart(path: Path, document: Mapping[str, Any]) -> None:
    """Draw LV and RV volume over the cycle, and the latency of each frame against the budget.

    Args:
        path: PNG to write.
        document: segment.json.
    """
    step_ms = document["cine"]["time_step_ms"]
    figure = _figure(5.4, 9)
    volumes, strip = figure.subplots(2, 1, height_ratios=[1.6, 1])
    phases = range(len(document["volumes_ml"]["lv"]))
    times = [phase if step_ms is None else phase * step_ms for phase in phases]
    for name in ("lv", "rv"):
        fraction = document["function"][name]["ef_percent"]
        words = f"{name.upper()}, EF {'not defined' if fraction is None else f'{fraction:.0f} %'}"
        volumes.plot(times, document["volumes_ml"][name], marker=".", color=hexadecimal(name), label=words)
    for phase, label in ((document["function"]["ed_phase"], "ED"), (document["function"]["es_phase"], "ES")):
        volumes.axvline(times[phase], color=INK, linewidth=0.8, linestyle=":")
        place = volumes.get_xaxis_transform()
        volumes.text(times[phase], 1.01, label, transform=place, ha="center", va="bottom", fontsize=9)
    volumes.set(xlabel="frame of the cycle" if step_ms is None else "time in the cycle, ms", ylabel="volume, ml")
    volumes.set_ylim(bottom=0)
    volumes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    latency, budget_ms = [frame["total_ms"] for frame in document["frames"]], document["latency"]["budget_ms"]
    colours = [BAD if ms > budget_ms else GOOD for ms in latency]
    strip.bar(range(1, len(latency) + 1), latency, color=colours, width=0.8)
    strip.axhline(budget_ms, color=BAD, linewidth=1)
    strip.text(1.005, budget_ms, f"budget\n{budget_ms:g} ms", color=BAD, fontsize=9, va="center",
               transform=strip.get_yaxis_transform())  # fmt: skip
    strip.set(xlabel="frame, as it arrived", ylabel="frame in to\nmask out, ms", xlim=(0.4, len(latency) + 0.6))
    strip.xaxis.get_major_locator().set_params(integer=True)
    strip.set_ylim(0, 1.15 * max(budget_ms, *latency))
    for axes in (volumes, strip):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
