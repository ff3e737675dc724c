"""Copy bandwidth and matrix rate of a device, in every precision that PyTorch multiplies matrices in."""

from __future__ import annotations

import argparse
from pathlib import Path

from cinert.backends.base import PRECISIONS
from cinert.environment import default_threads
from cinert.files import write_json
from latency.roofline import measure_roofline


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda:0", help="cpu or cuda:N")
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()
    precisions = ["fp32"] if words.device == "cpu" else PRECISIONS
    rates = {}
    for precision in precisions:
        measured = measure_roofline(device=words.device, threads=default_threads(), precision=precision)
        if measured is not None:
            rates[precision] = measured.to_dict()
            print(precision, rates[precision])
    write_json(words.output, {"device": words.device, "rates": rates})


if __name__ == "__main__":
    main()
