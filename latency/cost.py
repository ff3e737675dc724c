"""Prices of a space as tensors, and the path-wise latency of a relaxed network (Zeng 2020, Eq. 7-9).

The other two terms are in `latency.cost_critical` (Lu 2022, Eq. 3-5) and `latency.cost_union`. Times in milliseconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cinert.paths import CELL_KINDS, CellKind, Edge, Path, legal_edges, walk
from cinert.space import Space
from latency.composition import Rule
from latency.cost_cell import CellForm, cell_form, full_vertex
from latency.cost_grid import GridIndex
from latency.lut import Lut
from latency.parts import PartCatalogue

Cells = Mapping[CellKind, Tensor]
"""For each cell kind (M(M+1)/2, ops): weight of each (input, op) pair. Rows go node by node, inputs in order; columns
as `space.ops`. Gamma times alpha where they are separate, the joint softmax otherwise."""


@dataclass(frozen=True)
class Relaxed:
    """A relaxed architecture as probabilities; gradients flow through both."""

    cells: Cells
    edges: Tensor
    """(legal edges,): probability of each network edge among those leaving its vertex, ordered as `legal_edges`."""


@dataclass(frozen=True, kw_only=True)
class SpaceCosts:
    """The prices of a space as tensors. Looked up once; a price that is missing is an error, never zero."""

    space: Space
    edges: tuple[Edge, ...]
    """Legal edges, in the order of beta."""
    index: GridIndex
    """Where they enter and leave."""
    composition: Rule
    """How the parts of a network compose."""
    fixed_ms: float
    """Stem and constant: paid by every network."""
    op_ms: Tensor
    """(scales, ops); `zero` costs nothing, because it decodes to no edge."""
    merge_ms: Tensor
    """(scales,): one addition where edges meet in a node."""
    concatenation_ms: Tensor
    """(scales, M): of a vertex of 1..M nodes; a single one is not joined."""
    preprocessing_ms: Mapping[tuple[CellKind, int], Tensor]
    """(M,): of a cell kind that leaves a scale, from a vertex of 1..M nodes."""
    head_ms: Tensor
    """(M,): from a vertex of 1..M nodes."""

    @classmethod
    def from_lut(cls, lut: Lut, space: Space) -> SpaceCosts:
        """Look up every part of the space.

        Raises:
            BadInputError: the LUT lacks a part; all missing ones are listed.
        """
        catalogue = PartCatalogue(space, lut.precision)
        prices = lut.price_ms(catalogue.all())
        edges = legal_edges(space.layers, space.scales)
        counts = range(1, space.nodes + 1)
        op_ms = torch.zeros(space.scales, len(space.ops), dtype=torch.float64)
        merge_ms = torch.zeros(space.scales, dtype=torch.float64)
        concatenation_ms = torch.zeros(space.scales, space.nodes, dtype=torch.float64)
        for scale in {edge.target for edge in edges}:
            for column, op in enumerate(space.ops):
                if op != "zero":
                    op_ms[scale, column] = prices[catalogue.op(op, scale)]
            merge_ms[scale] = prices[catalogue.merge(scale)]
            for nodes in counts[1:]:
                concatenation_ms[scale, nodes - 1] = prices[catalogue.concatenation(scale, nodes)]
        preprocessing_ms = {
            (edge.kind, edge.source): torch.tensor(
                [prices[catalogue.preprocessing(edge.kind, edge.source, nodes)] for nodes in counts],
                dtype=torch.float64,
            )
            for edge in edges
            if edge.kind != "skip"
        }
        return cls(
            space=space,
            edges=edges,
            index=GridIndex.of(edges, space.layers, space.scales),
            composition=lut.prices.composition,
            fixed_ms=lut.constant_ms + prices[catalogue.stem()],
            op_ms=op_ms,
            merge_ms=merge_ms,
            concatenation_ms=concatenation_ms,
            preprocessing_ms=preprocessing_ms,
            head_ms=torch.tensor([prices[catalogue.head(nodes)] for nodes in counts], dtype=torch.float64),
        )

    def to(self, like: Tensor) -> SpaceCosts:
        """The same prices with the type and on the device of a tensor."""
        return dataclasses.replace(
            self,
            index=self.index.to(like.device),
            op_ms=self.op_ms.to(like),
            merge_ms=self.merge_ms.to(like),
            concatenation_ms=self.concatenation_ms.to(like),
            preprocessing_ms={key: ms.to(like) for key, ms in self.preprocessing_ms.items()},
            head_ms=self.head_ms.to(like),
        )

    def forms(self, cells: Cells) -> dict[CellKind, CellForm]:
        """What is expected of each cell kind."""
        return {kind: cell_form(self.space, self.op_ms, self.merge_ms, cells[kind]) for kind in CELL_KINDS}


def path_wise_ms(costs: SpaceCosts, relaxed: Relaxed, paths: Sequence[Path]) -> Tensor:
    """Expected latency of the paths, each paid whole, and summed (Zeng 2020, Eq. 9).

    Each path pays the stem, the head and the constant, and a cell pays for as many nodes as the cell before it fills,
    so that on a one-hot architecture the term equals the sum of the estimates of its paths. A skip edge costs nothing.

    Args:
        costs: prices.
        relaxed: probabilities, sampled by Gumbel-softmax or not.
        paths: the n longest paths.

    Returns:
        Scalar, in milliseconds.
    """
    costs = costs.to(relaxed.edges)
    forms = costs.forms({kind: weights.to(relaxed.edges) for kind, weights in relaxed.cells.items()})
    probability = dict(zip(costs.edges, relaxed.edges.unbind(), strict=True))
    total = relaxed.edges.new_zeros(())
    for path in paths:
        nodes = full_vertex(relaxed.edges, costs.space.nodes)
        total = total + costs.fixed_ms
        for edge in walk(path):
            if edge.kind != "skip":
                form = forms[edge.kind]
                before = torch.dot(nodes, costs.preprocessing_ms[edge.kind, edge.source])
                nodes = form.count_M
                after = torch.dot(nodes, costs.concatenation_ms[edge.target])
                total = total + probability[edge] * (before + form.ops_ms[edge.target] + after)
        total = total + torch.dot(nodes, costs.head_ms)
    return total
