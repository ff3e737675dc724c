"""A space small enough to be searched in a second, a LUT with made-up prices, and patients made of balls."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch

from cinert.data.dataset import Sample
from cinert.plugins import Plugin
from cinert.spaces import load_space
from latency.cost import SpaceCosts
from latency.lut import save_lut
from search.data import FoldData, PatientRecord
from search.methods import RELAXED

MS = {"stem": 1.0, "head": 0.5, "conv": 4.0, "dilated": 5.0, "separable": 2.0, "maxpool": 1.5, "identity": 0.1}


@pytest.fixture(scope="session")
def tiny():
    """Three layers, two scales, two nodes, partial channels."""
    return dataclasses.replace(
        load_space("demo"),
        name="tiny",
        input_shape_DHW=(4, 16, 16),
        spacing_mm=(10.0, 6.0, 6.0),
        layers=3,
        strides=((1, 2, 2),),
        widths=(4, 8),
        nodes=2,
        partial_channels=2,
    )


@pytest.fixture
def add_ops(monkeypatch):
    """Adds ops as the package cinert-test-ops 1.0 would, until the test is over."""

    def add(*specs):
        found = {
            spec.name: Plugin(name=spec.name, package="cinert-test-ops", version="1.0", value=spec) for spec in specs
        }
        monkeypatch.setattr("cinert.op_registry.plugged_in", lambda: found)

    return add


@pytest.fixture(scope="session", params=["separate", "joint"])
def either(request, tiny):
    """The tiny space with both relaxations."""
    return dataclasses.replace(tiny, relaxation=request.param)


@pytest.fixture(scope="session")
def ours():
    """Settings of method `cinert`: two epochs, within 12 ms."""
    return dataclasses.replace(RELAXED["cinert"], epochs=2).settings(budget_ms=12.0, batch_size=5)


@pytest.fixture(scope="session")
def lut(lut_of, tiny):
    return lut_of(tiny)


@pytest.fixture(scope="session")
def lut_of(made_up_lut):
    """Make a LUT of a space, with the same prices."""
    return lambda space: made_up_lut(space, lambda key: MS.get(key.kind, 0.3))


@pytest.fixture(scope="session")
def lut_path(tmp_path_factory, lut):
    path = tmp_path_factory.mktemp("lut") / "lut.json"
    save_lut(path, lut)
    return path


def ball(shape, rng):
    """Image and label of three nested balls: LV in MYO, RV beside."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    cy, cx = rng.uniform(-0.2, 0.2, 2)
    radius = np.sqrt(0.3 * z**2 + (y - cy) ** 2 + (x - cx) ** 2)
    label = np.zeros(shape, np.uint8)
    label[np.sqrt(0.3 * z**2 + (y - cy) ** 2 + (x - cx + 0.4) ** 2) < 0.45] = 1
    label[radius < 0.5] = 2
    label[radius < 0.3] = 3
    grey = np.asarray([-0.5, 1.5, 0.2, 2.0], np.float32)[label]
    return (grey + 0.1 * rng.standard_normal(shape)).astype(np.float32), label


@pytest.fixture(scope="session")
def fold(tiny):
    """Five patients to train on, two held out, two frames each."""
    rng = np.random.default_rng(0)
    samples = [
        Sample(f"patient{number:03d}", frame, phase, *ball(tiny.input_shape_DHW, rng), 1.0)
        for number in range(7)
        for frame, phase in ((1, "ED"), (5, "ES"))
    ]
    return FoldData(
        fold=0,
        train=samples[:10],
        validation=samples[10:],
        seen=[PatientRecord(id=f"patient{number:03d}", digest=f"{number:064d}") for number in range(5)],
        files={f"{sample.patient_id}_frame{sample.frame:02d}.nii.gz": "0" * 64 for sample in samples},
    )


@pytest.fixture(scope="session")
def patients(tmp_path_factory, tiny):
    """The same kind of patients as files in ACDC's layout."""
    root = tmp_path_factory.mktemp("acdc")
    rng = np.random.default_rng(1)
    affine = np.diag([-6.0, -6.0, 10.0, 1.0])
    for number in range(901, 907):
        folder = root / f"patient{number}"
        folder.mkdir()
        (folder / "Info.cfg").write_text("ED: 1\nES: 5\nGroup: NOR\n")
        for frame in (1, 5):
            image, label = ball(tiny.input_shape_DHW, rng)
            stem = folder / f"patient{number}_frame{frame:02d}"
            nib.save(nib.Nifti1Image((100 + 40 * image.T).astype(np.float32), affine), f"{stem}.nii.gz")
            nib.save(nib.Nifti1Image(label.T, affine), f"{stem}_gt.nii.gz")
    return root


@pytest.fixture
def costs(lut_of, either):
    return SpaceCosts.from_lut(lut_of(either), either)


def randomise(module, seed, scale=1.0):
    """Give all parameters seeded normal values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.fixture(scope="session")
def randomised():
    return randomise


@pytest.fixture
def start_module():
    """Starts a command by its module in a process of its own, to be killed; whatever still runs at the end is."""
    running = []

    def start(module, *words, before=()):
        command = [sys.executable, "-m", *before, module, *map(str, words)]
        running.append(
            subprocess.Popen(
                command,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()
