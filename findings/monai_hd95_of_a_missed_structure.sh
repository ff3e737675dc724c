#!/usr/bin/env bash
# Guess:      a network that finds nothing of a structure gets the worst HD95 of a table, or a NaN for all to see.
# Happens:    MONAI's HausdorffDistanceMetric gives NaN for that one case, and aggregate() leaves NaN out of the mean:
#             the miss vanishes beside a scored case, and where all cases are missed the mean is 0.0 mm: a perfect one.
# Matters to: whoever ranks segmentation networks by mean HD95 (and whoever searches for them by it): to find nothing
#             beats to find something. Count the misses (get_not_nans=True, or get_buffer()) beside the mean.
# Versions:   monai 1.6.1, torch 2.13.0 (CPU build), numpy 2.4.6, scipy 1.17.1; Python 3.11
# Date:       2026-11-30
# Seen:       found, 3 mm off; missed: each [3.0, nan], aggregate() 3.0
#             missed; missed: each [nan, nan], aggregate() 0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet monai==1.6.1 torch==2.13.0 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PY'
import sys
import warnings
from importlib.metadata import version

import torch
from monai.metrics import HausdorffDistanceMetric

print(", ".join(f"{name} {version(name)}" for name in ("monai", "torch", "numpy", "scipy")))
warnings.simplefilter("ignore")  # MONAI warns, case by case, that the prediction is empty


def labels(first=None):
    """Background and one cube of 4 voxels a side that begins at voxel `first`; no cube where that is None."""
    onehot_BCDHW = torch.zeros(1, 2, 16, 16, 16)
    if first is not None:
        onehot_BCDHW[:, 1, first : first + 4, 4:8, 4:8] = 1
    onehot_BCDHW[:, 0] = 1 - onehot_BCDHW[:, 1]
    return onehot_BCDHW


def mean_hd95_mm(*predictions):
    metric = HausdorffDistanceMetric(include_background=False, percentile=95)
    for prediction in predictions:
        metric(prediction, labels(4), spacing=1.0)
    return metric.get_buffer().flatten().tolist(), metric.aggregate().item()


means = {}
for name, predictions in {
    "found, 3 mm off": [labels(7)],
    "found, 3 mm off; missed": [labels(7), labels()],
    "missed; missed": [labels(), labels()],
}.items():
    each, means[name] = mean_hd95_mm(*predictions)
    print(f"{name}: each {each}, aggregate() {means[name]}")
print("expected: a miss makes the mean worse, or NaN; never better")
sys.exit(list(means.values()) != [3.0, 3.0, 0.0])
PY
