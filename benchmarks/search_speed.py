"""Time per step and peak memory of our supernet in its mixtures, and of MONAI's DiNTS, in one run.

    python benchmarks/search_speed.py [--device cuda:0] [--rounds 9] [--sweep-rounds 3] [-o FILE.json]
    python benchmarks/search_speed.py --sweep-rounds 0 --candidates 'dints; full; sampled'
    python benchmarks/search_speed.py --tiny -o /tmp/speed.json

Equal are input, batch, layers, scales, widths, halving of every axis from scale to scale, and what a step does
(`search_steps.py`); docs/search.md says where the spaces differ. Time: every round runs all candidates in random order
in one process, and a ratio is that of two times of the same round; of the ratios the median is given, with the 95 %
interval of a bootstrap over rounds. Memory: each candidate in a process of its own, and twice. `peak` is what the
process takes: the largest resident set less that before the network is built, or `torch.cuda.max_memory_reserved`.
`held` is what tensors need of it: the same with each tensor mapped by itself, so that the C library keeps nothing that
is free (and the step takes 2-3 times as long), or `torch.cuda.max_memory_allocated`. A sampled candidate runs several
steps a round, and all of them before its memory is read, because its draws differ in size. Writes
benchmarks/results/DATE-search-speed-DEVICE.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import gc
import multiprocessing
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from search_steps import CANDIDATES, SWEPT, Task

from cinert.environment import cpu_name, library_version
from cinert.files import check_output_file, write_json

RESULTS = Path(__file__).parent / "results"
REFERENCE = "dints"
MEMORY = ("peak", "held")
BASE = Task(shape_DHW=(16, 64, 48), batch=2, layers=6, scales=4, width=16)
TINY = Task(shape_DHW=(8, 16, 16), batch=2, layers=3, scales=2, width=8)
SWEEP: dict[str, Sequence[int]] = {"layers": (4, 8, 12), "scales": (2, 3), "width": (8, 32)}
SAMPLED_STEPS = 6
"""Steps of a sampled candidate in a round."""


def steps_of(name: str) -> int:
    """Steps that a candidate runs in a round."""
    return SAMPLED_STEPS if name.startswith("sampled") else 1


def seconds(step: Any, steps: int, device: torch.device) -> float:
    """Mean time of a step."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(device)
    return (time.perf_counter() - start) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory_mib(name: str, task: Task, device: torch.device, threads: int, *, held: bool) -> float:
    """Memory of a candidate's steps, in a fresh process.

    Args:
        name: of the candidate.
        task: to do.
        device: where.
        threads: of a CPU.
        held: what tensors hold, instead of what the process takes.
    """
    kept = dict(os.environ)
    if held:
        # glibc maps what is larger by itself, and gives it back as soon as it is free.
        os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**16)
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_memory_here_mib, name, task, str(device), threads, held).result()
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _memory_here_mib(name: str, task: Task, device_name: str, threads: int, held: bool) -> float:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = torch.device(device_name)
    # Libraries take what they need for themselves before the count begins.
    warm = torch.nn.Conv3d(1, 1, 3).to(device)
    warm(torch.zeros(1, 1, 8, 8, 8, device=device)).sum().backward()
    del warm
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) if held else torch.cuda.memory_reserved(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident_kib("VmRSS")
    step = CANDIDATES[name](task, device)
    for _ in range(2 * steps_of(name)):
        step()
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) if held else torch.cuda.max_memory_reserved(device)
        return float(peak - before) / 2**20
    return (_resident_kib("VmHWM") - before) / 2**10


def _resident_kib(key: str) -> int:
    # Not getrusage: a child that was started by exec takes over its parent's peak there.
    match = re.search(rf"^{key}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1])


def measure(
    task: Task, names: Sequence[str], rounds: int, device: torch.device, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Time and memory of some candidates on a task."""
    bar = progress.add_task(label(task), total=rounds + 1 + 2 * len(names))
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        found[name] = {"seconds": []}
        for kind in MEMORY:
            found[name][f"{kind}_mib"] = memory_mib(name, task, device, torch.get_num_threads(), held=kind == "held")
            progress.advance(bar)
    torch.manual_seed(0)
    built = {name: CANDIDATES[name](task, device) for name in names}
    order = np.random.default_rng(0)
    for round_ in range(rounds + 1):
        for index in order.permutation(len(names)):
            name = names[index]
            spent = seconds(built[name], steps_of(name), device)
            # The first round warms up.
            if round_:
                found[name]["seconds"].append(spent)
        progress.advance(bar)
    return found


def summarise(found: dict[str, dict[str, Any]]) -> None:
    """Add medians and ratios to the measurements."""
    for result in found.values():
        result["seconds_median"] = float(np.median(result["seconds"]))
        for other in (REFERENCE, "full"):
            ratios = np.array(found[other]["seconds"]) / np.array(result["seconds"])
            result[f"times_as_fast_as_{other}"] = interval(ratios)
        for kind in MEMORY:
            result[f"{kind}_share_of_{REFERENCE}"] = result[f"{kind}_mib"] / found[REFERENCE][f"{kind}_mib"]


def interval(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    """Median, and the 95 % interval of a bootstrap of it."""
    draws = np.random.default_rng(0).choice(values, (2000, len(values)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return {"median": float(np.median(values)), "low": float(low), "high": float(high)}


def label(task: Task) -> str:
    """A task in a few words."""
    size = "x".join(map(str, task.shape_DHW))
    return f"{size}, batch {task.batch}, {task.layers} layers, {task.scales} scales, width {task.width}"


def table(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Lines of a table in Markdown."""
    yield "| | s/step | steps/s over DiNTS | steps/s over full | peak MiB | over DiNTS | held MiB | over DiNTS |"
    yield "| --- | --: | --: | --: | --: | --: | --: | --: |"
    for name, result in found.items():
        over = [
            f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
            for ratio in (result[f"times_as_fast_as_{REFERENCE}"], result["times_as_fast_as_full"])
        ]
        memory = [f"{result[f'{kind}_mib']:.0f} | {result[f'{kind}_share_of_{REFERENCE}']:.2f}" for kind in MEMORY]
        yield f"| {name} | {result['seconds_median']:.3f} | {' | '.join([*over, *memory])} |"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N")
    parser.add_argument("--threads", type=int, help="of a CPU; torch's choice if not given")
    parser.add_argument("--rounds", type=int, default=9, help="with the first task, which all candidates run")
    parser.add_argument("--sweep-rounds", type=int, default=3, help="with each further task; 0 leaves them out")
    parser.add_argument(
        "--candidates",
        type=lambda names: [name.strip() for name in names.split(";")],
        default=list(CANDIDATES),
        help=f"of the first task, apart by ';', {REFERENCE} and full among them: {'; '.join(CANDIDATES)}",
    )
    parser.add_argument("--tiny", action="store_true", help="one small task, two rounds: to see that everything runs")
    parser.add_argument("-o", "--output", type=Path, help="JSON to write")
    words = parser.parse_args()
    if not {REFERENCE, "full"} <= set(words.candidates) <= set(CANDIDATES):
        parser.error(f"--candidates: expected {REFERENCE}, full and others of {'; '.join(CANDIDATES)}")
    device = torch.device(words.device)
    if words.threads:
        torch.set_num_threads(words.threads)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    output = words.output or RESULTS / f"{date}-search-speed-{device.type}.json"
    check_output_file(output)
    base, rounds, sweep_rounds = (TINY, 2, 0) if words.tiny else (BASE, words.rounds, words.sweep_rounds)
    plan = [(base, tuple(words.candidates), rounds)]
    if sweep_rounds:
        plan += [
            (dataclasses.replace(base, **{key: value}), SWEPT, sweep_rounds)
            for key, values in SWEEP.items()
            for value in values
        ]
    tasks = []
    with Progress() as progress:
        for task, names, count in plan:
            found = measure(task, names, count, device, progress)
            summarise(found)
            tasks.append({**dataclasses.asdict(task), "rounds": count, "candidates": found})
            progress.console.print(f"\n{label(task)}\n", *table(found), sep="\n", soft_wrap=True)
    write_json(
        output,
        {
            "date": date,
            "device": cpu_name() if device.type == "cpu" else torch.cuda.get_device_name(device),
            "threads": torch.get_num_threads(),
            "precision": "fp32" if device.type == "cpu" else "bf16 autocast",
            "versions": {name: library_version(name) for name in ("torch", "monai")},
            "tasks": tasks,
        },
    )


if __name__ == "__main__":
    main()
