"""Hold two LUTs of the same device and space against each other: what a second measurement gives.

    bench-ops --space small -o first.json
    python benchmarks/busy_core.py &          # a load of one core, 5 s of every 10
    bench-ops --space small -o second.json
    python benchmarks/lut_repeatability.py first.json second.json -o benchmarks/results/DATE-repeatability.json

Rows are the parts timed alone and the networks timed whole; the worst is taken over those above 0.2 ms. Prices are
held against each other by what they say of 200 random networks, because single prices can trade against each other.
"""

from __future__ import annotations

import argparse
import datetime
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from cinert.sampling import random_arch
from latency.estimate import estimate
from latency.lut import Lut, load_lut

_SMALLEST_MS = 0.2
_NETWORKS = 200


def rows(lut: Lut) -> dict[str, float]:
    """Quiet time of every part and every network."""
    networks = {f"network {each['digest']}": float(each["quiet_ms"]) for each in lut.prices.report["networks"]}
    return {**{row.key.label: row.quiet_ms for row in lut.rows}, **networks}


def figures(first: dict[str, float], second: dict[str, float]) -> dict[str, object]:
    """Median and worst difference of rows, as fractions of the first."""
    names = sorted(first.keys() & second.keys())
    change = np.array([abs(second[name] / first[name] - 1) for name in names])
    large = np.array([first[name] > _SMALLEST_MS for name in names])
    worst = int(np.argmax(np.where(large, change, 0)))
    return {
        "rows": len(names),
        "median": float(np.median(change)),
        "worst": float(change[worst]),
        "worst_row": names[worst],
        "above_10_percent": int((change[large] > 0.1).sum()),
    }


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    a, b = (replace(load_lut(path), calibration=None) for path in (options.first, options.second))
    archs = [random_arch(a.space, seed) for seed in range(_NETWORKS)]
    change = np.array([estimate(arch, b).ms / estimate(arch, a).ms - 1 for arch in archs])
    parts = {row.key.label for row in a.rows}
    first, second = rows(a), rows(b)
    result = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": a.device_name,
        "space": a.space.name,
        "created": [a.created, b.created],
        "disturbed": [a.load.disturbed, b.load.disturbed],
        "anchor_ms": [a.protocol.get("anchor_ms"), b.protocol.get("anchor_ms")],
        "all": figures(first, second),
        "parts": figures({k: v for k, v in first.items() if k in parts}, second),
        "networks": figures({k: v for k, v in first.items() if k not in parts}, second),
        "estimates": {"median": float(np.median(np.abs(change))), "worst": float(np.abs(change).max())},
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
