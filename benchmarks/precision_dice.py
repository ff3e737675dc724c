"""What a precision costs in Dice, on patients that the network never saw.

    python benchmarks/precision_dice.py ARCH.yaml --data DIR --fold 0

The typed ONNX that TensorRT engines are built from is run by ONNX Runtime on the CPU, without its optimisations: it
rounds weights and every tensor to the precision and computes between in fp32, as tensor cores accumulate. That is no
measurement of an engine, which `export-engine` and `evaluate-bundle` make on the GPU. int8 takes its ranges from
training patients. Writes benchmarks/results/DATE-precision-dice.json.
"""

from __future__ import annotations

import argparse
import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from rich.progress import track

from cinert.arch import load_arch
from cinert.backends.base import Array, Precision
from cinert.data.dataset import Sample, load_samples
from cinert.data.folds import split_patients
from cinert.data.layouts import read_patients
from cinert.environment import library_version
from cinert.files import write_json
from cinert.onnx import network_model
from cinert.scores import mean_of
from cinert.typed import typed_onnx
from export.calibration import MAX_PATIENTS
from export.dice_gate import DICE_TOLERANCE, class_dice, drop_of
from export.engine import spec_of
from export.parity import evenly, relative_difference
from export.weights import find_weights, load_trained

RESULTS = Path(__file__).parent / "results"
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


def logits_of(onnx: bytes, samples: list[Sample], label: str) -> list[Array]:
    """Logits of every frame, exactly as the graph is typed."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    return [session.run(None, {"image": sample.x_DHW[None, None]})[0][0] for sample in track(samples, label)]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arch", type=Path, help="arch.yaml, with weights.safetensors beside it")
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled patients")
    parser.add_argument("--fold", type=int, default=0, help="fold whose patients the weights did not see")
    parser.add_argument("--note", default="", help="what a reader has to know, e.g. of the weights")
    words = parser.parse_args()
    arch = load_arch(words.arch)
    trained = load_trained(arch, find_weights(words.arch, None))
    patients = {patient.id: patient for patient in read_patients(words.data)}
    parts = split_patients(patients.values(), words.fold)
    samples = load_samples([patients[id_] for id_ in parts.validation], spec_of(arch))
    learnt = evenly([patients[id_] for id_ in parts.train], MAX_PATIENTS)
    frames = load_samples([replace(patient, frames=patient.frames[:1]) for patient in learnt], spec_of(arch))
    model = replace(
        network_model(arch, trained.network), calibration=tuple(frame.x_DHW[None, None] for frame in frames)
    )
    rows: dict[str, Any] = {}
    reference: list[Array] = []
    for precision in PRECISIONS:
        typed = typed_onnx(model, precision)
        logits = logits_of(typed.data, samples, precision)
        reference = reference or logits
        scores = [class_dice(each, sample.y_DHW) for each, sample in zip(logits, samples, strict=True)]
        first = [class_dice(each, sample.y_DHW) for each, sample in zip(reference, samples, strict=True)]
        drops = np.asarray([drop_of(*pair) for pair in zip(first, scores, strict=True)])
        rows[precision] = {
            "mean_dice": round(mean_of(map(mean_of, scores)) or 0.0, 5),
            "drop": round(float(drops.mean()), 5),
            "worst_frame_drop": round(float(drops.max()), 5),
            "tolerance": DICE_TOLERANCE.get(precision),
            "worst_relative_logits": max(relative_difference(a, b) for a, b in zip(logits, reference, strict=True)),
            "kept_in_fp32": len(typed.kept_in_fp32),
        }
        print(precision, rows[precision])
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    document = {
        "what": "Dice on the network's grid of typed ONNX run by ONNX Runtime on the CPU; no TensorRT engine",
        "architecture": arch.digest,
        "note": words.note,
        "fold": words.fold,
        "patients": len(parts.validation),
        "frames": len(samples),
        "calibration_frames": len(frames),
        "versions": {name: library_version(name) for name in ("cinert", "onnx", "onnxruntime", "torch")},
        "precisions": rows,
    }
    path = RESULTS / f"{today}-precision-dice.json"
    write_json(path, document)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
