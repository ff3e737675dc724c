"""Latency of some networks in turn, in one process, on one thread of a CPU: by the processor's clock.

python benchmarks/interleaved_latency.py ARCH.yaml ... [--rounds 8] [--runs 5]

Engines are OpenVINO's in fp32, with random weights. In each round every network runs in random order, so that a machine
whose speed wanders is as slow for all; what preempts the process is not counted. Prints the median of each.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from cinert.arch import load_arch
from cinert.backends import resolve_backend
from cinert.onnx import network_model


def main() -> None:
    """Print a line for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arch", nargs="+", type=Path, help="architecture files")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5, help="in a round, after one that does not count")
    told = parser.parse_args()
    rng = np.random.default_rng(0)
    backend = resolve_backend("openvino", "cpu", "fp32")
    runners = {
        path: backend.runner(network_model(load_arch(path)), precision="fp32", device="cpu", threads=1)
        for path in told.arch
    }
    inputs = {path: [rng.standard_normal(shape, dtype=np.float32) for shape in runner.input_shapes]
              for path, runner in runners.items()}  # fmt: skip
    taken_ms: dict[Path, list[float]] = {path: [] for path in runners}
    for _ in range(told.rounds):
        for number in rng.permutation(len(told.arch)):
            path = told.arch[number]
            runners[path].run(*inputs[path])
            for _ in range(told.runs):
                start = time.process_time()
                runners[path].run(*inputs[path])
                taken_ms[path].append((time.process_time() - start) * 1e3)
    for path, ms in taken_ms.items():
        print(f"{path}: {np.median(ms):.2f} ms")


if __name__ == "__main__":
    main()
