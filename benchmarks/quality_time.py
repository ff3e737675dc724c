"""Time of the quality score per frame, features and score, on the grids of the presets; and of the plausibility gate.

    python benchmarks/quality_time.py [--frames 500]

A phantom's label stands for the network's answer, with logits that hesitate at its edges, on a stored stack of 10
slices. Writes benchmarks/results/DATE-quality-time.json. Nothing else should use the machine.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from bedside.plausibility import PlausibilityGate
from bedside.quality import QualityScorer
from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.layouts import read_patients
from cinert.data.patients import load_frame
from cinert.data.phantom import write_phantom
from cinert.environment import library_version
from cinert.files import write_json
from cinert.quality import CALIBRATION, FEATURES, STRUCTURES, QualityModel, Term, VolumeRange
from cinert.spaces import load_space
from cinert.timing import percentiles_ms

RESULTS = Path(__file__).parent / "results"
MODEL = QualityModel(
    intercept=2.0,
    terms={name: Term(0.0, 0.0, 1.0, 0.1) for name in FEATURES},
    volumes=dict.fromkeys(STRUCTURES, VolumeRange(4.5, 0.5)),
    threshold=0.5,
    good_dice=0.7,
    calibration=dict.fromkeys(CALIBRATION, 0),
    judged={},
)


def elapsed_ms(work: Callable[[], object], frames: int) -> list[float]:
    """Of each of so many calls."""
    found = []
    for _ in range(frames):
        start = time.perf_counter_ns()
        work()
        found.append((time.perf_counter_ns() - start) / 1e6)
    return found


def main() -> None:
    """Time both grids and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_phantom(Path(folder) / "phantom", patients=1)
        frame = read_patients(Path(folder) / "phantom")[0].frames[0]
        _, label, geometry = load_frame(frame)
    presets = {}
    for name in ("small", "paper"):
        space = load_space(name)
        spec = PreprocessingSpec(spacing_mm=space.spacing_mm, shape_DHW=space.input_shape_DHW)
        label_DHW = GridMap(geometry, spec).label_to_network(label)
        logits = np.stack([6 * gaussian_filter((label_DHW == k).astype(np.float32), (0, 1, 1)) for k in range(4)])
        scorer = QualityScorer(MODEL, spec.spacing_mm)
        scorer.bind(geometry)
        times = elapsed_ms(functools.partial(scorer.score, logits, label), arguments.frames)
        presets[name] = {"grid_DHW": list(spec.shape_DHW), **percentiles_ms(times)}
        print(f"{name}: p50 {presets[name]['p50_ms']:.2f} ms, p99 {presets[name]['p99_ms']:.2f} ms")
    gate = PlausibilityGate()
    gate.bind(geometry)
    of_gate = percentiles_ms(elapsed_ms(functools.partial(gate.reason, label), arguments.frames))
    print(f"gate, on the stored grid: p50 {of_gate['p50_ms']:.2f} ms, p99 {of_gate['p99_ms']:.2f} ms")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = RESULTS / f"{today}-quality-time.json"
    write_json(
        path,
        {
            "date": today,
            "frames": arguments.frames,
            "stored": {"shape": list(geometry.shape), "spacing_mm": list(geometry.spacing_mm)},
            "presets": presets,
            "gate": of_gate,
            "versions": {name: library_version(name) for name in ("numpy", "scipy")},
        },
    )
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
