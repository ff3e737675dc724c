"""A bundle of a tiny network, a LUT with made-up prices, and small labelled patients."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from safetensors.torch import save_file

from cinert.arch import save_arch
from cinert.backends import get_backend
from cinert.bundle import open_bundle
from cinert.data.layouts import read_patients
from cinert.data.patients import patient_digest
from cinert.environment import fingerprint
from cinert.network import Network, random_weights
from cinert.onnx import network_model
from cinert.sampling import random_arch
from cinert.space import CLASSES
from cinert.spaces import load_space
from export.engine import EngineTarget, Trials, export_bundle
from export.parity import random_images
from export.pricing import Pricing
from export.weights import load_trained
from latency.lut import Row, save_lut

PATIENTS = ("patient901", "patient902", "patient903")
SHAPE = (28, 26, 6)


def _write(path: Path, volume: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(volume, np.diag([-6.0, -6.0, 10.0, 1.0])), path)


@pytest.fixture(scope="session")
def patients_folder(tmp_path_factory) -> Path:
    """Three patients in ACDC's layout: nested boxes on noise, ED and ES, each patient different."""
    folder = tmp_path_factory.mktemp("acdc")
    rng = np.random.default_rng(0)
    for shift, name in enumerate(PATIENTS):
        (folder / name).mkdir()
        (folder / name / "Info.cfg").write_text("ED: 1\nES: 4\nGroup: NOR\n")
        for frame in (1, 4):
            label = np.zeros(SHAPE, np.uint8)
            label[4 + shift : 10 + shift, 8:18, 1:5] = 1
            label[10 + shift : 22 + shift, 6:20, 1:5] = 2
            label[13 + shift : 19 + shift, 9:17, 1:5] = 3
            stem = folder / name / f"{name}_frame{frame:02d}"
            _write(Path(f"{stem}.nii.gz"), (100.0 * label + rng.normal(0, 10, SHAPE)).astype(np.float32))
            _write(Path(f"{stem}_gt.nii.gz"), label)
    return folder


@pytest.fixture(scope="session")
def tiny_arch():
    space = dataclasses.replace(load_space("demo"), name="tiny", layers=2, input_shape_DHW=(4, 16, 16))
    return random_arch(space, seed=3, paths=1)


def _fingerprint(threads: int = 1) -> dict:
    return fingerprint(get_backend("ort"), device="cpu", threads=threads, precision="fp32")


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory, tiny_arch):
    """Export a bundle of the tiny network; `seen` are the weights' patients, None where they do not say."""

    def make(*, seen=(), estimate=None, device=None) -> Path:
        run = tmp_path_factory.mktemp("run")
        save_arch(run / "arch.yaml", tiny_arch)
        record = {
            "schema": "cinert.weights",
            "version": 1,
            "arch_digest": tiny_arch.digest,
            "seen_patients": list(seen or ()),
            "classes": list(CLASSES),
            "provenance": {},
        }
        state = random_weights(Network(tiny_arch), 0).state_dict()
        save_file(state, run / "weights.safetensors", metadata=None if seen is None else {"cinert": json.dumps(record)})
        pricing = None if estimate is None else Pricing(estimate, {"id": "abc", "device": device})
        export_bundle(
            run / "bundle",
            load_trained(tiny_arch, run / "weights.safetensors"),
            EngineTarget(backend=get_backend("ort"), precision="fp32", device="cpu", threads=1),
            Trials(images={"random": random_images(network_model(tiny_arch).input_shapes[0], count=1)}),
            pricing=pricing,
        )
        return run / "bundle"

    return make


@pytest.fixture(scope="session")
def bundle_folder(make_bundle) -> Path:
    """A bundle whose weights saw nobody."""
    return make_bundle()


@pytest.fixture(scope="session")
def bundle(bundle_folder):
    return open_bundle(bundle_folder)


@pytest.fixture
def make_lut(made_up_lut, tmp_path, tiny_arch):
    """Write a LUT in which every part costs the same."""

    def make(*, part_ms=1.0, relative_error_90=0.1, anchor_ms=None, protocol=None, **binding) -> Path:
        lut = made_up_lut(
            tiny_arch.space, lambda key: part_ms, constant_ms=0.0, overlap=1.0, relative_error_90=relative_error_90
        )
        timing = dict.fromkeys(("quiet_ms", "p50_ms", "p90_ms", "p99_ms", "mean_ms"), part_ms)
        timing |= {"spread": 0.0, "std_ms": 0.0, "n": 9, "noisy": False}
        lut = dataclasses.replace(
            lut,
            fingerprint={**lut.fingerprint, **binding},
            protocol={**({} if anchor_ms is None else {"anchor_ms": anchor_ms}), **(protocol or {})},
            rows=tuple(Row(key=price.key, timing=timing) for price in lut.prices.parts.values()),
        )
        save_lut(tmp_path / "lut.json", lut)
        return tmp_path / "lut.json"

    return make


@pytest.fixture(scope="session")
def records(patients_folder) -> list[dict[str, str]]:
    """{id, digest} of every patient, as weights carry them."""
    return [{"id": patient.id, "digest": patient_digest(patient)} for patient in read_patients(patients_folder)]
