"""What surrounds the engine in a frame, of two checkouts in turn: A B B A, on the same frames, one thread each.

    python benchmarks/frame_overhead.py OLD NEW --old-bundle DIR --new-bundle DIR [--rounds 5] [--frames 500]

OLD and NEW are folders of this repository. Each runs in a process of its own that lasts, with its own code and its own
bundle: the same network, with the localiser that the checkout trains. Phantoms of 256 x 216 x 10 and 216 x 256 x 20
voxels are shown to both. A block of frames is either `paced` at 22 frames/s, or `burst`, back to back. A checkout that
looks for the heart in spare time does so after every frame: once in 22 of them when paced, in 10 when back to back.

Around is frame in to mask out less the engine. CPU is all that the process used per frame, looks included. Ratios are
NEW over OLD, each the median over rounds of blocks that ran beside each other, so that what else a machine does falls
on both; steal is the time that the hypervisor gave to others. Writes benchmarks/results/DATE-frame-overhead.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
SIZES = {"256x216x10": ((256, 216, 10), (1.4, 1.4, 10.0)), "216x256x20": ((216, 256, 20), (1.4, 1.4, 5.0))}
MODES = ("paced", "burst")
FPS = 22.0
LOOK_FRAMES = {"paced": 22, "burst": 10}
WARMUP = 30
SIDES = ("old", "new")


def draw_frames(folder: Path, seed: int) -> None:
    """A beating phantom of each size, as SIZE.npz."""
    from cinert.data.heart_draw import draw_patient  # noqa: PLC0415 - workers of other checkouts do not draw
    from cinert.data.heart_image import make_scene, render  # noqa: PLC0415

    for name, (shape, spacing_mm) in SIZES.items():
        rng = np.random.default_rng(seed)
        patient = replace(draw_patient(rng), shape=shape, spacing_mm=spacing_mm, base_slice=shape[2] // 5)
        frames = np.stack([image for image, _ in render(make_scene(patient, rng), rng)])
        affine = np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0])
        np.savez(folder / f"{name}.npz", frames=frames, affine=affine)


def steal_s() -> float:
    """Seconds that the hypervisor gave to others so far, over all cores."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


class Streams:
    """What a worker segments: a pipeline per size and mode, each warmed up once."""

    def __init__(self, bundle: Path, frames: Path) -> None:
        from cinert.bundle import open_bundle  # noqa: PLC0415 - of the worker's checkout

        self._bundle, self._folder = open_bundle(bundle), frames
        self._engine_cpu_s = 0.0
        self._made: dict[tuple[str, str], tuple[Any, list[NDArray[Any]], NDArray[np.uint8]]] = {}

    def _stream(self, size: str, mode: str) -> tuple[Any, list[NDArray[Any]], NDArray[np.uint8]]:
        from bedside.pipeline import FramePipeline  # noqa: PLC0415 - of the worker's checkout
        from cinert.data.nifti import Geometry  # noqa: PLC0415

        if (size, mode) not in self._made:
            with np.load(self._folder / f"{size}.npz") as stored:
                frames = [np.asfortranarray(frame) for frame in stored["frames"]]
                geometry = Geometry(frames[0].shape, stored["affine"])
            more = {"look_frames": LOOK_FRAMES[mode]} if hasattr(FramePipeline, "look") else {}
            pipeline = FramePipeline.from_bundle(self._bundle, device="cpu", threads=1, **more).bind(geometry)
            pipeline.runner.run = self._timed(pipeline.runner.run)
            mask = np.zeros(geometry.shape, np.uint8, order="F")
            self._made[size, mode] = pipeline, frames, mask
            self.block(size, mode, WARMUP)
        return self._made[size, mode]

    def _timed(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """The same, with its CPU time noted: on a busy machine it tells what the wall clock cannot."""

        def timed(*inputs: Any) -> Any:
            start = time.process_time()
            result = run(*inputs)
            self._engine_cpu_s += time.process_time() - start
            return result

        return timed

    def block(self, size: str, mode: str, count: int) -> dict[str, Any]:
        """Segment a block of frames, and say what they took."""
        pipeline, frames, mask = self._stream(size, mode)
        look = getattr(pipeline, "look", lambda _: None)
        around, total, unsure = np.zeros(count), np.zeros(count), 0
        self._engine_cpu_s = 0.0
        stolen, cpu, start = steal_s(), time.process_time(), time.perf_counter()
        for number in range(count):
            if mode == "paced":
                time.sleep(max(0.0, start + number / FPS - time.perf_counter()))
            image = frames[number % len(frames)]
            result = pipeline.segment(image, out=mask)
            around[number], total[number] = result.total_ms - result.engine_ms, result.total_ms
            unsure += bool(getattr(result, "implausible", ""))
            look(image)
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
        return {
            "around_p50_ms": float(np.median(around)),
            "total_p50_ms": float(np.median(total)),
            "total_p99_less_p50_ms": float(np.percentile(total, 99) - np.median(total)),
            "cpu_ms_per_frame": 1e3 * cpu_s / count,
            "around_cpu_ms_per_frame": 1e3 * (cpu_s - self._engine_cpu_s) / count,
            "wall_ms_per_frame": 1e3 * wall_s / count,
            "around_wall_ms_per_frame": float(around.mean()) + (1e3 * wall_s / count - float(total.mean()))
            if mode == "burst"
            else float(around.mean()),
            "steal_s": steal_s() - stolen,
            "unsure": unsure,
        }


def work(bundle: Path, frames: Path) -> None:
    """A worker: a block for every line that comes, {size, mode, count}, until none comes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    streams = Streams(bundle, frames)
    for line in sys.stdin:
        print(json.dumps(streams.block(**json.loads(line))), file=answers, flush=True)


class Worker:
    """A process with a checkout's code."""

    def __init__(self, checkout: Path, bundle: Path, frames: Path) -> None:
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).resolve()), "--work", str(bundle.resolve()), str(frames)],
            env={**os.environ, **one_thread, "PYTHONPATH": str(checkout.resolve())},
            cwd=checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def block(self, size: str, mode: str, count: int) -> dict[str, Any]:
        """Have a block segmented.

        Raises:
            SystemExit: the worker ended; what it said is on stderr.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"size": size, "mode": mode, "count": count}) + "\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise SystemExit(f"a worker ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def compare(workers: dict[str, Worker], size: str, mode: str, rounds: int, frames: int) -> dict[str, Any]:
    """Blocks in turn, A B B A, and the ratios of those that were neighbours."""
    blocks: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in SIDES if number % 2 == 0 else SIDES[::-1]:
            blocks[side].append(workers[side].block(size, mode, frames))
    figures = [key for key in blocks["old"][0] if key not in ("steal_s", "unsure")]
    pairs = list(zip(blocks["old"], blocks["new"], strict=True))
    return {
        "ratio": {key: float(np.median([new[key] / old[key] for old, new in pairs])) for key in figures},
        **{
            side: {key: float(np.median([block[key] for block in blocks[side]])) for key in figures}
            | {key: sum(block[key] for block in blocks[side]) for key in ("steal_s", "unsure")}
            for side in SIDES
        },
        "blocks": blocks,
    }


def main() -> None:
    """Measure, print the ratios, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--old-bundle", type=Path, required=True)
    parser.add_argument("--new-bundle", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=10, help="pairs of blocks")
    parser.add_argument("--frames", type=int, default=500, help="in a block")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--seed", type=int, default=0, help="of the phantoms")
    parser.add_argument("-o", "--output", type=Path, help="JSON to write instead")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder)
        draw_frames(frames, words.seed)
        bundles = {"old": words.old_bundle, "new": words.new_bundle}
        workers = {side: Worker(getattr(words, side), bundles[side], frames) for side in SIDES}
        document: dict[str, Any] = {
            "what": "frame to mask less engine, new over old; blocks in turn",
            "commits": {side: commit_of(getattr(words, side)) for side in SIDES},
            "cpu": cpu_name(),
            "load_before": os.getloadavg()[0],
            "rounds": words.rounds,
            "frames": words.frames,
        }
        for size in SIZES:
            for mode in words.modes:
                found = document[f"{size} {mode}"] = compare(workers, size, mode, words.rounds, words.frames)
                print(f"{size} {mode}")
                for key, ratio in found["ratio"].items():
                    print(f"  {key:26} {found['old'][key]:8.2f} -> {found['new'][key]:8.2f}  ratio {ratio:.2f}")
                for key in ("steal_s", "unsure"):
                    print(f"  {key:26} {found['old'][key]:8.2f} -> {found['new'][key]:8.2f}", flush=True)
        for worker in workers.values():
            worker.close()
    document["load_after"] = os.getloadavg()[0]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = words.output or RESULTS / f"{today}-frame-overhead.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")


def commit_of(checkout: Path) -> str:
    """Abbreviated, with a mark where files differ from it."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def cpu_name() -> str:
    """As the kernel has it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*map(Path, sys.argv[2:]))
    else:
        main()
