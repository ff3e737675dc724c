"""Load one core for part of every period, to see what a measurement makes of it.

python benchmarks/busy_core.py --busy-s 5 --period-s 10
"""

from __future__ import annotations

import argparse
import time


def main() -> None:
    """Run until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy-s", type=float, default=5.0)
    parser.add_argument("--period-s", type=float, default=10.0)
    options = parser.parse_args()
    while True:
        start = time.monotonic()
        while time.monotonic() < start + options.busy_s:
            sum(number * number for number in range(10_000))
        time.sleep(max(0.0, start + options.period_s - time.monotonic()))


if __name__ == "__main__":
    main()
