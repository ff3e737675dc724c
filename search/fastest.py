"""The fastest network of a space: what a budget must at least allow."""

from __future__ import annotations

import itertools

import torch

from cinert.arch import Arch, CellGenotype, NodeEdge
from cinert.errors import BadInputError
from cinert.paths import CELL_KINDS
from cinert.space import OpName, Space
from latency.cost import SpaceCosts
from latency.cost_cell import node_rows
from latency.estimate import LatencyEstimate, estimate
from latency.lut import Lut
from search.longest import cheapest_paths

FORBIDDEN_MS = 1e9


def fastest_arch(space: Space, lut: Lut) -> Arch:
    """Find the network with the smallest estimate.

    It is a single path, for a union costs at least as much as its dearest path. Its cells hold one op, in one node or,
    where the space has no `zero`, in all of them. So all triples of ops are tried, each with its cheapest path. Its
    first edge is a cell, since skips before the first cell can as well follow the last one; that cell reads the full
    stem, and every other one what the cell before it fills.

    Raises:
        BadInputError: the LUT lacks a part; all missing ones are listed.
    """
    costs = SpaceCosts.from_lut(lut, space)
    filled = 1 if "zero" in space.ops else space.nodes
    ops: list[OpName] = [op for op in space.ops if op != "zero"]
    # Milliseconds of each op's cell by edge, as the first cell and as a later one.
    first_ms, later_ms = ({op: _edges_ms(costs, op, filled, read=read) for op in ops} for read in (space.nodes, filled))
    found = []
    for triple in itertools.product(ops, repeat=len(CELL_KINDS)):
        op_of = dict(zip(CELL_KINDS, triple, strict=True))
        prices = []
        for position, edge in enumerate(costs.edges):
            if edge.kind == "skip":
                prices.append(FORBIDDEN_MS if edge.layer == 0 else 0.0)
            else:
                prices.append((first_ms if edge.layer == 0 else later_ms)[op_of[edge.kind]][position])
        path, ms = cheapest_paths(space, prices, 1)[0]
        found.append((ms, op_of, path))
    _, op_of, path = min(found, key=lambda network: network[0])
    return Arch(space=space, cells={kind: _cell(space, op, filled) for kind, op in op_of.items()}, paths=(path,))


def _edges_ms(costs: SpaceCosts, op: OpName, filled: int, *, read: int) -> list[float]:
    """Latency of a cell of one op on each legal edge, from a vertex of `read` nodes."""
    form = costs.forms(dict.fromkeys(CELL_KINDS, _weights(costs.space, op, filled)))["ns"]
    return [
        0.0
        if edge.kind == "skip"
        else float(
            costs.preprocessing_ms[edge.kind, edge.source][read - 1]
            + form.ops_ms[edge.target]
            + costs.concatenation_ms[edge.target, filled - 1]
        )
        for edge in costs.edges
    ]


def require_budget(space: Space, lut: Lut, budget_ms: float, *, upper: bool) -> LatencyEstimate:
    """Refuse a budget that no network of the space can meet.

    Args:
        space: to search.
        lut: its prices.
        budget_ms: latency to stay within.
        upper: whether the upper end of the estimate's interval has to stay within it, or the estimate.

    Returns:
        The estimate of the fastest network.

    Raises:
        BadInputError: naming the fastest network.
    """
    fastest = fastest_arch(space, lut)
    found = estimate(fastest, lut)
    least_ms = found.high_ms if upper else found.ms
    if least_ms > budget_ms:
        used = [kind for kind in CELL_KINDS if kind in fastest.paths[0]]
        ops = ", ".join(f"{kind} {next(edges[0].op for edges in fastest.cells[kind] if edges)}" for kind in used)
        raise BadInputError(
            f"no network of {space.name} stays within {budget_ms:g} ms on {lut.title}: the fastest,"
            f" path [{', '.join(fastest.paths[0])}], cells of {ops}, is estimated at {found.ms:.3g} ms"
            + (f" and at most {found.high_ms:.3g} ms." if upper else "."),
            hint="give a larger --budget-ms, or a smaller space.",
        )
    return found


def _weights(space: Space, op: OpName, filled: int) -> torch.Tensor:
    weights = torch.zeros(space.nodes * (space.nodes + 1) // 2, len(space.ops), dtype=torch.float64)
    for node in range(filled):
        weights[node_rows(node).start, space.ops.index(op)] = 1
    return weights


def _cell(space: Space, op: OpName, filled: int) -> CellGenotype:
    return tuple((NodeEdge(0, op),) if node < filled else () for node in range(space.nodes))
