"""What back end `torch` gains on a CPU by its layers and by keeping its memory, in one run.

    python benchmarks/torch_on_cpu.py --space small -o benchmarks/results/DATE-torch-on-cpu.json

Each way of running the same random networks has processes of its own, because what the allocator was told cannot be
taken back; the ways take turns. `pool` times one 3x3x3 max pooling on noise and on zeros.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.model_networks import held_out_networks
from cinert.backends.allocator import keep_memory
from cinert.backends.cpu_layers import with_cpu_layers
from cinert.files import check_output_file, write_json
from cinert.onnx import network_model
from cinert.spaces import load_space

WAYS = ("as PyTorch has it", "own layers", "own layers, memory kept")
_POOL_SHAPE = (1, 16, 10, 64, 56)
_RUNS = 8


def best_ms(work: Callable[[], object]) -> float:
    """The shortest of some runs, after two that do not count."""
    times = []
    for number in range(_RUNS + 2):
        start = time.perf_counter()
        work()
        if number >= 2:
            times.append((time.perf_counter() - start) * 1000)
    return min(times)


def measure(way: str, space: str, networks: int, seed: int) -> dict[str, Any]:
    """Time networks and a pooling in this process."""
    torch.set_num_threads(1)
    prepare = (lambda module: module) if way == WAYS[0] else with_cpu_layers
    if way == WAYS[2]:
        keep_memory()
    ms, faults = {}, {}
    with torch.inference_mode():
        for arch in held_out_networks(load_space(space), networks, seed=seed, known=set()):
            model = network_model(arch)
            assert model.make_module is not None
            module, x = prepare(model.make_module().eval()), torch.randn(model.input_shapes[0])
            ms[arch.digest] = best_ms(lambda module=module, x=x: module(x))
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            module(x)
            faults[arch.digest] = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        pool = prepare(nn.MaxPool3d(3, stride=1, padding=1))
        noise = torch.randn(_POOL_SHAPE)
        pools = {name: best_ms(lambda x=x: pool(x)) for name, x in (("noise", noise), ("zeros", noise * 0))}
    return {"ms": ms, "page_faults": faults, "pool_ms": pools}


def summary(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The best time of each network over the rounds, and ratios to PyTorch as it is."""
    best = {
        way: {name: min(each["ms"][name] for each in found) for name in found[0]["ms"]} for way, found in rounds.items()
    }
    plain = best[WAYS[0]]
    return {
        way: {
            "times_faster": float(np.median([plain[name] / ms for name, ms in best[way].items()])),
            "page_faults": float(np.median([count for each in found for count in each["page_faults"].values()])),
            "pool_ms": {name: min(each["pool_ms"][name] for each in found) for name in ("noise", "zeros")},
            "networks_ms": best[way],
        }
        for way, found in rounds.items()
    }


def main() -> None:
    """Measure in turn, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="small")
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.space, options.networks, options.seed)))
        return
    if options.output:
        check_output_file(options.output)
    rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    command = [sys.executable, __file__, "--space", options.space, "--networks", str(options.networks)]
    command += ["--seed", str(options.seed)]
    for _ in range(options.rounds):
        for way in random.sample(WAYS, len(WAYS)):
            done = subprocess.run(
                [*command, "--way", way],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            rounds[way].append(json.loads(done.stdout))
    found = summary(rounds)
    for way, row in found.items():
        pools = row["pool_ms"]
        print(
            f"{way}: {row['times_faster']:.2f} times as fast, {row['page_faults']:.0f} page faults a run,"
            f" pooling {pools['noise']:.1f} ms on noise, {pools['zeros']:.1f} ms on zeros"
        )
    if options.output:
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        document = {"date": date, "space": options.space, "seed": options.seed, "threads": 1, "ways": found}
        write_json(options.output, document)


if __name__ == "__main__":
    main()
