"""How long an estimate of a U-shaped network takes, as a search asks for it: first of all, and when places are known.

python benchmarks/estimate_speed.py lut.json [--networks 3000]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from cinert.ushape.space import UShapeSpace
from latency.estimate import estimate
from latency.lut import load_lut
from latency.ushape.design import seeded_ushape
from latency.ushape.pricer import UShapePricer

_SLOW = 100
"""Networks that the whole estimate, with its parts, is timed on."""


def main() -> None:
    """Print microseconds an estimate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lut", type=Path)
    parser.add_argument("--networks", type=int, default=3000)
    arguments = parser.parse_args()
    lut = load_lut(arguments.lut)
    if not isinstance(lut.space, UShapeSpace):
        parser.error(f"{arguments.lut} is of a space of cells")
    pricer = UShapePricer(lut.space, lut)
    archs = [seeded_ushape(lut.space, seed) for seed in range(arguments.networks)]
    for words in ("first asked", "asked again"):
        start = time.process_time()
        for arch in archs:
            pricer.ms(arch)
        print(f"{words}: {1e6 * (time.process_time() - start) / len(archs):.1f} us a network")
    start = time.process_time()
    for arch in archs[:_SLOW]:
        estimate(arch, lut)
    print(f"estimate with its parts: {1e6 * (time.process_time() - start) / len(archs[:_SLOW]):.1f} us a network")


if __name__ == "__main__":
    main()
