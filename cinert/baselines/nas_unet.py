"""NAS-UNet with cells of our own as an architecture file: a U-Net whose levels are repeated cells. Free of torch.

Source: Weng et al., IEEE Access 2019; named, and not tabulated, by Zeng 2020 (Sec. 4.3). Authors' code:
github.com/tianbaochou/NasUnet.

Fixed there: a 2D U-Net in which every convolution pair is a cell; one cell is shared by all levels on the way down
(DownSC), another by all on the way up (UpSC); the ops are identity, average and max-pooling, channel-wise weighting
(cweight), convolution, dilated and depthwise convolution, with a stride of 2 where they lead down and transposed where
they lead up. The cells were found on PASCAL VOC 2012, not on hearts.

The authors' cells, stems and norms are in `nas_unet_published.py`. Chosen here, before they were at hand:

- `down_cell` and `up_cell` are ours, in the spirit of the source: three nodes, each the sum of two ops, their outputs
  concatenated. Both stand in the file, so that the authors' or any other cell can be written there instead.
- A down cell reads the outputs of the two levels above (the finer one through a 1x1 convolution with its stride), an
  up cell the skip at its own level and the coarser cell's output.
- cweight is x * sigmoid(W mean(x)); where it changes the scale, max-pooling comes before it or bilinear upsampling
  after it. A dilated convolution that leads up is plain, with bilinear upsampling after it: TensorRT refuses a
  transposed one.
- The stem is a 3x3 convolution, the head a 1x1 convolution. A width is that of a node; a level carries three times it.
- Batch norm and ReLU follow each convolution, in the order that engines fuse (the source has ReLU first).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from cinert.baselines.levels import SliceBaseline
from cinert.schema import read_number

CellOp = Literal["identity", "maxpool", "avgpool", "cweight", "conv", "dilated", "depthwise"]
DOWN_OPS: tuple[CellOp, ...] = ("maxpool", "avgpool", "cweight", "conv", "dilated", "depthwise")
"""Ops on an edge that halves the grid."""
UP_OPS: tuple[CellOp, ...] = ("cweight", "conv", "dilated", "depthwise")
"""Ops on an edge that doubles the grid."""
CellEdge = tuple[int, CellOp]
CellNodes = tuple[tuple[CellEdge, ...], ...]

_DOWN_CELL: CellNodes = (((0, "cweight"), (1, "conv")), ((1, "maxpool"), (2, "conv")), ((2, "dilated"), (3, "conv")))
_UP_CELL: CellNodes = (((0, "identity"), (1, "conv")), ((1, "depthwise"), (2, "conv")), ((0, "cweight"), (3, "conv")))


def read_cell(value: Any) -> CellNodes:
    """Read a cell from YAML; raises TypeError for anything but nodes of edges [input, op]."""
    if not isinstance(value, list) or not all(isinstance(node, list) for node in value):
        raise TypeError("expected a list of nodes, each a list of edges [input, op]")
    if not all(isinstance(edge, list) and len(edge) == 2 for node in value for edge in node):
        raise TypeError("expected edges [input, op]")
    return tuple(tuple((read_number(source, int), op) for source, op in node) for node in value)


@dataclass(frozen=True, kw_only=True)
class NasUNet(SliceBaseline):
    """A 2D U-Net of two repeated cells; inputs 0 and 1 of a cell come from outside, its nodes follow as 2, 3, ..."""

    kind: ClassVar[str] = "nas-unet"
    first_width: ClassVar[int] = 8
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **SliceBaseline.readers,
        "down_cell": read_cell,
        "up_cell": read_cell,
    }

    down_cell: CellNodes
    """Edges (input, op) into each node; inputs 0 and 1 are the levels above, and ops on them halve the grid."""
    up_cell: CellNodes
    """Edges (input, op) into each node; input 0 is the skip, and ops on input 1, the coarser level, double the grid."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        super().__post_init__()
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
                known = resizing.get(source, get_args(CellOp))
                self._require(op in known, key, f"one of {', '.join(known)} on input {source}")

    @classmethod
    def own_fields(cls, levels: int) -> dict[str, Any]:  # noqa: ARG003 - the same at any depth
        """The cells that this file's head speaks of."""
        return {"down_cell": _DOWN_CELL, "up_cell": _UP_CELL}
