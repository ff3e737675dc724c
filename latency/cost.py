"""Differentiable latency of a relaxed network (Zeng 2020, Eq. 7-9). Times in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cinert.paths import CELL_KINDS, SCALE_STEP, CellKind, Edge, Path, legal_edges, walk
from cinert.space import Space
from latency.lut import Lut
from latency.parts import PartCatalogue


@dataclass(frozen=True)
class Relaxed:
    """A relaxed architecture as probabilities; gradients flow through both."""

    cells: Mapping[CellKind, Tensor]
    """For each cell kind (M(M+1)/2, ops): weight of each (input, op) pair. Rows go node by node, inputs in order;
    columns as `space.ops`. Gamma times alpha where they are separate, the joint softmax otherwise."""
    edges: Tensor
    """(legal edges,): probability of each network edge among those leaving its vertex, ordered as `legal_edges`."""


@dataclass(frozen=True)
class SpaceCosts:
    """The prices of a space as tensors. Looked up once; a price that is missing is an error, never zero."""

    space: Space
    op_ms: Tensor
    """(scales, ops); `zero` costs nothing, because it decodes to no edge."""
    overhead_ms: Mapping[tuple[CellKind, int], float]
    """Preprocessing and concatenation of a cell kind that leaves a scale."""
    fixed_ms: float
    """Stem, head and the constant: paid by every network."""
    edge_index: Mapping[Edge, int]
    """Position of each legal edge."""

    @classmethod
    def from_lut(cls, lut: Lut, space: Space) -> SpaceCosts:
        """Look up every part of the space.

        Raises:
            BadInputError: the LUT lacks a part; all missing ones are listed.
        """
        catalogue = PartCatalogue(space, lut.precision)  # type: ignore[arg-type]
        prices = lut.price_ms(catalogue.all())
        edges = legal_edges(space.layers, space.scales)
        op_ms = torch.zeros(space.scales, len(space.ops), dtype=torch.float64)
        for scale in {edge.target for edge in edges}:
            for column, op in enumerate(space.ops):
                if op != "zero":
                    op_ms[scale, column] = prices[catalogue.op(op, scale)]
        overhead = {
            (edge.kind, edge.source): prices[catalogue.preprocessing(edge.kind, edge.source)]
            + prices[catalogue.concatenation(edge.target)]
            for edge in edges
            if edge.kind != "skip"
        }
        return cls(
            space=space,
            op_ms=op_ms,
            overhead_ms=overhead,
            fixed_ms=lut.prices.constant_ms + prices[catalogue.stem()] + prices[catalogue.head()],
            edge_index={edge: position for position, edge in enumerate(edges)},
        )


def cell_ms(costs: SpaceCosts, relaxed: Relaxed) -> dict[tuple[CellKind, int], Tensor]:
    """Expected latency of every cell kind at every source scale (Zeng 2020, Eq. 7-8)."""
    result = {}
    for kind in CELL_KINDS:
        weights = relaxed.cells[kind].sum(dim=0)
        for (cell_kind, source), overhead in costs.overhead_ms.items():
            if cell_kind == kind:
                op_ms = costs.op_ms[source + SCALE_STEP[kind]].to(weights)
                result[kind, source] = overhead + torch.dot(weights, op_ms)
    return result


def path_wise_ms(costs: SpaceCosts, relaxed: Relaxed, paths: Sequence[Path]) -> Tensor:
    """Expected latency of the paths, each paid whole, and summed (Zeng 2020, Eq. 9).

    Each path pays the stem and the head, so that on a one-hot architecture the term equals the sum of the
    estimates of its paths. A skip edge costs nothing.

    Args:
        costs: prices.
        relaxed: probabilities, sampled by Gumbel-softmax or not.
        paths: the n longest paths.

    Returns:
        Scalar, in milliseconds.
    """
    cells = cell_ms(costs, relaxed)
    total = relaxed.edges.new_zeros(()) + costs.fixed_ms * len(paths)
    for path in paths:
        for edge in walk(path):
            if edge.kind != "skip":
                total = total + relaxed.edges[costs.edge_index[edge]] * cells[edge.kind, edge.source]
    return total
