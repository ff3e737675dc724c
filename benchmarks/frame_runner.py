"""What the engine's own process costs a frame, and what keeping it warm saves the first frame after a pause.

    python benchmarks/frame_runner.py BUNDLE --frames 500 --pauses 20 --idle-s 5

`in_process` is the frame pipeline in the process that has the frame; `own_process` the same through `PipelineRunners`,
both back to back and in turn. `after_pause` is the first frame after an idle spell, with and without keep-warm, in turn
too. All in ms, frame in to mask out. Writes benchmarks/results/DATE-frame-runner.json.
"""

from __future__ import annotations

import argparse
import datetime
import time
from pathlib import Path
from typing import Any

from rich.progress import track

from bedside.engine_limits import KEEP_WARM_MS
from bedside.frames import Frame
from bedside.pipeline import FramePipeline
from bedside.pipeline_runner import PipelineRunner, PipelineRunners
from bench.frames import FrameSource, synthetic_frames
from cinert.backends import get_backend
from cinert.bundle import Bundle, open_bundle
from cinert.environment import default_threads, fingerprint
from cinert.files import write_json
from cinert.timing import percentiles_ms

RESULTS = Path(__file__).parent / "results"
WARMUP = 20
BLOCK = 5
"""Pauses of one engine before the other's turn."""


def open_runners(bundle: Bundle, keep_warm_ms: float) -> PipelineRunners:
    """Runners without a deadline: what is late is measured here, not answered."""
    return PipelineRunners(
        bundle, device="cpu", threads=default_threads(), budget_ms=float("inf"), keep_warm_ms=keep_warm_ms
    )


def answered_ms(runner: PipelineRunner, source: FrameSource, number: int) -> float:
    """Time of one frame through a runner.

    Raises:
        SystemExit: it got no mask.
    """
    answer = runner.submit(Frame(source.frame(number), source.geometry, time.perf_counter_ns()))
    if answer.mask is None:
        raise SystemExit(f"a frame got no mask: {answer.reason}")
    return answer.total_ms


def process_cost(bundle: Bundle, source: FrameSource, frames: int) -> dict[str, Any]:
    """Frames in this process and in the engine's, one after the other."""
    here, there = [], []
    pipeline = FramePipeline.from_bundle(bundle, device="cpu", threads=default_threads()).bind(source.geometry)
    with pipeline, open_runners(bundle, 0) as runners:
        runner = runners.open()
        for number in track(range(WARMUP + frames), "both processes"):
            here.append(pipeline.segment(source.frame(number)).total_ms)
            there.append(answered_ms(runner, source, number))
    return {"in_process": percentiles_ms(here[WARMUP:]), "own_process": percentiles_ms(there[WARMUP:])}


def after_pause(bundle: Bundle, source: FrameSource, pauses: int, idle_s: float) -> dict[str, Any]:
    """First frames after a pause. One engine at a time, in turn: noise in one would keep the other's clocks up too."""
    settings = {"kept_warm": KEEP_WARM_MS, "left_alone": 0.0}
    times: dict[str, list[float]] = {name: [] for name in settings}
    for first in track(range(0, pauses, BLOCK), "pauses"):
        for name, keep_warm_ms in settings.items():
            with open_runners(bundle, keep_warm_ms) as runners:
                runner = runners.open()
                for number in range(WARMUP):
                    answered_ms(runner, source, number)
                for number in range(first, min(first + BLOCK, pauses)):
                    time.sleep(idle_s)
                    times[name].append(answered_ms(runner, source, number))
    return {"idle_s": idle_s, "keep_warm_ms": KEEP_WARM_MS, **{name: percentiles_ms(ms) for name, ms in times.items()}}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--pauses", type=int, default=20, help="of each kind")
    parser.add_argument("--idle-s", type=float, default=5.0)
    parser.add_argument("-o", "--output", type=Path, help="JSON to write instead")
    words = parser.parse_args()
    bundle, source = open_bundle(words.bundle), synthetic_frames()
    document = {
        "what": "frame in to mask out in ms; interleaved",
        "bundle": bundle.digest,
        "frames": source.name,
        "fingerprint": fingerprint(
            get_backend(bundle.backend), device="cpu", threads=default_threads(), precision=bundle.precision
        ),
        **process_cost(bundle, source, words.frames),
        "after_pause": after_pause(bundle, source, words.pauses, words.idle_s),
    }
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = words.output or RESULTS / f"{today}-frame-runner.json"
    write_json(path, document)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
