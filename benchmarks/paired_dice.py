"""By how much the Dice of one network is ahead of another's, patient by patient.

python benchmarks/paired_dice.py OURS/accuracy.json OTHER/accuracy.json ...

Reads what `evaluate-bundle` wrote of each network on the same held-out patients, and prints mean Dice, by how much the
first network is ahead, with its 95 % interval (bootstrap over patients), and in how many patients. One training of each
says nothing about the spread over seeds: `bench-compare --suite ours-vs-designed` does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bench.compare.document import dice_by_patient
from bench.compare.versus import paired_interval


def main() -> None:
    """Print a line for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("accuracy", nargs="+", type=Path, help="accuracy.json of evaluate-bundle; ours first")
    paths = parser.parse_args().accuracy
    found = [dice_by_patient(path.parent) for path in paths]
    first = found[0]
    for path, dice in zip(paths, found, strict=True):
        if dice.keys() != first.keys():
            raise SystemExit(f"{path} is of other patients than {paths[0]}: score both on one fold.")
        line = f"{path}: mean Dice {np.mean(list(dice.values())):.4f}"
        if path != paths[0]:
            ahead = np.array([first[patient] - dice[patient] for patient in first])[None]
            low, high = paired_interval(ahead)
            line += f"; the first is ahead by {ahead.mean():+.4f} ({low:+.4f} to {high:+.4f}),"
            line += f" in {int((ahead > 0).sum())} of {ahead.size} patients"
        print(line)


if __name__ == "__main__":
    main()
