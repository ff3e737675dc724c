import dataclasses

import pytest

from cinert.baselines.kinds import KINDS, design
from cinert.baselines.unet3d import UNet3d
from cinert.spaces import load_space


@pytest.fixture
def unet() -> UNet3d:
    """A narrow U-Net on the demo grid."""
    return UNet3d.for_space(load_space("demo"), (4, 8, 12), {"method": "test"})


@pytest.fixture
def make():
    """A narrow baseline of a kind with three levels, on a small grid that is no preset's, with fields changed.

    `published nas-unet` has the authors' cells, `published nas-unet batch` another norm, too.
    """

    def make_published(kind, **changes):
        # Bix-nas has four levels and halves twice more; group norm has 16 channels a group, or one group.
        kind, _, norm = kind.partition(" ")
        widths, finer = ((6, 6, 6, 6), 8) if kind == "bix-nas" else ((16, 16, 24), 4)
        made = design(kind, load_space("demo"), widths, cells="published", norm=norm or None)
        d, h, w = changes.pop("input_shape_DHW", (2, 6, 10))
        return dataclasses.replace(made, **{"input_shape_DHW": (d, finer * h, finer * w), "in_channels": 2, **changes})

    def make(kind, **changes):
        if kind.startswith("published "):
            return make_published(kind.removeprefix("published "), **changes)
        made = KINDS[kind].for_space(load_space("demo"), (4, 6, 8), {"method": "test"})
        d, h, w = changes.pop("input_shape_DHW", (6, 12, 20))
        # The stem of aniso-unet halves its slices once more than the levels do; instance norm needs several voxels.
        finer = 2 if kind in ("aniso-unet", "nnunet", "nnunet-resenc") else 1
        return dataclasses.replace(made, **{"input_shape_DHW": (d, finer * h, finer * w), "in_channels": 2, **changes})

    return make
