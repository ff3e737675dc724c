"""MSU-Net as an architecture file: parallel U-Nets on the statistics of image patches. Free of torch.

Source: Wang et al., MICCAI 2019 ("Multiscale Statistical U-Net"), which Zeng 2020 and Lu 2022 take the labels of all
frames from. No code of the authors is known to us.

Fixed there: the image is modelled as canonical-form distributions of its patches at several scales, and a parallel
statistical U-Net processes these distributions, which are far fewer than the pixels.

Left open, and chosen here; this is a network after the same idea and no copy:

- A distribution is its mean and its standard deviation. The source's canonical form also carries what is shared between
  patches, and propagates it through every layer; here the layers are plain convolutions on both maps.
- The patches of scale k are 2^k x 2^k pixels of a slice, k = 1..`scales`, and each scale has a U-Net of its own that
  reaches down to the same coarsest level.
- The U-Nets' results are brought to the finest of their grids bilinearly, joined by a 1x1 convolution, and enlarged by
  a transposed convolution. The image itself joins them there, because statistics do not say where in a patch a pixel
  lies; a 3x3 convolution and the head follow.
- The network is 2D, and the slices of a volume are one batch. Frames are segmented one by one: nothing is carried over
  from frame to frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cinert.baselines.levels import SliceBaseline
from cinert.schema import read_number


@dataclass(frozen=True, kw_only=True)
class MsuNet(SliceBaseline):
    """A 2D U-Net on mean and standard deviation of the patches of each scale, joined on the image's grid."""

    kind: ClassVar[str] = "msu-net"
    first_width: ClassVar[int] = 16
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **SliceBaseline.readers,
        "scales": lambda value: read_number(value, int),
        "convs_per_level": lambda value: read_number(value, int),
    }

    scales: int
    """Sizes of patches: level 1, level 2, and so on."""
    convs_per_level: int
    """Convolutions at each level of a U-Net, on the way down and on the way up."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        super().__post_init__()
        coarser = len(self.strides)
        self._require(1 <= self.scales <= coarser, "scales", f"1 to {coarser}, the number of levels below the image's")
        self._require(self.convs_per_level >= 1, "convs_per_level", "at least 1")

    @classmethod
    def own_fields(cls, levels: int) -> dict[str, Any]:
        """Two scales, where there are as many below the image's own."""
        return {"scales": min(2, levels - 1), "convs_per_level": 2}
