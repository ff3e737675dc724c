"""How long a server is without masks when its engine crashes, and when it hangs.

    python benchmarks/engine_outage.py BUNDLE --kills 20

Frames come at a scanner's pace; the engine process is killed (SIGKILL), or stopped for good (SIGSTOP), at random
moments. `without_mask_s` is from the last mask before to the first mask after, as whoever watches sees it; `down_s` is
what the watchdog measures. Writes benchmarks/results/DATE-engine-outage.json.
"""

from __future__ import annotations

import argparse
import datetime
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from bedside import watchdog
from bedside.engine_limits import HANG_MS
from bedside.frames import Frame
from bedside.pipeline_runner import PipelineRunners
from bench.frames import synthetic_frames
from cinert.backends import get_backend
from cinert.bundle import Bundle, open_bundle
from cinert.environment import default_threads, fingerprint
from cinert.files import write_json

RESULTS = Path(__file__).parent / "results"
SIGNALS = {"crash": signal.SIGKILL, "hang": signal.SIGSTOP}


def outages(bundle: Bundle, how: str, kills: int, *, fps: float, steady_s: float) -> dict[str, Any]:
    """End the engine again and again while frames come.

    Args:
        bundle: to serve.
        how: `crash` or `hang`.
        kills: how often.
        fps: frames a second.
        steady_s: at most so long with masks before the next one.
    """
    source, rng = synthetic_frames(), random.Random(0)
    states: Counter[str] = Counter()
    without_mask_s, number = [], 0
    with PipelineRunners(bundle, device="cpu", threads=default_threads(), budget_ms=1000 / fps) as runners:
        runner, first_s = runners.open(), time.perf_counter()

        def masked() -> bool:
            nonlocal number
            time.sleep(max(0.0, first_s + number / fps - time.perf_counter()))
            frame = Frame(source.frame(number), source.geometry, time.perf_counter_ns())
            number += 1
            answer = runner.submit(frame)
            states[answer.state] += 1
            return answer.mask is not None

        for _ in track(range(kills), how):
            for _ in range(1 + rng.randrange(max(1, round(steady_s * fps)))):
                masked()
            last_s = time.perf_counter()
            os.kill(runners.pid, SIGNALS[how])
            while masked():
                last_s = time.perf_counter()
            while not masked():
                pass
            without_mask_s.append(time.perf_counter() - last_s)
            # A submit that lasted leaves frames due that a scanner would have dropped.
            first_s = time.perf_counter() - number / fps
        measured = runners.outages
    return {
        "kills": kills,
        "without_mask_s": _spread(without_mask_s),
        "down_s": _spread([each.down_s for each in measured]),
        "frames_lost": sum(each.frames for each in measured),
        "states": dict(states),
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "p50": round(float(np.median(values)), 3),
        "worst": round(max(values), 3),
        "n": len(values),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kills", type=int, default=20, help="of each kind")
    parser.add_argument("--fps", type=float, default=22.0, help="frames a second")
    parser.add_argument("--steady-s", type=float, default=2.0, help="with masks between two kills, at most")
    parser.add_argument("-o", "--output", type=Path, help="JSON to write instead")
    words = parser.parse_args()
    bundle = open_bundle(words.bundle)
    # The waits between restarts are a rule, not a property of the machine: each kill counts as the first.
    watchdog.SETTLED_S = 0.0
    document = {
        "what": "engine process ended at random moments while frames come; back-off counted as the first restart",
        "bundle": bundle.digest,
        "fps": words.fps,
        "hang_ms": HANG_MS,
        "fingerprint": fingerprint(
            get_backend(bundle.backend), device="cpu", threads=default_threads(), precision=bundle.precision
        ),
        **{how: outages(bundle, how, words.kills, fps=words.fps, steady_s=words.steady_s) for how in SIGNALS},
    }
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = words.output or RESULTS / f"{today}-engine-outage.json"
    write_json(path, document)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
