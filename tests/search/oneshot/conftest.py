"""A space of U-shapes small enough to be searched in a second, on two grids, and patients made of balls."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cinert.data.dataset import Sample
from cinert.ushape.space import Grid, UShapeSpace
from search.data import FoldData, PatientRecord
from search.oneshot.loop import OneShotSearch, OneShotSettings


@pytest.fixture(scope="session")
def tiny_u():
    """Three levels, two grids, two blocks."""
    return UShapeSpace(
        name="tiny-u",
        in_channels=1,
        grids=(
            Grid(shape_DHW=(4, 16, 16), spacing_mm=(10.0, 6.0, 6.0)),
            Grid(shape_DHW=(4, 24, 24), spacing_mm=(10.0, 4.0, 4.0)),
        ),
        stem_kernel=(1, 3, 3),
        stem_stride=(1, 2, 2),
        strides=((1, 2, 2), (1, 2, 2)),
        widths=((4, 8), (4, 8), (8, 12)),
        blocks=(("inplane",), ("inplane", "conv"), ("inplane", "conv")),
        encoder_depths=((0, 1), (1, 2), (1,)),
        decoder_depths=((1,), (1, 2)),
        down="maxpool",
        join="concat",
        residual=False,
    )


def voxels_ms(arch):
    """A made-up latency: voxels of the finest level times its width, and something for each block."""
    blocks = sum(map(len, arch.shape.encoder)) + sum(map(len, arch.shape.decoder))
    return math.prod(arch.input_shape_DHW) * arch.shape.widths[0] / 4000 + 0.2 * blocks


@pytest.fixture(scope="session")
def ms_of():
    return voxels_ms


def ball(shape, centre):
    """Image and label of nested balls that are the same heart on every grid."""
    z, y, x = np.meshgrid(*((np.arange(size) + 0.5) / size * 2 - 1 for size in shape), indexing="ij")
    label = np.zeros(shape, np.uint8)
    label[np.sqrt(0.3 * z**2 + (y - centre[0]) ** 2 + (x - centre[1] + 0.4) ** 2) < 0.45] = 1
    radius = np.sqrt(0.3 * z**2 + (y - centre[0]) ** 2 + (x - centre[1]) ** 2)
    label[radius < 0.5] = 2
    label[radius < 0.3] = 3
    grey = np.asarray([-0.5, 1.5, 0.2, 2.0], np.float32)[label]
    noise = np.random.default_rng(int(1e6 * centre[0] + 2e6)).standard_normal(shape)
    return (grey + 0.1 * noise).astype(np.float32), label


@pytest.fixture(scope="session")
def folds_u(tiny_u):
    """Eight patients to train on, two held out, two frames each, on every grid."""
    rng = np.random.default_rng(0)
    centres = {(number, frame): rng.uniform(-0.2, 0.2, 2) for number in range(10) for frame in (1, 5)}

    def fold(grid):
        samples = [
            Sample(f"patient{number:03d}", frame, "ED" if frame == 1 else "ES", *ball(grid.shape_DHW, centre), 1.0)
            for (number, frame), centre in centres.items()
        ]
        return FoldData(
            fold=0,
            train=samples[:16],
            validation=samples[16:],
            seen=[PatientRecord(id=f"patient{number:03d}", digest=f"{number:064d}") for number in range(8)],
            files={f"{sample.patient_id}_frame{sample.frame:02d}.nii.gz": "0" * 64 for sample in samples},
        )

    return {number: fold(grid) for number, grid in enumerate(tiny_u.grids)}


@pytest.fixture(scope="session")
def start_search(tiny_u, folds_u, ms_of):
    """Begins a search with the frames of the first six patients, scored on those of the others."""

    def start(space=tiny_u, budget_ms=3.0, **told):
        settings = OneShotSettings(
            **{"epochs": 4, "population": 6, "generation_epochs": 1, "settle_share": 0.25, "least_share": 0.4} | told
        )
        return OneShotSearch(
            space,
            ms_of,
            budget_ms=budget_ms,
            train={number: fold.train[:12] for number, fold in folds_u.items()},
            other={number: fold.train[12:] for number, fold in folds_u.items()},
            settings=settings,
            device=torch.device("cpu"),
        )

    return start
