"""The parts of a decoded network, and where in the network they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinert.arch import Arch, live_edges, repeats
from cinert.backends.base import Precision
from cinert.paths import Edge
from cinert.ushape.arch import UShapeArch
from cinert.vertices import Sum, vertex_values
from latency.parts import PartCatalogue, PartKey
from latency.ushape.parts import ushape_parts

Parts = Counter[PartKey]
Vertex = tuple[int, int]


@dataclass(frozen=True)
class Breakdown:
    """How often a network holds each part: the union of its paths, shared cells once."""

    edges: tuple[Edge, ...]
    """Of the network, skip edges too, sorted by layer."""
    ends: Parts
    """Stem and head."""
    cells: dict[Edge, Parts]
    """Preprocessing, ops and additions inside each cell."""
    vertices: dict[Vertex, Parts]
    """Additions and concatenation at each vertex (layer, scale) that needs any."""

    @property
    def total(self) -> Parts:
        """All parts of the network."""
        total = Counter(self.ends)
        for parts in (*self.cells.values(), *self.vertices.values()):
            total.update(parts)
        return total


def break_down(arch: Arch, precision: Precision = "fp32") -> Breakdown:
    """List the parts of a network by place."""
    catalogue = PartCatalogue(arch.space, precision)
    held = vertex_values(arch)
    cells = {
        edge: _cell_parts(arch, edge, catalogue, nodes=len(held[edge.layer, edge.source]))
        for edge in arch.edges
        if edge.kind != "skip"
    }
    vertices: dict[Vertex, Parts] = {}
    # A vertex is joined when a cell or the head reads it. What skip edges pass on is summed and joined once.
    read = {(edge.layer, edge.source) for edge in cells} | {(arch.space.layers, 0)}
    there: set[object] = {(0, tuple(held[0, 0].items()))}
    for (layer, scale), values in sorted(held.items()):
        parts: Parts = Counter()
        for value in values.values():
            if isinstance(value, Sum) and (scale, value) not in there:
                there.add((scale, value))
                parts[catalogue.merge(scale)] += len(value) - 1
        joined = (scale, tuple(values.items()))
        if (layer, scale) in read and joined not in there and len(values) > 1:
            there.add(joined)
            parts[catalogue.concatenation(scale, len(values))] += 1
        if parts:
            vertices[layer, scale] = parts
    head = catalogue.head(len(held[arch.space.layers, 0]))
    return Breakdown(arch.edges, Counter([catalogue.stem(), head]), cells, vertices)


def _cell_parts(arch: Arch, edge: Edge, catalogue: PartCatalogue, *, nodes: int) -> Parts:
    assert edge.kind != "skip"
    cell = arch.cells[edge.kind]
    repeated = repeats(cell)
    parts = Counter([catalogue.preprocessing(edge.kind, edge.source, nodes)])
    for node, edges in enumerate(live_edges(cell)):
        for node_edge in edges:
            if node not in repeated:
                parts[catalogue.op(node_edge.op, edge.target)] += 1
            # A copy costs what an identity does, which engines may still run; a space without that op has no price.
            elif "identity" in arch.space.ops:
                parts[catalogue.op("identity", edge.target)] += 1
        if len(edges) > 1:
            parts[catalogue.merge(edge.target)] += len(edges) - 1
    return parts


def arch_parts(arch: Arch | UShapeArch, precision: Precision = "fp32") -> Parts:
    """Count the parts of a searched network of either family."""
    if isinstance(arch, UShapeArch):
        return ushape_parts(arch, precision)
    return break_down(arch, precision).total


def count_vector(parts: Parts, keys: list[PartKey]) -> NDArray[np.float64]:
    """Counts in the order of the keys, (parts,)."""
    return np.array([float(parts[key]) for key in keys])
