"""Sections of a report on latency: every frame against the budget, and the estimate against the measurement."""

from __future__ import annotations

from pathlib import Path

from bench.others import others_words
from bench.plots import save_latency_plot
from bench.report_document import Block, Paragraph, Subheading, Table, Words, code, number, outcome, outcome_span, pairs
from bench.report_records import Records
from bench.report_run import Document, Run
from bench.verdicts import busy_lut, interval_verdict, rate_of, rate_words, wide_interval
from cinert.bundle import Bundle
from cinert.environment import device_name
from cinert.provenance import provenance_words

_ROWS = {
    "p50": "p50_ms",
    "p90": "p90_ms",
    "p95": "p95_ms",
    "p99": "p99_ms",
    "p99.9": "p999_ms",
    "worst": "worst_ms",
    "jitter": "jitter_ms",
}


def latency_section(run: Run, records: Records) -> list[Block]:
    """Show every frame of every measurement against the budget."""
    if not records.verify:
        run.without("budget", "frame to mask within the budget", "verify.json")
        return []
    return [block for name, document in records.verify.items() for block in _measurement(run, name, document)]


def _title(document: Document) -> str:
    return f"{document['measured']['mode']}, {document['measured']['frames']} frames"


def _measurement(run: Run, name: str, document: Document) -> list[Block]:
    engine, frames, budget_ms = document["measured"], document["frame_to_mask"], document["budget_ms"]
    title = _title(document)
    figures = f"p99 {frames['p99_ms']:.1f} ms, worst {frames['worst_ms']:.1f} ms, {frames['misses']} frames late"
    figures += others_words(frames.get("others"))
    run.judge(
        "budget", f"frame to mask within {budget_ms:g} ms ({title})", outcome(document["budget_met"]), figures, name
    )
    for part, words in (("served", "served by MRD"), ("co_load", "beside another program")):
        if (told := document[part]) is not None:
            p99_ms = "no mask" if told["frame_to_mask"] is None else f"p99 {told['frame_to_mask']['p99_ms']:.1f} ms"
            late = told["misses"] if part == "served" else told["frame_to_mask"]["misses"]
            what = f"frame to mask within {budget_ms:g} ms, {words} ({title})"
            figures = f"{p99_ms}, {late} frames not in time{others_words(told.get('others'))}"
            run.judge("budget", what, outcome(told["budget_met"]), figures, name)
    rate = rate_of(document)
    stream = f"in the paced stream ({title})" if rate["stream"] == "paced" else "with two frames in flight"
    met = outcome(rate["fps"] >= document["fps"])
    figures = f"{rate_words(rate, document['fps'])}{others_words(rate['others'])}"
    run.judge("rate", f"{document['fps']:g} frames/s {stream}", met, figures, name)
    rows: list[list[Words]] = [
        [f"{label}, ms", number(engine[key]), number(frames[key]), "" if key == "jitter_ms" else f"{budget_ms:g}"]
        for label, key in _ROWS.items()
    ]
    rows += [
        ["late frames", str(engine["misses"]), str(frames["misses"]), "0"],
        [
            "frames/s, two in flight",
            number(engine["throughput_fps"], 1),
            number(frames["throughput_fps"], 1),
            "" if rate["stream"] == "paced" else f"at least {document['fps']:g}",
        ],
    ]
    stages = ", ".join(f"{stage} {ms:.2f} ms" for stage, ms in frames["stages_p50_ms"].items())
    blocks: list[Block] = [
        Subheading(f"{title} ({name})"),
        Paragraph((f"On {device_name(document['fingerprint'])}. ", outcome_span(outcome(document["budget_met"])))),
        run.draw(
            f"{Path(name).stem}.png",
            f"Frame in to mask out of every frame ({title}) against the budget, and their distribution.",
            lambda path: save_latency_plot(
                path, frames["latency_ms"], budget_ms=budget_ms, title=f"{title}: {frames['source']}"
            ),
        ),
        Table(["", "engine", "frame to mask", "budget"], rows, "lrrr"),
        Paragraph(f"Frame to mask, p50 of each stage: {stages}."),
    ]
    if not frames["p99_supported"]:
        blocks.append(Paragraph(f"{frames['frames']} frames do not support a claim about p99; that takes 459."))
    return blocks


def estimate_section(run: Run, records: Records) -> list[Block]:
    """Hold each measurement against the estimate that was made before it."""
    if not records.verify:
        run.without("estimate", "engine within the estimate's interval", "verify.json")
        return []
    rows: list[list[Words]] = []
    for name, document in records.verify.items():
        title, estimate, measured_ms = _title(document), document["estimate"], document["measured"]["quiet_ms"]
        passed = outcome(interval_verdict(document))
        what = f"engine within the estimate's interval ({title})"
        if estimate is None:
            run.judge("estimate", what, passed, "no estimate to hold it against", name)
            rows.append([code(name), "-", number(measured_ms), "-", "-", outcome_span(passed)])
            continue
        interval = f"{estimate['ms']:.2f} [{estimate['low_ms']:.2f}, {estimate['high_ms']:.2f}]"
        off = f"{measured_ms / estimate['ms'] - 1:+.1%}"
        wide = wide_interval(estimate)
        figures = f"engine back to back {measured_ms:.2f} ms, estimate {interval} ms{wide}{busy_lut(document)}: {off}"
        machine = document["machine"]
        if machine is not None and machine["changed"]:
            figures += f"; the machine has changed since the LUT: its reference network is {machine['drift']:+.0%} off"
        figures += others_words(document["measured"].get("others"))
        run.judge("estimate", what, passed, figures, name)
        fps = f"{estimate['throughput_fps']:.1f} / {document['measured']['throughput_fps']:.1f}"
        rows.append([code(name), interval, number(measured_ms), off, fps, outcome_span(passed)])
    header = ["", "estimate, ms", "back to back, quietest, ms", "off", "frames/s, estimate / measured", ""]
    return [Table(header, rows, "lrrrrl")]


def engine_section(run: Run, records: Records) -> list[Block]:
    """Describe the engine and its parity with PyTorch."""
    if records.bundle is None:
        run.without("parity", "the engine gives PyTorch's logits", "bundle/manifest.json")
        return []
    return [_describe(run, records.bundle)]


def _describe(run: Run, bundle: Bundle) -> Block:
    manifest, parity = bundle.manifest, bundle.manifest.parity
    figure = "not run" if parity.relative_logits is None else f"{parity.relative_logits:.1e} of {parity.tolerance:g}"
    passed = outcome(True if parity.status == "passed" else None)
    run.judge(
        "parity", "the engine gives PyTorch's logits", passed, f"relative difference {figure}", "bundle/manifest.json"
    )
    mib = sum(map(len, bundle.engine.files.values())) / 2**20
    return pairs(
        [
            ("engine", f"{', '.join(manifest.engine)} ({mib:.1f} MiB)"),
            ("built on", device_name(manifest.fingerprint)),
            ("parity with PyTorch, relative logits", figure),
            ("the network", provenance_words(manifest.provenance)),
            ("bundle", (code(bundle.digest[:16]), f", {manifest.created}")),
        ]
    )
