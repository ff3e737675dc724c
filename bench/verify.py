"""Estimate against measurement on one bundle, and the verdicts (docs/design.md, "Proof").

Two things are measured, each in the chosen mode. The *engine* host to host is what an estimate speaks of. *Frame to
mask* adds localiser, preprocessing and inverse mapping and is what the budget is held against.

A LUT is measured back to back, on a warm engine. An engine that slept between paced frames has to wake up first (0.4 ms
on a 2-core CPU, five times a network of 0.1 ms), which is no error of the estimate. So in every mode the estimate is
held against a burst of the engine in the same run; what the mode adds to it stands beside it. And an estimate speaks
of the quiet machine, so the quiet time of that burst counts; its p50 stands beside what the LUT's load predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.gates import AuditCheck, ParityCheck
from bench.machine import Machine
from bench.measure import Measurement, Plan, measure
from bench.others import blame_words
from bench.stream import Stream, paced_rate
from bench.verdicts import WIDEST_INTERVAL, interval_half_width

if TYPE_CHECKING:
    from latency.lut import Lut

SCHEMA, VERSION = "cinert.verify", 1
_QUIET_BLOCK = 10

__all__ = ["Measurement", "Plan", "Verdict", "judge", "machine_state", "measure", "quiet_ms", "verify_document"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is held against what."""

    within_interval: bool | None
    """Whether the engine's quiet time, back to back, lies in the estimate's interval; None without an estimate, or with
    one whose interval is wider than `WIDEST_INTERVAL`."""
    budget_met: bool
    """Frame to mask: p99 within the budget, and no miss."""
    fps_met: bool
    """Frame to mask: the rate of the paced stream, in other modes of two frames in flight, reaches the scanner's. Told,
    but no reason to fail: a paced stream that falls behind misses the budget."""
    failures: list[str] = field(default_factory=list)
    """A line per failed verdict; empty when the exit code is 0."""


def quiet_ms(stream: Stream) -> float:
    """Quiet-machine time: the lowest median over blocks of successive frames (`cinert.timing`)."""
    values = stream.latency_ms
    return min(float(np.median(values[start : start + _QUIET_BLOCK])) for start in range(0, len(values), _QUIET_BLOCK))


def machine_state(measurement: Measurement, lut: Lut | None) -> Machine | None:
    """The anchor here and in the LUT; None where there was none to time."""
    if lut is None or lut.anchor_ms is None or measurement.anchor_ms is None:
        return None
    return Machine(anchor_ms=measurement.anchor_ms, lut_anchor_ms=lut.anchor_ms)


def judge(
    measurement: Measurement, plan: Plan, estimate: Mapping[str, float] | None, machine: Machine | None = None
) -> Verdict:
    """Hold frame to mask against the budget, and the engine back to back against the estimate.

    A machine that has changed since the LUT was measured excuses nothing: an estimate that is missed is missed, and the
    line says what the anchor makes of it.
    """
    frames = measurement.frame_to_mask
    budget_met = frames.budget_met(plan.budget_ms)
    failures = []
    if not budget_met:
        told = frames.to_dict(plan.budget_ms)
        failures.append(
            f"the budget of {plan.budget_ms:g} ms is missed: frame to mask takes {told['p99_ms']:.1f} ms at p99,"
            f" and {told['misses']} of {told['frames']} frames are late{blame_words(measurement.frame_others)}"
        )
    within = None
    if estimate is not None and interval_half_width(estimate) <= WIDEST_INTERVAL:
        quiet = quiet_ms(measurement.engine_burst)
        within = estimate["low_ms"] <= quiet <= estimate["high_ms"]
        if not within:
            failures.append(
                f"the measurement is outside the estimate's interval: the engine takes {quiet:.2f} ms back to back in"
                f" its quietest spell, the estimate is {estimate['ms']:.2f} ms [{estimate['low_ms']:.2f},"
                f" {estimate['high_ms']:.2f}]"
                + ("" if machine is None else _blame(machine, quiet, estimate))
                + blame_words(measurement.engine_others)
            )
    return Verdict(
        within_interval=within,
        budget_met=budget_met,
        fps_met=_rate(measurement, plan)["fps"] >= plan.fps,
        failures=failures,
    )


def _rate(measurement: Measurement, plan: Plan) -> dict[str, Any]:
    """The rate that is held against the scanner's, and the stream that it is of."""
    if plan.mode == "paced":
        latency_ms = measurement.frame_to_mask.latency_ms
        return {
            "stream": "paced",
            "fps": paced_rate(latency_ms, plan.fps),
            "last_ms": latency_ms[-1],
            "others": measurement.frame_others,
        }
    return {
        "stream": "two in flight",
        "fps": measurement.frame_to_mask_fps,
        "last_ms": None,
        "others": measurement.throughput_others,
    }


def _blame(machine: Machine, quiet: float, estimate: Mapping[str, float]) -> str:
    if not machine.changed:
        return "; the machine runs as it did when the LUT was measured"
    if machine.explains(quiet, estimate):
        return f"; {machine}: the machine has changed, not the network"
    return f"; {machine}, which does not explain all of it"


def verify_document(
    measurement: Measurement,
    plan: Plan,
    verdict: Verdict,
    *,
    parity: ParityCheck,
    audit: AuditCheck | None,
    estimate: Mapping[str, float] | None,
    lut: Mapping[str, Any] | None,
    machine: Machine | None = None,
    served: Mapping[str, Any] | None = None,
    co_load: Mapping[str, Any] | None = None,
    fingerprint: Mapping[str, Any],
    bundle: Mapping[str, Any],
    source: str,
) -> dict[str, Any]:
    """What verify.json says (docs/schemas/verify.schema.json)."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "bundle": dict(bundle),
        "estimate": None if estimate is None else dict(estimate),
        "lut": None if lut is None else dict(lut),
        "machine": None if machine is None else machine.to_dict(),
        "measured": {
            **measurement.engine.to_dict(plan.budget_ms),
            "burst_p50_ms": float(np.percentile(measurement.engine_burst.latency_ms, 50)),
            "quiet_ms": quiet_ms(measurement.engine_burst),
            "throughput_fps": measurement.engine_fps,
            "device_p50_ms": measurement.device_p50_ms,
            "others": measurement.engine_others,
        },
        "frame_to_mask": {
            **measurement.frame_to_mask.to_dict(plan.budget_ms),
            "throughput_fps": measurement.frame_to_mask_fps,
            "device_p50_ms": measurement.frame_device_p50_ms,
            "stages_p50_ms": dict(measurement.stages_p50_ms),
            "stages_p99_ms": dict(measurement.stages_p99_ms),
            "queue_depth": measurement.frame_to_mask.queue_depth(plan.fps),
            "memory": measurement.memory,
            "others": measurement.frame_others,
            "source": source,
            "latency_ms": [round(value, 4) for value in measurement.frame_to_mask.latency_ms],
        },
        "served": None if served is None else dict(served),
        "co_load": None if co_load is None else dict(co_load),
        "budget_ms": plan.budget_ms,
        "fps": plan.fps,
        "rate": _rate(measurement, plan),
        "within_interval": verdict.within_interval,
        "budget_met": verdict.budget_met,
        "fps_met": verdict.fps_met,
        "parity": parity.to_dict(),
        "audit": None if audit is None else audit.to_dict(),
        "failures": [
            *verdict.failures,
            *parity.failures,
            *([] if audit is None else audit.failures),
            *(line for part in (served, co_load) if part is not None for line in part["failures"]),
        ],
        "fingerprint": dict(fingerprint),
    }
