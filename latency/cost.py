"""Prices of a space as tensors, and the path-wise latency of a relaxed network (Zeng 2020, Eq. 7-9).

The other two terms are in `latency.cost_critical` (Lu 2022, Eq. 3-5) and `latency.cost_union`. Times in milliseconds.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cinert.errors import BadInputError
from cinert.paths import CELL_KINDS, SCALE_STEP, CellKind, Edge, Path, legal_edges, walk
from cinert.space import Space
from latency.lut import Lut
from latency.parts import PartCatalogue

Cells = Mapping[CellKind, Tensor]
"""For each cell kind (M(M+1)/2, ops): weight of each (input, op) pair. Rows go node by node, inputs in order; columns
as `space.ops`. Gamma times alpha where they are separate, the joint softmax otherwise."""


COMPOSITIONS = ("sum", "critical path")
"""Everything adds, or the longest way through the network's vertices counts, with cells summed inside."""


@dataclass(frozen=True)
class Relaxed:
    """A relaxed architecture as probabilities; gradients flow through both."""

    cells: Cells
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
    merge_ms: Tensor
    """(scales,): one addition where edges meet in a vertex; 0 at a scale where none ever meet."""
    node_merge_ms: Tensor | None
    """(scales,): one addition where edges meet in a node; None where the LUT does not price it, and then no node may
    have several edges."""
    fixed_ms: float
    """Stem, head and the constant: paid by every network."""
    composition: str
    """How cells compose in a network, one of `COMPOSITIONS`."""
    edges: tuple[Edge, ...]
    """Legal edges, in the order of beta."""

    @classmethod
    def from_lut(cls, lut: Lut, space: Space) -> SpaceCosts:
        """Look up every part of the space.

        Raises:
            BadInputError: the LUT lacks a part, all missing ones are listed; or it composes parts in an unknown way.
        """
        if lut.prices.composition not in COMPOSITIONS:
            raise BadInputError(
                f"LUT {lut.source} composes parts by {lut.prices.composition!r}.",
                hint=f"known: {', '.join(COMPOSITIONS)}.",
            )
        catalogue = PartCatalogue(space, lut.precision)  # type: ignore[arg-type]
        prices = lut.price_ms(catalogue.all())
        edges = legal_edges(space.layers, space.scales)
        reached = sorted({edge.target for edge in edges})
        arriving = Counter((edge.layer, edge.target) for edge in edges)
        op_ms = torch.zeros(space.scales, len(space.ops), dtype=torch.float64)
        merge_ms = torch.zeros(space.scales, dtype=torch.float64)
        node_merge_ms = torch.zeros(space.scales, dtype=torch.float64)
        for scale in reached:
            for column, op in enumerate(space.ops):
                if op != "zero":
                    op_ms[scale, column] = prices[catalogue.op(op, scale)]
        for scale in {scale for (_, scale), count in arriving.items() if count > 1}:
            merge_ms[scale] = prices[catalogue.merge(scale)]
        # Searched cells have one edge per node, so a LUT need not price this one.
        additions = [catalogue.node_merge(scale) for scale in reached]
        priced = all(key.label in lut.prices.parts for key in additions)
        if priced:
            found = lut.price_ms(additions)
            node_merge_ms[reached] = torch.tensor([found[key] for key in additions], dtype=torch.float64)
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
            merge_ms=merge_ms,
            node_merge_ms=node_merge_ms if priced else None,
            fixed_ms=lut.prices.constant_ms + prices[catalogue.stem()] + prices[catalogue.head()],
            composition=lut.prices.composition,
            edges=edges,
        )

    def to(self, device: torch.device) -> SpaceCosts:
        """The same prices on a device."""
        return dataclasses.replace(
            self,
            op_ms=self.op_ms.to(device),
            merge_ms=self.merge_ms.to(device),
            node_merge_ms=None if self.node_merge_ms is None else self.node_merge_ms.to(device),
        )


def node_rows(node: int) -> slice:
    """Rows of a cell's weights that belong to the inputs 0..node of a node."""
    first = node * (node + 1) // 2
    return slice(first, first + node + 1)


def cell_ms(costs: SpaceCosts, cells: Cells) -> dict[tuple[CellKind, int], Tensor]:
    """Expected latency of every cell kind at every source scale: all its parts, summed (Zeng 2020, Eq. 7-8).

    A node whose weights exceed one stands for several edges (an architecture from a file may have them) and pays an
    addition for each beyond the first; a relaxation never does.

    Raises:
        BadInputError: a node has several edges, and the LUT does not price their addition.
    """
    result = {}
    for kind in CELL_KINDS:
        weights = cells[kind].sum(dim=0)
        additions = _additions(costs, cells[kind])
        for (cell_kind, source), overhead in costs.overhead_ms.items():
            if cell_kind == kind:
                target = source + SCALE_STEP[kind]
                total = overhead + torch.dot(weights, costs.op_ms[target].to(weights))
                if costs.node_merge_ms is not None:
                    total = total + additions * costs.node_merge_ms[target].to(weights)
                result[kind, source] = total
    return result


def _additions(costs: SpaceCosts, weights: Tensor) -> Tensor:
    space = costs.space
    kept = [column for column, op in enumerate(space.ops) if op != "zero"]
    edges = weights[:, kept].sum(dim=1)
    several = torch.stack([edges[node_rows(node)].sum() for node in range(space.nodes)]) - 1
    # The tolerance is for probabilities that do not quite sum to one.
    if costs.node_merge_ms is None and float(several.detach().max()) > 1e-3:
        raise BadInputError(
            f"a node of the cell has several edges, and the LUT of space {space.name} does not price their addition.",
            hint="keep one edge per node.",
        )
    return several.relu().sum()


def edge_ms(costs: SpaceCosts, cells: Mapping[tuple[CellKind, int], Tensor]) -> Tensor:
    """Latency of each legal edge, (legal edges,), from that of its cell; a skip edge costs nothing."""
    nothing = next(iter(cells.values())).new_zeros(())
    return torch.stack([nothing if edge.kind == "skip" else cells[edge.kind, edge.source] for edge in costs.edges])


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
    crossed = Counter(edge for path in paths for edge in walk(path))
    times = relaxed.edges.new_tensor([crossed[edge] for edge in costs.edges])
    cells_ms = edge_ms(costs, cell_ms(costs, relaxed.cells)).to(relaxed.edges)
    return costs.fixed_ms * len(paths) + torch.dot(times * relaxed.edges, cells_ms)
