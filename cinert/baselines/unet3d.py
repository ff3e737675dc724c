"""A plain 3D U-Net as an architecture file. Free of torch.

Source: Cicek et al., MICCAI 2016, after Ronneberger et al., MICCAI 2015. Authors' code: Caffe, from the Freiburg group.

Fixed there: levels of two 3x3x3 convolutions, each with batch norm and ReLU; 2x2x2 max-pooling; 2x2x2 transposed
convolutions; concatenated skips; a 1x1x1 convolution to the classes.

Zeng 2020 (Sec. 4.2) names depth and initial filters alone: (D4, IF32) and (D3, IF16), here `--widths 32,64,128,256` and
`--widths 16,32,64`. Left open, and chosen here:

- Depth counts levels. 20x128x112 could not be halved five times, which (D5, IF64) in 2D would ask for otherwise.
- The strides are the first ones of the space: 20 slices cannot be halved three times.
- Widths double from level to level, both convolutions of a level have its width (the source doubles in the second),
  and the size is kept by padding, so that logits have the input's grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cinert.baselines.levels import LevelledBaseline
from cinert.schema import read_number


@dataclass(frozen=True, kw_only=True)
class UNet3d(LevelledBaseline):
    """Levels of 3x3x3 convolutions, max-pooled down by the strides and brought up again by transposed convolutions."""

    kind: ClassVar[str] = "unet3d"
    first_width: ClassVar[int] = 12
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **LevelledBaseline.readers,
        "convs_per_level": lambda value: read_number(value, int),
    }

    convs_per_level: int
    """Convolutions at each level, on the way down and on the way up."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        super().__post_init__()
        self._require(self.convs_per_level >= 1, "convs_per_level", "at least 1")

    @classmethod
    def own_fields(cls, levels: int) -> dict[str, Any]:  # noqa: ARG003 - the same at any depth
        """Two convolutions at each level."""
        return {"convs_per_level": 2}
