import dataclasses

import pytest

from cinert.baselines.kinds import KINDS
from cinert.baselines.unet3d import UNet3d
from cinert.spaces import load_space


@pytest.fixture
def unet() -> UNet3d:
    """A narrow U-Net on the demo grid."""
    return UNet3d.for_space(load_space("demo"), (4, 8, 12), {"method": "test"})


@pytest.fixture
def make():
    """A narrow baseline of a kind with three levels, on a small grid that is no preset's, with fields changed."""

    def make(kind, **changes):
        made = KINDS[kind].for_space(load_space("demo"), (4, 6, 8), {"method": "test"})
        d, h, w = changes.pop("input_shape_DHW", (6, 12, 20))
        # The stem of aniso-unet halves its slices once more than the levels do; instance norm needs several voxels.
        finer = 2 if kind in ("aniso-unet", "nnunet", "nnunet-resenc") else 1
        return dataclasses.replace(made, **{"input_shape_DHW": (d, finer * h, finer * w), "in_channels": 2, **changes})

    return make
