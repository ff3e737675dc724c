"""A decoded cell: preprocessing, nodes with their chosen ops, concatenation (Zeng 2020, Sec. 3.2 and Fig. 2)."""

from __future__ import annotations

from torch import Tensor, nn

from cinert.arch import CellGenotype, NodeEdge, live_edges
from cinert.ops import Concatenate, Merge, make_op, make_preprocessing
from cinert.paths import SCALE_STEP, CellKind
from cinert.space import Space


def cell_preprocessing(space: Space, kind: CellKind, source: int) -> nn.Sequential:
    """Build the preprocessing of a cell of `kind` that leaves scale `source`."""
    target = source + SCALE_STEP[kind]
    return make_preprocessing(
        space.vertex_channels(source),
        space.widths[target],
        stride=space.strides[source] if kind == "ct" else None,
        upsample_to=space.shapes_DHW[target] if kind == "ep" else None,
    )


def op_name(node: int, edge: NodeEdge) -> str:
    """Name of an op among a cell's parameters, e.g. `n2_i0_conv`."""
    return f"n{node}_i{edge.input}_{edge.op}"


class Cell(nn.Module):
    """Maps a vertex (B, M x width_source, D, H, W) to the next one (B, M x width_target, D', H', W')."""

    def __init__(self, space: Space, kind: CellKind, source: int, genotype: CellGenotype) -> None:
        super().__init__()
        width = space.widths[source + SCALE_STEP[kind]]
        self.preprocessing = cell_preprocessing(space, kind, source)
        self.genotype = live_edges(genotype)
        self.ops = nn.ModuleDict(
            {op_name(node, edge): make_op(edge.op, width) for node, edges in enumerate(self.genotype) for edge in edges}
        )
        self.merge = Merge()
        self.concatenate = Concatenate()

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Run the nodes in order; an empty one yields zeros."""
        states = [self.preprocessing(x_BCDHW)]
        for node, edges in enumerate(self.genotype):
            outputs = [self.ops[op_name(node, edge)](states[edge.input]) for edge in edges]
            states.append(self.merge(*outputs) if outputs else states[0].new_zeros(states[0].shape))
        result: Tensor = self.concatenate(*states[1:])
        return result
