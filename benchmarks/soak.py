"""Soak and overload: a bundle at the scanner's pace for minutes, alone and through serve-mrd, then at twice the rate.

    python benchmarks/soak.py BUNDLE [--seconds 600] [--fps 22] [--threads 2] [--co-load CMD]

Each stage is a bench-engine of its own: `paced` in one process; `mrd` with all frames through the socket; `cold` after
10 s of idling; `overload` at twice the rate through the socket for up to a minute; `beside`, with --co-load. Writes
benchmarks/results/DATE-soak.json and .md. Certificates are written beside the bundle as bench-engine does. Takes about
three times --seconds; the machine has to be quiet.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cinert.environment import device_name
from cinert.files import check_output_file, write_json, write_text

RESULTS = Path(__file__).resolve().parent / "results"
_COMMAND = "from bench.engine_cli import bench_engine; bench_engine()"
_OVERLOAD = 2
_OVERLOAD_S = 60
_COLD_IDLE_S = 10
_COLD_FRAMES = 10
_FIGURES = ("p50_ms", "p95_ms", "p99_ms", "p999_ms", "worst_ms", "jitter_ms")


def stages(options: argparse.Namespace) -> dict[str, list[str]]:
    """Arguments of each stage's bench-engine."""

    def paced(fps: float, seconds: float) -> list[str]:
        return ["--mode", "paced", "--fps", f"{fps:g}", "--frames", str(max(1, round(fps * seconds)))]

    found = {
        "paced": paced(options.fps, options.seconds),
        "mrd": [*paced(options.fps, options.seconds), "--through", "mrd"],
        "cold": ["--mode", "cold", "--idle-s", str(_COLD_IDLE_S), "--frames", str(options.cold_frames)],
        "overload": [
            *paced(_OVERLOAD * options.fps, min(options.seconds, _OVERLOAD_S)),
            *("--through", "mrd", "--no-certificate"),
        ],
    }
    if options.co_load:
        seconds = min(options.seconds, _OVERLOAD_S)
        found["beside"] = [*paced(options.fps, seconds), "--co-load", options.co_load, "--no-certificate"]
    return found


def run_stage(name: str, words: list[str], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run one bench-engine in a process of its own and read what it wrote; a missed verdict is a result too."""
    output = folder / f"{name}.json"
    common = ["--budget-ms", f"{options.budget_ms:g}", "--device", options.device, "-o", str(output)]
    if options.threads:
        common += ["--threads", str(options.threads)]
    if options.cine:
        common += ["--cine", str(options.cine)]
    command = [sys.executable, "-c", _COMMAND, str(options.bundle), *words, *common]
    path = os.pathsep.join(filter(None, [str(RESULTS.parent.parent), os.environ.get("PYTHONPATH")]))
    print(f"{name}: {' '.join(words)}", flush=True)
    code = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode
    if code not in {0, 1}:
        raise SystemExit(f"{name}: bench-engine ended with exit code {code}")
    document: dict[str, Any] = json.loads(output.read_text())
    return document


def checks(found: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    """What has to hold, whatever the machine can do in time."""
    overload, soaked = found["overload"]["served"], found["mrd"]["served"]
    worst = overload["frame_to_mask"]
    return {
        "soak: every frame answered": "unanswered" not in soaked["states"],
        "overload: every frame answered, every drop counted": "unanswered" not in overload["states"]
        and sum(overload["states"].values()) == overload["frames"],
        "overload: the freshest frame served": overload["overtaken"] == 0,
        # A frame waits while one other is computed and is computed itself; masks are at least that far apart.
        "overload: bounded (worst frame to mask within two intervals between masks)": worst is not None
        and worst["worst_ms"] <= 2 * overload["longest_gap_ms"],
    }


def rows(found: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any], str, str, Any, Any]]:
    """Words, percentiles, frames, late frames, queue and memory of each line of the table."""
    for name, document in found.items():
        frames, engine, served = document["frame_to_mask"], document["measured"], document["served"]
        rate = f"{document['fps']:g} fps" if frames["mode"] == "paced" else f"after {_COLD_IDLE_S} s"
        if served is None:
            yield f"{name}: engine, {rate}", engine, str(engine["frames"]), str(engine["misses"]), None, None
            late = str(frames["misses"])
            yield f"{name}: frame to mask", frames, str(frames["frames"]), late, frames["queue_depth"], frames["memory"]
            if (beside := document["co_load"]) is not None:
                told = beside["frame_to_mask"]
                words = f"{name}: frame to mask, {beside['cpu_cores']:.1f} cores taken"
                yield words, told, str(told["frames"]), str(told["misses"]), told["queue_depth"], None
        elif served["frame_to_mask"] is not None:
            late = str(served["misses"])
            count = str(served["frames"])
            yield (
                f"{name}: frame to mask, {rate}",
                served["frame_to_mask"],
                count,
                late,
                served["queue_depth"],
                served["memory"],
            )
            yield f"{name}: transport", served["transport"], str(served["masks"]), "", None, None
            yield f"{name}: round trip", served["round_trip"], str(served["masks"]), "", None, None


def markdown(result: Mapping[str, Any]) -> str:
    """The report."""
    lines = [
        f"# Soak of {result['date']}",
        "",
        f"Bundle {result['bundle']['digest'][:12]} on {result['device']}, budget {result['budget_ms']:g} ms,"
        f" {result['source']}; {result['seconds']:g} s at {result['fps']:g} frames/s. `benchmarks/soak.py`, ms.",
        "",
        "| | frames | p50 | p95 | p99 | p99.9 | worst | jitter | no mask in time | queue | MiB (MiB/h) |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for words, figures, count, late, queue, memory in rows(result["stages"]):
        depth = "" if queue is None else f"{queue['worst']:g}"
        grown = ""
        if memory is not None:
            slope = memory["slope_mib_per_h"]
            grown = f"{memory['start_mib']:.0f} to {memory['end_mib']:.0f}" + (
                "" if slope is None else f" ({slope:+.1f})"
            )
        values = " | ".join(f"{figures[name]:.2f}" for name in _FIGURES)
        lines.append(f"| {words} | {count} | {values} | {late} | {depth} | {grown} |")
    overload = result["stages"]["overload"]["served"]
    states = ", ".join(f"{count} {state}" for state, count in overload["states"].items())
    lines += ["", f"Overload: {states}; {overload['masks_per_s']:.1f} masks/s.", ""]
    lines += [f"- {'yes' if held else '**NO**'}: {what}" for what, held in result["checks"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the stages, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--fps", type=float, default=22.0)
    parser.add_argument("--budget-ms", type=float, default=50.0)
    parser.add_argument("--cold-frames", type=int, default=_COLD_FRAMES)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cine", type=Path)
    parser.add_argument("--co-load", metavar="CMD")
    date = datetime.date.today().isoformat()
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / f"{date}-soak.json")
    options = parser.parse_args()
    check_output_file(options.output)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        found = {name: run_stage(name, words, options, Path(folder)) for name, words in stages(options).items()}
    for document in found.values():
        del document["frame_to_mask"]["latency_ms"], document["bundle"]["arch"], document["bundle"]["folder"]
    first = found["paced"]
    result = {
        "date": date,
        "seconds": options.seconds,
        "fps": options.fps,
        "budget_ms": options.budget_ms,
        "bundle": first["bundle"],
        "device": device_name(first["fingerprint"]),
        "source": first["frame_to_mask"]["source"],
        "stages": found,
        "checks": checks(found),
    }
    write_json(options.output, result)
    write_text(options.output.with_suffix(".md"), markdown(result))
    print(markdown(result))
    if not all(result["checks"].values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
