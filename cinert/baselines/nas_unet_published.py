"""NAS-UNet with the cells that its authors publish, as an architecture file. Free of torch.

Source: Weng et al., IEEE Access 2019. Authors' code: github.com/tianbaochou/NasUnet at 11c66bb; the cells are its
genotype NAS_UNET_V3, which it takes by default. Our module agrees with theirs on the same weights (docs/baselines.md).

Fixed there, and kept:

- Two stems: 1x1 at full size, and 3x3 with stride 2. Each level below is a down cell; one up cell more than there are
  down cells leads back to full size. Every cell gives its four nodes, concatenated, each of the level's width.
- Inputs of a cell pass ReLU, a 1x1 convolution and a norm, input 0 of a down cell with stride 2; other convolutions are
  followed by norm and ReLU. cweight is a global mean, two fully connected layers with a sixteenth of the channels
  between them, and a sigmoid; a strided or transposed 3x3 convolution with norm follows where it changes the scale.
- Sizes are halved rounding up, and doubled less one; where two sizes meet, the smaller is interpolated (nearest).
- 48 channels at every level, five down cells, group norm with 16 channels a group, or one group for all where 16 does
  not divide them.

Left open, and chosen here:

- `widths` are those of the stem and of each down cell; an up cell has the width of the level that it comes from. Equal
  ones are the authors' default, doubled ones their `double_down_channel`.
- Where H or W would shrink below two pixels there are fewer cells.
- Group norm depends on the image and cannot be folded. With `--norm batch` the same network has batch norm, which is
  folded at export.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from cinert.baselines.halving import PublishedBaseline
from cinert.baselines.nas_unet import DOWN_OPS, UP_OPS, CellNodes, CellOp, read_cell
from cinert.space import Space

_DOWN_CELL: CellNodes = (
    ((1, "dilated"), (0, "cweight")),
    ((0, "cweight"), (1, "cweight")),
    ((0, "cweight"), (3, "conv")),
    ((0, "cweight"), (4, "conv")),
)
_UP_CELL: CellNodes = (
    ((0, "cweight"), (1, "cweight")),
    ((2, "conv"), (1, "cweight")),
    ((1, "cweight"), (3, "conv")),
    ((1, "cweight"), (4, "conv")),
)
_DEPTH = 5
_NORMAL_OPS = tuple(op for op in get_args(CellOp) if op not in ("maxpool", "avgpool"))


def _levels_in(pixels: int) -> int:
    """How often so many pixels can be halved, rounding up, until two of them are left."""
    return max(0, (pixels - 1).bit_length() - 1)


@dataclass(frozen=True, kw_only=True)
class PublishedNasUNet(PublishedBaseline):
    """A 2D U-Net of two repeated cells; inputs 0 and 1 of a cell come from outside, its nodes follow as 2, 3, ..."""

    kind: ClassVar[str] = "nas-unet"
    first_width: ClassVar[int] = 48
    width_growth: ClassVar[int] = 1
    norms: ClassVar[tuple[str, ...]] = ("group", "batch")
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **PublishedBaseline.readers,
        "down_cell": read_cell,
        "up_cell": read_cell,
    }

    down_cell: CellNodes
    """Edges (input, op) into each node; input 0 is the level before the previous one, at the previous one's grid."""
    up_cell: CellNodes
    """Edges (input, op) into each node; input 0 is the skip, and ops on input 1, the coarser level, double the grid."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        super().__post_init__()
        levels = _levels_in(min(self.input_shape_DHW[1:]))
        self._require(len(self.widths) <= levels, "widths", f"at most {levels}, so that two pixels are left")
        self._check_cell("down_cell", {0: DOWN_OPS, 1: DOWN_OPS})
        self._check_cell("up_cell", {1: UP_OPS})
        self._require(
            len(self.up_cell) == len(self.down_cell), "up_cell", f"{len(self.down_cell)} nodes, as down_cell has"
        )

    def _check_cell(self, key: str, resizing: Mapping[int, tuple[CellOp, ...]]) -> None:
        cell: CellNodes = getattr(self, key)
        self._require(bool(cell) and all(cell), key, "nodes with at least one edge each")
        for number, node in enumerate(cell, start=2):
            for source, op in node:
                self._require(0 <= source < number, key, f"inputs below {number} for node {number}")
                known = resizing.get(source, _NORMAL_OPS)
                self._require(op in known, key, f"one of {', '.join(known)} on input {source}")

    @classmethod
    def widths_in(cls, space: Space) -> tuple[int, ...]:
        """Those of a stem and of five down cells, or of fewer on a small grid."""
        return cls.default_widths(min(_levels_in(min(space.input_shape_DHW[1:])), _DEPTH + 1))

    @classmethod
    def own_fields(cls, widths: tuple[int, ...]) -> dict[str, Any]:  # noqa: ARG003 - the same of any width
        """The authors' cells."""
        return {"down_cell": _DOWN_CELL, "up_cell": _UP_CELL}
