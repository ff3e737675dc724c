"""The grid as index tensors, so that a layer's vertices are worked on at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cinert.paths import CELL_KINDS, Edge

SLOTS = (*CELL_KINDS, "skip")
"""Each kind of edge enters and leaves a vertex at most once."""


@dataclass(frozen=True)
class GridIndex:
    """Positions of edges among the legal ones; an edge that is not there has the position after the last."""

    entering_LSK: Tensor
    """(layers, scales, 4): of the edge of each kind that enters the vertex (layer + 1, scale)."""
    leaving_LSK: Tensor
    """(layers, scales, 4): of the edge of each kind that leaves the vertex (layer, scale)."""
    source_LSK: Tensor
    """(layers, scales, 4): scale that the entering edge comes from; 0 where there is none."""

    @classmethod
    def of(cls, edges: Sequence[Edge], layers: int, scales: int) -> GridIndex:
        """Index the legal edges of a grid."""
        entering = torch.full((layers, scales, len(SLOTS)), len(edges))
        leaving, source = entering.clone(), torch.zeros_like(entering)
        for position, edge in enumerate(edges):
            slot = SLOTS.index(edge.kind)
            entering[edge.layer, edge.target, slot] = position
            source[edge.layer, edge.target, slot] = edge.source
            leaving[edge.layer, edge.source, slot] = position
        return cls(entering, leaving, source)

    def to(self, device: torch.device) -> GridIndex:
        """The same on a device."""
        return GridIndex(self.entering_LSK.to(device), self.leaving_LSK.to(device), self.source_LSK.to(device))
