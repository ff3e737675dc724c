"""Tables of the bench commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from bench.accuracy import FrameAccuracy, summarise
from bench.clinical import INDICES, Clinical
from bench.metrics import CLASS_LABELS, Scores
from bench.verdicts import VERDICT
from cinert.scores import in_digits

_INPUTS = {"random": "random inputs", "frames": "frames of the data"}
_CHECKED = {"export": "at export", "here": "here"}


def accuracy_table(frames: Sequence[FrameAccuracy], seen: Sequence[str]) -> Table:
    """A row per frame, then mean and spread over patients; a star marks patients that the weights saw."""
    summary = summarise(frames)
    title = f"Dice of {summary.who}, and HD95 in mm, on the original grid"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0)
    for name in ("patient", "frame"):
        table.add_column(name, no_wrap=True)
    for name in (*CLASS_LABELS, "mean", *(f"{name} mm" for name in CLASS_LABELS), "in view"):
        table.add_column(name.upper() if name in CLASS_LABELS else name, justify="right", no_wrap=True)
    for frame in frames:
        table.add_row(
            frame.patient_id + (" *" if frame.patient_id in seen else ""),
            f"{frame.frame} {frame.phase}",
            *_figures(frame.score.dice, frame.score.hd95_mm, in_digits(frame.score.mean_dice)),
            f"{frame.kept_share:.1%}",
        )
    table.add_section()
    mean = _figures(summary.dice_mean, summary.hd95_mean_mm, in_digits(summary.mean_dice))
    table.add_row("mean", f"of {summary.patients}", *mean, style="bold")
    table.add_row("std", "", *_figures(summary.dice_std, summary.hd95_std_mm, ""))
    if seen:
        table.caption = "* the weights saw this patient"
    return table


def _figures(dice: Scores, hd95_mm: Scores, mean_dice: str) -> list[str]:
    return [
        *(in_digits(dice[name]) for name in CLASS_LABELS),
        mean_dice,
        *(in_digits(hd95_mm[name], 1) for name in CLASS_LABELS),
    ]


def clinical_table(clinical: Clinical, who: str = "patients") -> Table:
    """A row per index: bias, limits of agreement, mean absolute error and correlation over patients, or phantoms."""
    table = Table(title=f"Predicted minus reference, over {who}", box=box.SIMPLE_HEAD, padding=0)
    for name in ("index", "n", "bias", "95 % limits", "mean |error|", "r"):
        table.add_column(name, justify="left" if name == "index" else "right", no_wrap=True)
    for name, words in INDICES.items():
        row = clinical.agreement[name]
        table.add_row(
            words,
            str(row.n),
            _number(row.bias, "+.1f"),
            "-" if row.limits is None else f"{row.limits[0]:+.1f} to {row.limits[1]:+.1f}",
            _number(row.mean_absolute_error, ".1f"),
            _number(row.pearson_r, ".2f"),
        )
    return table


def clinical_remarks(clinical: Clinical) -> list[str]:
    """One line for each reason why a patient does not count in the clinical indices; empty where all count."""
    lines = []
    if clinical.without_both_phases:
        lines.append(f"no ED and ES frame, so no indices: {', '.join(clinical.without_both_phases)}")
    lines += [
        f"{INDICES[name].partition(',')[0]} is not defined, the ventricle vanishes or is larger at ES:"
        f" {', '.join(row.undefined)}"
        for name, row in clinical.agreement.items()
        if row.undefined
    ]
    return lines


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def verify_table(document: Mapping[str, Any]) -> Table:
    """Percentiles of engine and frame to mask, with the estimate beside them.

    Host to host counts the copies to the device and back, or into the engine's buffers on a CPU; alone is without.
    """
    engine, frames, estimate = document["measured"], document["frame_to_mask"], document["estimate"]
    table = Table(title=f"{engine['mode']}, budget {document['budget_ms']:g} ms")
    table.add_column("")
    for name in ("estimate", "engine", "frame to mask"):
        table.add_column(name, justify="right")
    blank = "-"
    interval = "" if estimate is None else f"{estimate['ms']:.2f} [{estimate['low_ms']:.2f}, {estimate['high_ms']:.2f}]"
    alone = "GPU" if document["fingerprint"]["device"]["kind"] == "cuda" else "CPU"
    table.add_row("frames", blank, str(engine["frames"]), str(frames["frames"]))
    table.add_row("p50 ms, host to host", blank, f"{engine['p50_ms']:.2f}", f"{frames['p50_ms']:.2f}")
    table.add_row(f"p50 ms, {alone} alone*", blank, f"{engine['device_p50_ms']:.2f}", f"{frames['device_p50_ms']:.2f}")
    for label, key in (
        ("p90 ms", "p90_ms"),
        ("p95 ms", "p95_ms"),
        ("p99 ms", "p99_ms"),
        ("p99.9 ms", "p999_ms"),
        ("worst ms", "worst_ms"),
        ("jitter ms", "jitter_ms"),
    ):
        table.add_row(label, blank, f"{engine[key]:.2f}", f"{frames[key]:.2f}")
    table.add_row("late frames", blank, str(engine["misses"]), str(frames["misses"]))
    table.add_row(
        "frames/s, two in flight",
        blank if estimate is None else f"{estimate['throughput_fps']:.1f}",
        f"{engine['throughput_fps']:.1f}",
        f"{frames['throughput_fps']:.1f}",
    )
    table.add_row("back to back, quietest ms", interval or blank, f"{engine['quiet_ms']:.2f}", blank)
    loaded = blank if estimate is None else f"{estimate['p50_ms']:.2f}"
    table.add_row("back to back, p50 ms", loaded, f"{engine['burst_p50_ms']:.2f}", blank)
    stages = frames["stages_p50_ms"]
    table.caption = (
        "frame to mask, p50: "
        + ", ".join(f"{name} {value:.2f} ms" for name, value in stages.items())
        + "\n* engine without copies, back to back; frame to mask: with the localiser's"
    )
    return table


def gate_lines(document: Mapping[str, Any]) -> list[str]:
    """One line each for parity and audit, in rich markup; none for an audit that the back end does not have."""
    parity, audit = document["parity"], document["audit"]
    verdicts = {"passed": True, "failed": False, "not_run": None}
    inputs = " and ".join(f"{count} {_INPUTS[kind]}" for kind, count in parity["inputs"].items())
    if parity["dice_drop"] is not None:
        figures = f"Dice {0.0 - parity['dice_drop']:+.4f}, {-parity['tolerance']:g} at most"
    elif parity["relative_logits"] is not None:
        figures = f"logits differ from PyTorch's by {parity['relative_logits']:.1e}"
        figures += f" of {parity['tolerance']:g}" if parity["status"] != "not_run" else ""
    else:
        figures = ""
    figures += f" ({inputs}, compared {_CHECKED[parity['checked']]})" if inputs else ""
    said = [escape(part) for part in (figures, parity["reason"]) if part]
    lines = [f"{VERDICT[verdicts[parity['status']]]} parity: {'; '.join(said)}"]
    if audit is not None:
        said_of_it = escape(audit["reason"] or "no layer in fp32 that was not declared")
        lines.append(f"{VERDICT[verdicts[audit['status']]]} audit {_CHECKED[audit['checked']]}: {said_of_it}")
    return lines
