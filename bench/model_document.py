"""What bench-model writes: model.json and its picture."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.model import AGAIN, Measured
from bench.model_figures import (
    coverage,
    feasibility,
    figures,
    flops_fitted,
    network_class,
    network_flops,
    residuals,
)
from bench.plots import BAD, GOOD, INK
from cinert.arch import Searched
from cinert.files import atomic_path
from cinert.quiet import BUSY
from latency.calibration import Calibration
from latency.estimate import estimate, estimate_groups, lut_record
from latency.family import parts_alone_ms
from latency.lut import Lut
from latency.prices import error_figures

SCHEMA, VERSION = "cinert.model", 1


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run of bench-model."""

    lut: Lut
    """As it was given, without a calibration."""
    calibration: Calibration | None
    held_out: Sequence[Searched]
    calibration_archs: Sequence[Searched]
    measured: Measured
    seed: int
    budget_ms: float | None
    fingerprint: Mapping[str, Any]
    busy: bool = False
    """Whether it was measured with --allow-busy."""


def model_document(run: Run) -> dict[str, Any]:
    """Hold every model against the held-out networks (docs/schemas/model.schema.json)."""
    measured, archs, plain = run.measured, run.held_out, run.lut
    corrected = replace(plain, calibration=run.calibration)
    estimates = [estimate(arch, corrected) for arch in archs]
    before = [estimate(arch, plain) for arch in archs]
    predicted = np.array([each.ms for each in estimates])
    uncorrected = np.array([each.ms for each in before])
    raw = parts_alone_ms(archs, plain)
    flops = np.array([network_flops(arch) for arch in archs])
    other = np.array([network_flops(arch) for arch in run.calibration_archs])
    # Without calibration networks FLOPs are fitted to the held-out ones themselves: in their favour.
    known = (other, measured.calibration_ms) if len(other) else (flops, measured.held_out_ms)
    fps, predicted_fps = 1000 / measured.frame_interval_ms, np.array([each.throughput_fps for each in estimates])
    budget_ms = run.budget_ms or float(np.median(measured.held_out_ms))
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "lut": {
            **lut_record(plain),
            "space": plain.space.name,
            "created": plain.created,
        },
        "busy": run.busy,
        "fingerprint": dict(run.fingerprint),
        "seed": run.seed,
        "nets": len(archs),
        "noise_floor": error_figures(measured.again_ms, measured.held_out_ms[: len(measured.again_ms)]),
        "held_out": {
            "calibrated": {
                **figures(predicted, measured.held_out_ms),
                "coverage_90": coverage(estimates, measured.held_out_ms),
            },
            "uncalibrated": {
                **figures(uncorrected, measured.held_out_ms),
                "coverage_90": coverage(before, measured.held_out_ms),
            },
            "raw_sum": figures(raw, measured.held_out_ms),
            "flops": figures(flops_fitted(flops, *known), measured.held_out_ms),
            "throughput": figures(predicted_fps, fps),
        },
        "feasible": feasibility(estimates, measured.held_out_ms, budget_ms),
        "residuals": residuals(
            archs, [estimate_groups(arch, plain) for arch in archs], predicted, measured.held_out_ms, measured.order
        ),
        "anchor": {
            "lut_ms": plain.protocol.get("anchor_ms"),
            "here_ms": measured.anchor_ms,
        },
        "calibration": None if run.calibration is None else run.calibration.to_dict(),
        "networks": [
            {
                "seed": arch.provenance["seed"],
                "digest": arch.digest,
                **{name: value for name, value in network_class(arch).items() if name != "deepest_scale"},
                "measured_ms": float(measured.held_out_ms[number]),
                "again_ms": float(measured.again_ms[number]) if number < AGAIN else None,
                "measured_fps": float(fps[number]),
                **{name: float(getattr(estimates[number], name)) for name in ("ms", "low_ms", "high_ms")},
                "uncalibrated_ms": float(uncorrected[number]),
                "raw_sum_ms": float(raw[number]),
                "throughput_fps": float(predicted_fps[number]),
                "flops": float(flops[number]),
            }
            for number, arch in enumerate(archs)
        ],
    }


def model_title(document: Mapping[str, Any]) -> str:
    """Device and space of a run, and BUSY where the table or the networks were measured with --allow-busy."""
    lut = document["lut"]
    words = [lut["device"], f"space {lut['space']}"]
    if lut.get("busy"):
        words.append(f"LUT {BUSY}")
    if document["busy"]:
        words.append(f"measured {BUSY}")
    return ", ".join(words)


def save_model_plot(path: Path, document: Mapping[str, Any]) -> None:
    """Draw estimates with their intervals against measurements, and the errors over the measured time.

    Args:
        path: of the picture; its suffix chooses the format.
        document: of `model_document`.

    Raises:
        BadInputError: the picture cannot be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import: matplotlib

    networks = document["networks"]
    measured, ms, low, high = (
        np.array([network[name] for network in networks]) for name in ("measured_ms", "ms", "low_ms", "high_ms")
    )
    inside = (low <= measured) & (measured <= high)
    found = document["held_out"]["calibrated" if document["calibration"] else "uncalibrated"]
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    ends = [0, 1.05 * float(max(measured.max(), high.max()))]
    left.fill_between(ends, np.multiply(ends, 0.9), np.multiply(ends, 1.1), color=INK, alpha=0.08, label="±10 %")
    left.plot(ends, ends, color=INK, linewidth=0.8)
    for mask, colour, mark, words in ((inside, GOOD, "o", "inside its interval"), (~inside, BAD, "x", "outside")):
        if mask.any():
            left.errorbar(
                measured[mask],
                ms[mask],
                yerr=[(ms - low)[mask], (high - ms)[mask]],
                fmt=mark,
                color=colour,
                markersize=4,
                elinewidth=0.7,
                label=f"{words}: {int(mask.sum())}",
            )
            right.plot(measured[mask], 100 * (ms / measured - 1)[mask], mark, color=colour, markersize=4)
    left.set(xlabel="measured, ms", ylabel="estimate with 90 % interval, ms", xlim=ends, ylim=ends)
    left.legend(frameon=False, fontsize=9, loc="upper left")
    noise = 100 * document["noise_floor"]["mape"]
    right.axhspan(-noise, noise, color=INK, alpha=0.15, label=f"noise floor ±{noise:.1f} %")
    for level in (-10, 10):
        right.axhline(level, color=INK, linewidth=0.6, linestyle=":")
    right.axhline(0, color=INK, linewidth=0.8)
    right.set(xlabel="measured, ms", ylabel="error of the estimate, %", xlim=ends)
    right.legend(frameon=False, fontsize=9, loc="upper right")
    figure.suptitle(
        f"{model_title(document)}, {document['nets']} networks never seen:"
        f" MAPE {found['mape']:.1%}, {found['within_10']:.0%} within 10 %, tau {found['kendall_tau']:.3f}",
        fontsize=10,
    )
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=110)
