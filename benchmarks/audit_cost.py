"""What the audit log costs a frame: how long `note` takes in the frame's thread, and whether memory grows.

    python benchmarks/audit_cost.py [--frames 13200] [--fps 22] [--folder DIR]

Frames of 256 x 256 x 10 at the pace of an intervention, with the log and with a list in its place, in turns. Writes
benchmarks/results/DATE-audit-cost.json.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bedside.audit.log import AuditLog
from bedside.audit.verify import verify_audit
from bedside.frames import Answer
from cinert.environment import cpu_name
from cinert.files import write_json

RESULTS = Path(__file__).parent / "results"
SHAPE = (256, 256, 10)
IDENTITY = {"bundle": "b" * 64, "engine": "e" * 64}


def paced(frames: int, fps: float, note: Callable[[Answer], None]) -> dict[str, Any]:
    """Call `note` for every frame; microseconds that it took, and how memory went."""
    process, took_us, resident_mib = psutil.Process(), [], []
    start = time.perf_counter()
    for number in range(frames):
        mask = np.full(SHAPE, number % 4, np.uint8)
        time.sleep(max(0.0, start + number / fps - time.perf_counter()))
        before = time.perf_counter_ns()
        note(Answer("live", mask, 31.0))
        took_us.append((time.perf_counter_ns() - before) / 1e3)
        if number % max(1, frames // 20) == 0:
            resident_mib.append(round(process.memory_info().rss / 2**20, 1))
    p50, p99, p999 = np.percentile(took_us, [50, 99, 99.9])
    return {
        "frames": frames,
        "p50_us": float(p50),
        "p99_us": float(p99),
        "p999_us": float(p999),
        "worst_us": max(took_us),
        "resident_mib": resident_mib,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=13200)
    parser.add_argument("--fps", type=float, default=22.0)
    parser.add_argument("--folder", type=Path, help="Where the log is written: the disk counts.")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    said: list[str] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "audit.jsonl"
        with AuditLog(path, max_bytes=2**30, opened={}, identity=IDENTITY, tell=said.append) as log:
            with_log = paced(arguments.frames, arguments.fps, lambda answer: log.note(1, answer))
        report = verify_audit(path)
        size = path.stat().st_size
    newest: list[Answer] = []
    without = paced(arguments.frames, arguments.fps, lambda answer: newest.__setitem__(slice(None), [answer]))
    document = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {"cpu": cpu_name(), "system": platform.platform(), "python": platform.python_version()},
        "shape": list(SHAPE),
        "fps": arguments.fps,
        "note": with_log,
        "without": without,
        "logged": report.states.total(),
        "lost": report.lost,
        "problems": report.problems,
        "told": said,
        "bytes_per_frame": size / arguments.frames,
    }
    output = arguments.output or RESULTS / f"{document['date']}-audit-cost.json"
    write_json(output, document)
    print(
        f"note: p50 {with_log['p50_us']:.1f} us, p99 {with_log['p99_us']:.1f} us, worst {with_log['worst_us']:.0f} us"
    )
    print(f"{document['logged']} of {arguments.frames} frames logged, {document['lost']} lost; wrote {output}")


if __name__ == "__main__":
    main()
