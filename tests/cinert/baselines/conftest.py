import pytest

from cinert.baselines.unet3d import UNet3d
from cinert.space import load_space


@pytest.fixture
def unet() -> UNet3d:
    """A narrow U-Net on the demo grid."""
    return UNet3d.for_space(load_space("demo"), (4, 8, 12), {"method": "test"})
