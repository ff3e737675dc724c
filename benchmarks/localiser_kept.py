"""Share of the labelled voxels that the crop keeps, with the localiser and without, on patients it never saw.

    python benchmarks/localiser_kept.py --data DIR [--folds 0 1 2 3 4]

For each fold a localiser is trained on the training patients and locates the heart in every labelled frame of the
held-out ones, each frame on its own. Writes benchmarks/results/DATE-localiser.json. A fold that was finished before is
not trained again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cinert.backends import resolve_backend
from cinert.data.dataset import heart_centre_mm
from cinert.data.folds import FOLDS, split_patients
from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.layouts import read_patients
from cinert.data.localiser import Localiser
from cinert.data.patients import Patient, load_frame
from cinert.environment import default_threads, library_version
from cinert.files import read_json, write_json
from cinert.localiser_net import localiser_model
from cinert.spaces import load_space
from search.localise import LocaliserSettings, load_views, train_localiser

RESULTS = Path(__file__).parent / "results"
SPACES = ("small", "paper")


def held_out(patients: dict[str, Patient], fold: int) -> Iterator[dict[str, Any]]:
    """Train on a fold's training patients and locate every frame of the others."""
    parts = split_patients(patients.values(), fold)
    views = load_views([patients[id_] for id_ in parts.train])
    network = train_localiser(views, LocaliserSettings(), torch.device("cpu"))
    specs = {name: PreprocessingSpec(spacing_mm=s.spacing_mm, shape_DHW=s.input_shape_DHW) for name, s in _spaces()}
    runner = resolve_backend("auto").runner(localiser_model(network), threads=default_threads())
    with Localiser(runner) as localiser:
        for id_ in parts.validation:
            for frame in patients[id_].frames:
                image, label, geometry = load_frame(frame)
                start = time.perf_counter()
                found = localiser.bind(geometry).locate(image)
                elapsed = (time.perf_counter() - start) * 1e3
                truth = heart_centre_mm(label, geometry)
                assert truth is not None
                yield {
                    "id": id_,
                    "phase": frame.phase,
                    "fold": fold,
                    "error_mm": None if found is None else float(np.linalg.norm(found - truth)),
                    "first_frame_ms": elapsed,
                    "kept": {name: GridMap(geometry, spec, found).kept_share(label) for name, spec in specs.items()},
                    "kept_image_centre": {
                        name: GridMap(geometry, spec).kept_share(label) for name, spec in specs.items()
                    },
                }


def _spaces() -> list[tuple[str, Any]]:
    return [(name, load_space(name)) for name in SPACES]


def summary(frames: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and worst share kept, how many volumes lose anything, and the error of the centre."""
    figures: dict[str, Any] = {"volumes": len(frames)}
    for key in ("kept", "kept_image_centre"):
        for name in SPACES:
            shares = np.array([frame[key][name] for frame in frames])
            figures[f"{key}_{name}"] = {
                "mean": float(shares.mean()),
                "worst": float(shares.min()),
                "clipped": int((shares < 1).sum()),
                "below_98": [
                    f"{f['id']} {f['phase']}" for f, share in zip(frames, shares, strict=True) if share < 0.98
                ],
            }
    errors = [frame["error_mm"] for frame in frames if frame["error_mm"] is not None]
    figures["not_found"] = len(frames) - len(errors)
    figures["error_mm"] = {f"p{p}": float(np.percentile(errors, p)) for p in (50, 95, 100)}
    return figures


def main() -> None:
    """Run the folds that are not done, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "cinert-localiser")
    arguments = parser.parse_args()
    torch.set_num_threads(default_threads())
    patients = {patient.id: patient for patient in read_patients(arguments.data)}
    frames: list[dict[str, Any]] = []
    for fold in arguments.folds:
        done = arguments.work / f"fold{fold}.json"
        if not done.exists():
            arguments.work.mkdir(parents=True, exist_ok=True)
            write_json(done, {"frames": list(held_out(patients, fold))})
        frames += read_json(done, "the fold")["frames"]
        print(f"fold {fold}: {json.dumps(summary(frames))}", flush=True)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = RESULTS / f"{today}-localiser.json"
    write_json(
        path,
        {
            "date": today,
            "data": f"{len(patients)} patients of ACDC's training set",
            "settings": {"folds": arguments.folds, "steps": LocaliserSettings().steps},
            "versions": {name: library_version(name) for name in ("torch", "monai", "openvino")},
            "summary": summary(frames),
            "frames": frames,
        },
    )
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
