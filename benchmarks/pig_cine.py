"""How far a bundle trained on human patients carries to the one public 4D cine that we have: a pig's.

    segment-cine BUNDLE sax_4d.nii.gz -o mask.nii.gz
    python benchmarks/pig_cine.py mask.nii.gz sax_4d_lvlabel_auto.nii.gz -o result.json

Limits: the labels are semi-automatic (LV and MYO, no RV), plausible in slices 2..12 only, and a pig's heart lies and
looks different. So this is a smoke test of generalisation and no accuracy figure for patients.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import nibabel as nib
import numpy as np

from cinert.files import write_json

SLICES = slice(2, 13)
CLASSES = {"myo": 2, "lv": 3}


def dice(predicted: np.ndarray, label: np.ndarray) -> float:
    """Dice of two boolean arrays of the same shape; NaN where neither has anything."""
    total = np.count_nonzero(predicted) + np.count_nonzero(label)
    return float(2 * np.count_nonzero(predicted & label) / total) if total else math.nan


def main() -> None:
    """Compare mask and labels phase by phase in the slices that the labels are good for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mask", type=Path)
    parser.add_argument("label", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    mask, label = (
        np.asarray(nib.load(path).dataobj)[:, :, SLICES].astype(np.uint8) for path in (arguments.mask, arguments.label)
    )
    phases = {
        name: [dice(mask[..., t] == number, label[..., t] == number) for t in range(label.shape[3])]
        for name, number in CLASSES.items()
    }
    # Right ventricle taken for left, or the other way round, shows here and not in the Dice of the LV alone.
    lv_called = {
        name: float(np.mean(mask[label == CLASSES["lv"]] == number))
        for name, number in {"background": 0, "rv": 1, "myo": 2, "lv": 3}.items()
    }
    document = {
        "slices": [SLICES.start, SLICES.stop - 1],
        "dice": {
            name: {"mean": float(np.nanmean(values)), "worst": float(np.nanmin(values))}
            for name, values in phases.items()
        },
        "what_the_labelled_lv_is_called": lv_called,
    }
    print(document)
    if arguments.output:
        write_json(arguments.output, document)


if __name__ == "__main__":
    main()
