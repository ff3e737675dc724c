"""Hold a LUT's estimates against random full-size networks that it has never seen, on this device.

    bench-ops --space demo -o lut.json
    python benchmarks/estimate_accuracy.py lut.json [--nets 30] [--seed 1000]

Writes benchmarks/results/DATE-estimate-SPACE-BACKEND.json. The networks are measured twice: the second measurement
against the first is the noise floor, and no model can be better than that.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from pathlib import Path
from typing import cast

import numpy as np
from scipy.stats import kendalltau, spearmanr

from cinert.backends import resolve_backend
from cinert.backends.base import Precision
from cinert.device_lock import device_of, hold_device
from cinert.environment import binding_differences
from cinert.onnx import network_model
from cinert.sampling import random_arch
from cinert.timing import Protocol
from latency.breakdown import arch_parts
from latency.checkpoint import Checkpoint
from latency.estimate import estimate
from latency.lut import Lut, load_lut
from latency.prices import Vector, error_figures
from latency.profile import Setup, host_to_host, measure_models

RESULTS = Path(__file__).parent / "results"


def figures(predicted: Vector, measured: Vector) -> dict[str, float]:
    """Errors and rank correlations."""
    return {
        **error_figures(predicted, measured),
        "kendall_tau": float(kendalltau(predicted, measured).statistic),
        "spearman_rho": float(spearmanr(predicted, measured).statistic),
    }


def flops_only(flops: Vector, measured: Vector) -> Vector:
    """The best that FLOPs alone can do, fitted in sample: in its favour."""
    return flops * float(np.median(measured / flops))


def measure(lut: Lut, nets: int, seed: int) -> dict[str, object]:
    """Measure the networks twice and compare with every model."""
    archs = [random_arch(lut.space, seed + index) for index in range(nets)]
    backend = resolve_backend(lut.backend)
    backend.cuda_graph = bool(lut.fingerprint["libraries"].get("cuda_graph", True))
    setup = Setup(
        backend=backend,
        device="auto",
        threads=lut.fingerprint["threads"],
        precision=cast(Precision, lut.precision),
        protocol=Protocol(),
    )
    if differences := binding_differences(lut.fingerprint, setup.fingerprint()):
        raise SystemExit(f"the LUT is from another device: {'; '.join(differences)}")
    models = {arch.digest: network_model(arch) for arch in archs}
    rounds = []
    device = device_of(setup.backend, setup.device)
    with tempfile.TemporaryDirectory() as folder, hold_device(device, "measure", "estimate_accuracy.py"):
        for number in range(2):
            checkpoint = Checkpoint(Path(folder) / f"round{number}", {})
            timing = measure_models(
                models, setup, checkpoint, lambda *_: None, clock=host_to_host, stage=f"round {number}"
            )
            rounds.append(np.array([timing[arch.digest].quiet_ms for arch in archs]))
    measured = np.minimum(*rounds)
    estimates = [estimate(arch, lut) for arch in archs]
    predicted = np.array([each.ms for each in estimates])
    isolated = {row.key: row.quiet_ms for row in lut.rows}
    counts = [arch_parts(arch) for arch in archs]
    raw = np.array([sum(count * isolated[key] for key, count in parts.items()) for parts in counts])
    flops = np.array([float(sum(count * key.flops for key, count in parts.items())) for parts in counts])
    inside = [each.low_ms <= ms <= each.high_ms for each, ms in zip(estimates, measured, strict=True)]
    return {
        "device": lut.device_name,
        "space": lut.space.name,
        "nets": nets,
        "seed": seed,
        "noise_floor": error_figures(rounds[1], rounds[0]),
        "held_out": {
            "in_context": {**figures(predicted, measured), "coverage_90": float(np.mean(inside))},
            "raw_sum": figures(raw, measured),
            "flops_in_sample": figures(flops_only(flops, measured), measured),
        },
        "networks": [
            {"seed": seed + index, "measured_ms": float(ms), "estimate_ms": each.ms, "raw_sum_ms": float(total)}
            for index, (ms, each, total) in enumerate(zip(measured, estimates, raw, strict=True))
        ],
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lut", type=Path)
    parser.add_argument("--nets", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("-o", "--output", type=Path, help="file to write, instead of the one named above")
    options = parser.parse_args()
    lut = load_lut(options.lut)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    command = f"python benchmarks/estimate_accuracy.py lut.json --nets {options.nets} --seed {options.seed}"
    result = {"date": date, "command": command, **measure(lut, options.nets, options.seed)}
    path = options.output or RESULTS / f"{date}-estimate-{lut.space.name}-{lut.backend}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("noise_floor", "held_out")}, indent=2))
    print(f"Wrote {path}.")


if __name__ == "__main__":
    main()
