"""The verdicts of verify.json: what is judged, in which stream, and each in a line with what other programs used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.others import others_words
from bench.stream import paced_rate
from cinert.quiet import BUSY

USUAL_INTERVAL = 0.15
"""Half width of an estimate's interval, as a share of it, up to which the interval says something."""
WIDEST_INTERVAL = 0.25
"""Half width up to which lying in it is judged: a measurement a quarter off would pass, and prove nothing."""
VERDICT = {True: "[green]PASSED[/]", False: "[red]FAILED[/]", None: "[yellow]NOT JUDGED[/]"}


def interval_half_width(estimate: Mapping[str, float]) -> float:
    """Half width of an estimate's interval as a share of the estimate; of the wider side, where it begins at zero."""
    ms = estimate["ms"]
    return max(ms - estimate["low_ms"], estimate["high_ms"] - ms) / ms


def interval_verdict(document: Mapping[str, Any]) -> bool | None:
    """Whether the engine is within the estimate's interval; None without an estimate, or with one that is too wide.

    Args:
        document: verify.json; those of releases from before judged any interval.
    """
    estimate, within = document["estimate"], document["within_interval"]
    if estimate is None or within is None or interval_half_width(estimate) > WIDEST_INTERVAL:
        return None
    return bool(within)


def rate_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """{stream, fps, last_ms, others} of the rate that is held against the scanner's.

    Args:
        document: verify.json; those of releases from before say nothing of it, and held two frames in flight against
            the scanner's rate in every mode.
    """
    if "rate" in document:
        rate: Mapping[str, Any] = document["rate"]
        return rate
    frames = document["frame_to_mask"]
    if frames["mode"] == "paced":
        fps, last_ms = paced_rate(frames["latency_ms"], document["fps"]), frames["latency_ms"][-1]
        return {"stream": "paced", "fps": fps, "last_ms": last_ms, "others": None}
    return {"stream": "two in flight", "fps": frames["throughput_fps"], "last_ms": None, "others": None}


def rate_words(rate: Mapping[str, Any], wanted_fps: float) -> str:
    """A rate in the stream that it is of."""
    if rate["stream"] != "paced":
        return f"{rate['fps']:.1f} frames/s with two frames in flight, {wanted_fps:g} wanted"
    said = (
        f"{wanted_fps:g} frames/s kept"
        if rate["fps"] >= wanted_fps
        else f"{rate['fps']:.2f} of {wanted_fps:g} frames/s"
    )
    return f"{said} in the paced stream, its last mask {rate['last_ms']:.0f} ms after the frame was due"


def verdict_lines(document: Mapping[str, Any]) -> list[str]:
    """One line per verdict of verify.json, in rich markup."""
    frames, rate = document["frame_to_mask"], rate_of(document)
    count = frames["frames"]
    lines = [
        f"{VERDICT[document['budget_met']]} budget: p99 {frames['p99_ms']:.1f} ms of {document['budget_ms']:g} ms,"
        f" {frames['misses']} of {count} frames late"
        + ("" if frames["p99_supported"] else f" ({count} frames do not support a p99 claim; it takes 459)")
        + others_words(frames.get("others")),
        f"{VERDICT[rate['fps'] >= document['fps']]} rate: {rate_words(rate, document['fps'])}"
        + others_words(rate["others"]),
    ]
    if document["estimate"] is None:
        return [*lines, f"{VERDICT[None]} estimate: neither a LUT nor an estimate in the bundle"]
    return [*lines, _estimate_line(document), _machine_line(document)]


def _estimate_line(document: Mapping[str, Any]) -> str:
    estimate, engine = document["estimate"], document["measured"]
    off, loaded = engine["quiet_ms"] / estimate["ms"] - 1, engine["burst_p50_ms"] / estimate["p50_ms"] - 1
    throughput = engine["throughput_fps"] / estimate["throughput_fps"] - 1
    return (
        f"{VERDICT[interval_verdict(document)]} estimate: back to back {engine['quiet_ms']:.2f} ms in its quietest"
        f" spell, {off:+.1%} off; interval [{estimate['low_ms']:.2f}, {estimate['high_ms']:.2f}] ms"
        f"{wide_interval(estimate)}{busy_lut(document)}; p50 {loaded:+.1%}, throughput {throughput:+.1%} off"
        f"{others_words(engine.get('others'))}"
    )


def wide_interval(estimate: Mapping[str, float]) -> str:
    """Say so where the interval is so wide that lying in it proves little, or is not judged; empty elsewhere."""
    half = interval_half_width(estimate)
    if half <= USUAL_INTERVAL:
        return ""
    if half <= WIDEST_INTERVAL:
        return f", ± {half:.0%}, too wide to prove much"
    return f", ± {half:.0%}, wider than the ± {WIDEST_INTERVAL:.0%} up to which it is judged"


def busy_lut(document: Mapping[str, Any]) -> str:
    """Say so where the estimate is by a LUT that was taken with --allow-busy; empty elsewhere."""
    lut = document["lut"]
    return f", by a LUT that was taken {BUSY}" if lut is not None and lut.get("busy") else ""


def _machine_line(document: Mapping[str, Any]) -> str:
    machine, busy = document["machine"], busy_lut(document)
    if machine is None:
        return f"{VERDICT[None]} machine: takes a LUT of this device (--lut), whose reference network is timed again"
    figures = (
        f"the reference network takes {machine['anchor_ms']:.2f} ms, {machine['drift']:+.1%} against the LUT's"
        f" {machine['lut_anchor_ms']:.2f} ms{busy}{others_words(document['measured'].get('others'))}"
    )
    if machine["changed"]:
        return (
            f"[yellow]CHANGED[/] machine: {figures}. That is more than {machine['limit']:.0%}: it is not as it was when"
            " the LUT was measured; compare on the quiet machine, or measure the LUT again"
        )
    return f"{VERDICT[True]} machine: {figures}"
