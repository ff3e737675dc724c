"""Sections of a report on the engine, its accuracy, its latency, and the cine that it segmented."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.metrics import CLASS_LABELS
from bench.plots import save_latency_plot
from bench.report_document import Run, number, table, verdict_word
from bench.tables import wide_interval
from cinert.bundle import Bundle, open_bundle
from cinert.environment import device_name
from cinert.files import read_json

Document = Mapping[str, Any]
_ROWS = {
    "p50": "p50_ms",
    "p90": "p90_ms",
    "p99": "p99_ms",
    "p99.9": "p999_ms",
    "worst": "worst_ms",
    "jitter": "jitter_ms",
}


def bundle_section(run: Run) -> list[str]:
    """Describe the bundle and its parity with PyTorch."""
    bundle = run.read("bundle", "the engine", "export-engine RUN/arch.yaml -o RUN/bundle", open_bundle)
    if bundle is None:
        return []
    return _describe_bundle(run, bundle)


def _describe_bundle(run: Run, bundle: Bundle) -> list[str]:
    manifest, parity = bundle.manifest, bundle.manifest.parity
    figure = "not run" if parity.relative_logits is None else f"{parity.relative_logits:.1e} of {parity.tolerance:g}"
    run.verdicts.append(
        (
            "the engine gives PyTorch's logits",
            True if parity.status == "passed" else None,
            f"relative difference {figure}",
        )
    )
    seen = "the weights do not say" if manifest.seen_patients is None else str(len(manifest.seen_patients))
    sizes = sum(map(len, bundle.engine.files.values())) / 2**20
    rows = [
        ["engine", f"{', '.join(manifest.engine)} ({sizes:.1f} MiB)"],
        ["built on", device_name(manifest.fingerprint)],
        ["parity with PyTorch, relative logits", figure],
        ["patients seen by search and training", seen],
        ["bundle", f"`{bundle.digest[:16]}`, {manifest.created}"],
    ]
    return [*table(["", ""], rows, align="ll"), ""]


def accuracy_section(run: Run) -> list[str]:
    """Show Dice and HD95 per patient."""
    document = run.read(
        "accuracy.json",
        "Dice and HD95",
        "evaluate-bundle RUN/bundle --data DIR -o RUN/accuracy.json",
        _read("accuracy"),
    )
    if document is None:
        return []
    seen = document["seen_patients"]
    mean, std = document["mean"], document["std"]
    rows = [
        [
            item["id"] + (" (seen)" if item["id"] in (seen or []) else ""),
            str(item["frame"]),
            *(number(item["dice"][name], 3) for name in CLASS_LABELS),
            *(number(item["hd95_mm"][name], 1) for name in CLASS_LABELS),
        ]
        for item in document["patients"]
    ]
    rows.append(
        [
            f"**mean ± std of {document['n_patients']} patients**",
            "",
            *(f"**{mean['dice'][name]:.3f}** ± {std['dice'][name]:.3f}" for name in CLASS_LABELS),
            *(f"**{mean['hd95_mm'][name]:.1f}** ± {std['hd95_mm'][name]:.1f}" for name in CLASS_LABELS),
        ]
    )
    header = [
        "patient",
        "frame",
        *(f"Dice {n.upper()}" for n in CLASS_LABELS),
        *(f"HD95 {n.upper()}" for n in CLASS_LABELS),
    ]
    who = {None: "The weights do not say which patients they saw.", True: "**The weights saw some of them.**"}.get(
        None if seen is None else bool(seen), "The weights saw none of them."
    )
    return [
        f"Mean Dice **{mean['dice']['mean']:.3f}** on {document['n_patients']} patients (fold {document['fold']}), on"
        f" the grid that the images were stored on; HD95 in mm. {who}",
        "",
        *table(header, rows),
        "",
    ]


def latency_sections(run: Run) -> list[str]:
    """Hold estimate against measurement for verify.json and every verify*.json beside it."""
    names = sorted(path.name for path in run.folder.glob("verify*.json"))
    lines = []
    for name in names if "verify.json" in names else ["verify.json", *names]:
        document = run.read(name, "the measured latency", f"bench-engine RUN/bundle -o RUN/{name}", _read("verify"))
        if document is not None:
            lines += _latency(run, name, document)
    return lines


def _latency(run: Run, name: str, document: Document) -> list[str]:
    engine, frames, estimate = document["measured"], document["frame_to_mask"], document["estimate"]
    title = f"{engine['mode']}, {engine['frames']} frames"
    p50 = "-"
    judged = "no estimate to hold it against"
    if estimate is not None:
        p50 = f"{estimate['ms']:.2f} [{estimate['low_ms']:.2f}, {estimate['high_ms']:.2f}]"
        off = engine["burst_p50_ms"] / estimate["ms"] - 1
        judged = f"engine p50 back to back {engine['burst_p50_ms']:.2f} ms, estimate {p50} ms: {off:+.1%}"
        judged += wide_interval(estimate)
    run.verdicts.append(
        (
            f"frame to mask within {document['budget_ms']:g} ms ({title})",
            document["budget_met"],
            f"p99 {frames['p99_ms']:.1f} ms, {frames['misses']} of {frames['frames']} frames late",
        )
    )
    run.verdicts.append((f"engine within the estimate's interval ({title})", document["within_interval"], judged))
    run.verdicts.append(
        (
            f"{document['fps']:g} frames/s sustained ({title})",
            document["fps_met"],
            f"{frames['throughput_fps']:.1f} frames/s, frame to mask",
        )
    )
    picture = f"{Path(name).stem}.png"
    save_latency_plot(
        run.pictures / picture,
        frames["latency_ms"],
        budget_ms=document["budget_ms"],
        title=f"{title}: {frames['source']}",
    )
    rows = [[f"{label} ms", "-", number(engine[key]), number(frames[key])] for label, key in _ROWS.items()]
    rows.append(["back to back, p50 ms", p50, number(engine["burst_p50_ms"]), "-"])
    rows.append(["late frames", "-", str(engine["misses"]), str(frames["misses"])])
    rows.append(
        [
            "frames/s, two in flight",
            "-" if estimate is None else number(estimate["throughput_fps"], 1),
            number(engine["throughput_fps"], 1),
            number(frames["throughput_fps"], 1),
        ]
    )
    stages = ", ".join(f"{stage} {ms:.2f} ms" for stage, ms in frames["stages_p50_ms"].items())
    lines = [
        f"### {title}",
        "",
        f"On {device_name(document['fingerprint'])}; `{name}`.",
        "",
        *table(["", "estimate", "engine", "frame to mask"], rows),
        "",
        f"Frame to mask, p50 of each stage: {stages}. Budget: {verdict_word(document['budget_met'])}; estimate:"
        f" {verdict_word(document['within_interval'])}.",
        "",
        run.picture(f"{run.picture_folder}/{picture}", f"Latency of every frame, {title}"),
        "",
    ]
    if not frames["p99_supported"]:
        lines += [f"{frames['frames']} frames do not support a claim about p99; that takes 459.", ""]
    return lines


def cine_section(run: Run) -> list[str]:
    """Show the segmented cine and what it says about the heart."""
    lines = []
    if (run.folder / "overlay.gif").is_file():
        lines += [run.picture("overlay.gif", "The segmented cine"), ""]
    else:
        run.missing.append("`overlay.gif`, the segmented cine: not there; `segment-cine --overlay` writes it.")
    document = run.read(
        "segment.json", "the report on the cine", "segment-cine ... --report RUN/segment.json", _read("segment")
    )
    if document is None:
        return lines
    latency, heart = document["latency"], document["function"]
    lines += [
        f"{latency['frames']} frames of `{document['cine']['file']}`: p50 {latency['p50_ms']:.1f} ms, worst"
        f" {latency['worst_ms']:.1f} ms, {latency['misses']} late.",
        "",
        *table(
            ["ventricle", "EDV ml", "ESV ml", "EF %"],
            [
                [
                    name.upper(),
                    number(heart[name]["edv_ml"], 0),
                    number(heart[name]["esv_ml"], 0),
                    "-" if heart[name]["ef_percent"] is None else number(heart[name]["ef_percent"], 0),
                ]
                for name in ("lv", "rv")
            ],
        ),
        "",
    ]
    return lines


def _read(what: str) -> Any:
    return lambda path: read_json(path, what)
