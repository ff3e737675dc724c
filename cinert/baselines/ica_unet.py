"""ICA-UNet as an architecture file: a U-Net on independent components of image patches. Free of torch.

Source: Wang et al., MICCAI 2020 ("ICA inspired statistical UNet"), compared with in Lu 2022 (Table 2) at n = 3 and 4.
No code of the authors is known to us.

Fixed there: after independent component analysis, an encoder unmixes the image into a few components, a U-Net works on
these much smaller maps, and a decoder mixes its results back to the image's grid; a parameter n of 3 or 4 trades
latency for Dice. What we know of it is that and the figures in Lu 2022.

Left open, and chosen here; this is a network after the same idea and no copy:

- n is read as the number of components.
- A patch is one step of the space's first stride (2x2x2 voxels). Unmixing is one linear map from a patch to n
  components, a convolution whose kernel is its stride, learned with the rest.
- Each component has a U-Net of its own on the levels below, as independent components suggest, so that computation and
  parameters grow with n. On ten phantom patients (space `demo`, n = 4, 25 epochs, one run each) its mean Dice was
  0.84, with shared weights 0.55, with one U-Net on all components as its channels 0.47.
- Mixing is one linear map back, a transposed convolution from all components to the patch. What a patch cannot say,
  which side of an edge a voxel lies on, the image itself adds: both go through one 3x3x3 convolution to the head.
- Frames are segmented one by one: nothing is carried over from frame to frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cinert.baselines.levels import LevelledBaseline
from cinert.schema import read_number


@dataclass(frozen=True, kw_only=True)
class IcaUNet(LevelledBaseline):
    """Patches unmixed into components, a 3D U-Net on each of them, and the results mixed back into patches."""

    kind: ClassVar[str] = "ica-unet"
    first_width: ClassVar[int] = 8
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **LevelledBaseline.readers,
        "components": lambda value: read_number(value, int),
        "convs_per_level": lambda value: read_number(value, int),
    }

    components: int
    """n: components that a patch is unmixed into."""
    convs_per_level: int
    """Convolutions at each level of a U-Net, on the way down and on the way up."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        super().__post_init__()
        self._require(self.components >= 1, "components", "at least 1")
        self._require(self.convs_per_level >= 1, "convs_per_level", "at least 1")

    @classmethod
    def own_fields(cls, levels: int) -> dict[str, Any]:  # noqa: ARG003 - the same at any depth
        """The larger n of Lu 2022, Table 2."""
        return {"components": 4, "convs_per_level": 2}
