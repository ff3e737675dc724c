"""Which step of the latency model buys how much: several models on the measurements of one LUT and bench-model run.

    bench-ops --space small -o lut.json
    bench-model --lut lut.json --nets 100 --calibrate 30 --seed 3141 -o model.json
    python benchmarks/latency_ablation.py lut.json model.json -o benchmarks/results/DATE-ablation-small-ort.json

Every model is fitted to the LUT's short networks, or to the calibration networks, or to both, and judged on the
networks that bench-model held out. Nothing is measured here.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.model_figures import figures, flops_fitted, network_flops
from cinert.arch import Arch, live_edges
from cinert.sampling import random_arch
from latency.breakdown import break_down, count_vector
from latency.calibration import Calibration
from latency.composition import composed, fit_rule
from latency.design import designed_networks
from latency.estimate import estimate
from latency.lut import Lut, load_lut
from latency.prices import fit
from latency.terms import Matrix, Vector, price_terms


@dataclass(frozen=True)
class Networks:
    """Networks and their quiet times."""

    archs: Sequence[Arch]
    ms: Vector


@dataclass(frozen=True)
class Data:
    """What the models are fitted to and judged on."""

    lut: Lut
    short: Networks
    calibration: Networks
    held_out: Networks
    correction: Calibration

    def counts(self, networks: Networks) -> Matrix:
        """(networks, parts)."""
        keys = [row.key for row in self.lut.rows]
        return np.stack([count_vector(break_down(arch).total, keys) for arch in networks.archs])

    @property
    def alone(self) -> Vector:
        """(parts,) quiet time of each part alone."""
        return np.array([row.quiet_ms for row in self.lut.rows])


def read(lut_path: Path, model_path: Path) -> Data:
    """Rebuild the networks from their seeds."""
    lut = replace(load_lut(lut_path), calibration=None)
    document = json.loads(model_path.read_text())
    records = {each["digest"]: each["quiet_ms"] for each in lut.prices.report["networks"]}
    short = designed_networks(lut.space, len(records), precision="fp32")
    held_out = [random_arch(lut.space, each["seed"]) for each in document["networks"]]
    correction = Calibration.from_dict(document["calibration"], source=str(model_path))
    wanted = {network.name: network.measured_ms for network in correction.networks}
    found: dict[str, Arch] = {}
    index = (document["seed"] + 1) * 1_000_000
    while len(found) < len(wanted):
        arch = random_arch(lut.space, index)
        if arch.digest in wanted:
            found[arch.digest] = arch
        index += 1
    return Data(
        lut=lut,
        short=Networks(short, np.array([records[arch.digest] for arch in short])),
        calibration=Networks(list(found.values()), np.array([wanted[digest] for digest in found])),
        held_out=Networks(held_out, np.array([each["measured_ms"] for each in document["networks"]])),
        correction=correction,
    )


def relative_fit(features: Matrix, ms: Vector, ridge: float = 1e-3) -> Vector:
    """Least squares in relative error, with a slight pull to zero."""
    design = features / ms[:, None]
    scale = np.sqrt((design**2).mean(axis=0)) + 1e-12
    penalty = ridge * np.sqrt(len(ms)) * np.diag(scale)
    solution: Vector = np.linalg.lstsq(
        np.vstack([design, penalty]), np.append(np.ones(len(ms)), np.zeros(len(scale))), rcond=None
    )[0]
    return solution


def cells(archs: Sequence[Arch]) -> Matrix:
    """Number of cells and of fused paths of each network, (networks, 2)."""
    return np.array([[sum(edge.kind != "skip" for edge in arch.edges), len(arch.paths)] for arch in archs], float)


def pairs(archs: Sequence[Arch]) -> tuple[list[str], Matrix]:
    """How often an op reads another's output directly, per scale: what an engine may fuse."""
    found = []
    for arch in archs:
        count: Counter[str] = Counter()
        for edge in arch.edges:
            if edge.kind == "skip":
                continue
            cell = live_edges(arch.cells[edge.kind])
            for edges in cell:
                for reader in edges:
                    if reader.input:
                        for writer in cell[reader.input - 1]:
                            count[f"{writer.op}>{reader.op}"] += arch.space.widths[edge.target] > 0
        found.append(count)
    names = sorted(set().union(*found))
    return names, np.array([[float(count[name]) for name in names] for count in found])


def models(data: Data) -> dict[str, Callable[[], Vector]]:
    """Predictions of the held-out networks, (networks,), by each model."""
    keys = [row.key for row in data.lut.rows]
    _, tied = price_terms(keys, data.lut.space)
    free = np.eye(len(keys))
    counts, known, wanted = (data.counts(each) for each in (data.short, data.calibration, data.held_out))
    alone, short_ms, known_ms = data.alone, data.short.ms, data.calibration.ms
    everything = np.vstack([counts, known])
    all_ms = np.append(short_ms, known_ms)

    def flops() -> Vector:
        return flops_fitted(
            np.array([network_flops(arch) for arch in data.held_out.archs]),
            np.array([network_flops(arch) for arch in data.calibration.archs]),
            known_ms,
        )

    def scaled() -> Vector:
        return wanted @ alone * float(np.median(known_ms / (known @ alone)))

    def overhead() -> Vector:
        archs = [*data.short.archs, *data.calibration.archs]
        solution = relative_fit(np.column_stack([everything @ alone, cells(archs), np.ones(len(archs))]), all_ms)
        features = np.column_stack([wanted @ alone, cells(data.held_out.archs), np.ones(len(wanted))])
        return np.maximum(features @ solution, 1e-6)

    def critical() -> Vector:
        breakdowns = [break_down(arch) for arch in data.short.archs]
        best = fit_rule("critical path", breakdowns, keys, short_ms, alone, tied, seed=0)
        prices = dict(zip(keys, best.fit.prices_ms, strict=True))
        parts = [composed(break_down(arch), prices, "critical path") for arch in data.held_out.archs]
        return best.fit.predict(np.stack([count_vector(each, keys) for each in parts]))

    def with_pairs() -> Vector:
        base = fit(counts, short_ms, alone, tied)
        archs = [*data.short.archs, *data.calibration.archs, *data.held_out.archs]
        _, found = pairs(archs)
        ms = base.predict(np.vstack([everything, wanted]))
        features = np.column_stack([ms, found * np.median(ms) * 0.01])
        solution = relative_fit(features[: len(all_ms)], all_ms, ridge=0.03)
        return features[len(all_ms) :] @ solution

    def with_regressor() -> Vector:
        base = fit(counts, short_ms, alone, tied)

        def features(archs: Sequence[Arch], own: Matrix) -> Matrix:
            ms = base.predict(own)
            return np.column_stack([np.log(ms), cells(archs), own.sum(axis=1), own @ alone / ms, np.ones(len(ms))])

        x = features(data.calibration.archs, known)
        ratio = np.log(known_ms / base.predict(known))
        scale = x.std(axis=0) + 1e-9
        weights = np.linalg.solve(
            (x / scale).T @ (x / scale) + 0.1 * len(x) * np.eye(x.shape[1]), (x / scale).T @ ratio
        )
        correction = features(data.held_out.archs, wanted) / scale @ weights
        return base.predict(wanted) * np.exp(correction)

    def calibrated() -> Vector:
        lut = replace(data.lut, calibration=data.correction)
        return np.array([estimate(arch, lut).ms for arch in data.held_out.archs])

    return {
        "FLOPs, a line": flops,
        "parts alone, summed": lambda: wanted @ alone,
        "parts alone, one scale": scaled,
        "parts alone, scale, per cell, per path": overhead,
        "prices in context, each part free": lambda: fit(counts, short_ms, alone, free).predict(wanted),
        "prices in context, terms": lambda: fit(counts, short_ms, alone, tied).predict(wanted),
        "the same, composed by critical path": critical,
        "terms and pairs of ops": with_pairs,
        "terms and a regressor on the residual": with_regressor,
        "terms, fitted to short and full-size together": lambda: fit(everything, all_ms, alone, tied).predict(wanted),
        "terms and factors per group (bench-model)": calibrated,
    }


def main() -> None:
    """Fit, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lut", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    data = read(options.lut, options.model)
    result: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": data.lut.device_name,
        "space": data.lut.space.name,
        "networks": {name: len(getattr(data, name).archs) for name in ("short", "calibration", "held_out")},
        "models": {},
    }
    print("| model | MAPE | within 5 % | within 10 % | worst | tau |\n| --- | --: | --: | --: | --: | --: |")
    for name, predict in models(data).items():
        found = result["models"][name] = figures(predict(), data.held_out.ms)
        print(
            f"| {name} | {found['mape']:.1%} | {found['within_5']:.0%} | {found['within_10']:.0%}"
            f" | {found['worst']:.0%} | {found['kendall_tau']:.3f} |"
        )
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
