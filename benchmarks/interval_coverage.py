"""How much the coverage of the estimate's interval depends on which networks calibrated it.

    bench-ops --space small -o lut.json
    bench-model --lut lut.json --nets 100 --calibrate 30 --seed 3141 -o model.json
    python benchmarks/interval_coverage.py lut.json model.json [lut2.json model2.json ...] -o RESULT.json

Held-out networks and those of the calibration's fair sample are the same kind of draw. So they are dealt anew: as many
as calibrated calibrate, the rest is held out, many times. Nothing is measured here.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

import numpy as np
from latency_ablation import read

from cinert.files import write_json
from latency.calibration import GROUP_NAMES, CalibrationNetwork, fit_calibration
from latency.estimate import estimate_groups


def coverage(calibrating: list[CalibrationNetwork], held_out: list[CalibrationNetwork]) -> float:
    """Share of networks within the 90 % interval of a calibration by others."""
    calibration = fit_calibration(calibrating, lut="")
    factors = np.array([calibration.factors[name] for name in GROUP_NAMES])
    ms = np.array([[network.group_ms[name] for name in GROUP_NAMES] for network in held_out]) @ factors
    measured = np.array([network.measured_ms for network in held_out])
    return float(np.mean(np.abs(measured / ms - 1) <= calibration.relative_error_90))


def deal(lut: Path, model: Path, deals: int, seed: int) -> dict[str, object]:
    """Coverage as it was measured, and over other deals of the same networks."""
    data = read(lut, model)
    held_out = [
        CalibrationNetwork(
            name=arch.digest, source=str(model), group_ms=estimate_groups(arch, data.lut), measured_ms=float(ms)
        )
        for arch, ms in zip(data.held_out.archs, data.held_out.ms, strict=True)
    ]
    chosen = [network for network in data.correction.networks if network.chosen]
    fair = [network for network in data.correction.networks if not network.chosen]
    pool = [*held_out, *fair]
    rng, found = np.random.default_rng(seed), []
    for _ in range(deals):
        order = rng.permutation(len(pool))
        dealt = [pool[index] for index in order]
        found.append(coverage([*chosen, *dealt[: len(fair)]], dealt[len(fair) :]))
    return {
        "lut": f"{data.lut.device_name}, space {data.lut.space.name}",
        "calibrated_by": len(fair),
        "measured": coverage(list(data.correction.networks), held_out),
        "deals": deals,
        "mean": float(np.mean(found)),
        "sd": float(np.std(found)),
        "p5": float(np.quantile(found, 0.05)),
        "p95": float(np.quantile(found, 0.95)),
    }


def main() -> None:
    """Deal, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="LUT MODEL")
    parser.add_argument("--deals", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    results = []
    for lut, model in zip(options.files[::2], options.files[1::2], strict=True):
        found = deal(lut, model, options.deals, options.seed)
        print(
            f"{found['lut']}: {found['measured']:.0%} measured; dealt anew {found['mean']:.1%}, sd {found['sd']:.1%},"
            f" {found['p5']:.0%} to {found['p95']:.0%}"
        )
        results.append(found)
    if options.output:
        write_json(options.output, {"date": datetime.date.today().isoformat(), "runs": results})


if __name__ == "__main__":
    main()
