"""A decoded cell: preprocessing, and nodes with their chosen ops (Zeng 2020, Sec. 3.2 and Fig. 2)."""

from __future__ import annotations

from torch import Tensor, nn

from cinert.arch import CellGenotype, NodeEdge, live_edges, repeats
from cinert.ops import Merge, make_op, make_preprocessing
from cinert.paths import SCALE_STEP, CellKind
from cinert.space import Space


def cell_preprocessing(space: Space, kind: CellKind, source: int, channels_in: int | None = None) -> nn.Sequential:
    """Build the preprocessing of a cell of `kind` that leaves scale `source`; a full vertex unless told."""
    target = source + SCALE_STEP[kind]
    return make_preprocessing(
        channels_in or space.vertex_channels(source),
        space.widths[target],
        stride=space.strides[source] if kind == "ct" else None,
        upsample_to=space.shapes_DHW[target] if kind == "ep" else None,
    )


def op_name(node: int, edge: NodeEdge) -> str:
    """Name of an op among a cell's parameters, e.g. `n2_i0_conv`."""
    return f"n{node}_i{edge.input}_{edge.op}"


class Cell(nn.Module):
    """Maps a vertex (B, nodes x width_source, D, H, W) to the next one's nodes, each (B, width_target, D', H', W').

    Args:
        space: for widths, strides and shapes.
        kind: of the cell.
        source: scale that it leaves.
        genotype: its nodes.
        channels_in: of the vertex that it reads.
    """

    def __init__(self, space: Space, kind: CellKind, source: int, genotype: CellGenotype, *, channels_in: int) -> None:
        super().__init__()
        width = space.widths[source + SCALE_STEP[kind]]
        self.preprocessing = cell_preprocessing(space, kind, source, channels_in)
        self.genotype = live_edges(genotype)
        self.repeats = repeats(genotype)
        self.ops = nn.ModuleDict(
            {op_name(node, edge): make_op(edge.op, width) for node, edges in enumerate(self.genotype) for edge in edges}
        )
        self.merge = Merge()

    def before_upsampling(self) -> nn.Module:
        """Of an expanding cell, the layer that gives what is enlarged: (B, width_target, D, H, W) of its source."""
        return self.preprocessing[-2]

    def forward(self, x_BCDHW: Tensor) -> dict[int, Tensor]:
        """Run the nodes in order; empty ones are left out, and what is there already is not computed again."""
        states: dict[int, Tensor] = {0: self.preprocessing(x_BCDHW)}
        for node, edges in enumerate(self.genotype):
            if node in self.repeats:
                states[node + 1] = states[self.repeats[node]]
            elif edges:
                outputs = [self.ops[op_name(node, edge)](states[edge.input]) for edge in edges]
                states[node + 1] = self.merge(*outputs)
        return {state - 1: tensor for state, tensor in states.items() if state}
