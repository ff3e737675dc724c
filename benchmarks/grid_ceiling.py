"""Dice that a perfect network would have on a grid: labels taken to the network's voxels and back.

python benchmarks/grid_ceiling.py DATA [--fold 0]

The crop is about the labels' middle. Prints mean Dice (RV, MYO, LV, mean) of the fold's held-out frames for some grids.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bench.seen import patients_of_fold
from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.patients import load_frame
from cinert.space import CLASSES

GRIDS = (
    ((10, 80, 80), (10.0, 2.0, 2.0)),
    ((10, 96, 96), (10.0, 160 / 96, 160 / 96)),
    ((10, 128, 128), (10.0, 1.25, 1.25)),
    ((20, 96, 96), (5.0, 160 / 96, 160 / 96)),
)
_SURE = 20.0
"""Logit of the right class."""


def main() -> None:
    """Print a line for each grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    told = parser.parse_args()
    frames = [load_frame(frame) for patient in patients_of_fold(told.data, told.fold) for frame in patient.frames]
    for shape_DHW, spacing_mm in GRIDS:
        spec, scores = PreprocessingSpec(spacing_mm=spacing_mm, shape_DHW=shape_DHW), []
        for _, label, geometry in frames:
            middle = geometry.affine @ np.append(np.argwhere(label).mean(axis=0), 1.0)
            grid = GridMap(geometry, spec, middle[:3])
            seen = grid.label_to_network(label)
            logits = _SURE * np.stack([seen == number for number in range(len(CLASSES))]).astype(np.float32)
            mask = grid.logits_to_stored(logits)
            pairs = [(mask == number, label == number) for number in range(1, len(CLASSES))]
            scores.append([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs])
        found = np.mean(scores, axis=0)
        print(f"{shape_DHW} of {spacing_mm} mm: {' '.join(f'{dice:.3f}' for dice in (*found, found.mean()))}")


if __name__ == "__main__":
    main()
