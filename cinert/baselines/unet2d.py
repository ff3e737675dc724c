"""A plain 2D U-Net as an architecture file. Free of torch.

Source: Ronneberger et al., MICCAI 2015. Authors' code: Caffe, from the Freiburg group.

Fixed there: five levels of two 3x3 convolutions with ReLU, 64 channels doubled from level to level; 2x2 max-pooling;
2x2 transposed convolutions; concatenated skips; a 1x1 convolution to the classes.

Zeng 2020 (Sec. 4.2) compares (D5, IF64) and (D3, IF16), here `--widths 64,128,256,512,1024` and `--widths 16,32,64`,
built as in MSU-Net's comparison. Left open, and chosen here:

- Depth counts levels: 112 can be halved four times, not five.
- Batch norm follows each convolution (the source has none), as in every network here; it is folded at export.
- The size is kept by padding, so that logits have the input's grid (the source crops).
- The slices of a volume are one batch, so that the latency is that of the volume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cinert.baselines.levels import SliceBaseline
from cinert.schema import read_number


@dataclass(frozen=True, kw_only=True)
class UNet2d(SliceBaseline):
    """Levels of 3x3 convolutions on every slice, halved by max-pooling and doubled by transposed convolutions."""

    kind: ClassVar[str] = "unet2d"
    first_width: ClassVar[int] = 16
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **SliceBaseline.readers,
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
