"""The fastest network of a space: what a budget must at least allow."""

from __future__ import annotations

import itertools

import torch

from cinert.arch import Arch, CellGenotype, NodeEdge
from cinert.errors import BadInputError
from cinert.paths import CELL_KINDS
from cinert.space import OpName, Space
from latency.cost import SpaceCosts, cell_ms, edge_ms, node_rows
from latency.estimate import LatencyEstimate, estimate
from latency.lut import Lut
from search.longest import cheapest_paths


def fastest_arch(space: Space, lut: Lut) -> Arch:
    """Find the network with the smallest estimate.

    It is a single path, for a union costs at least as much as its dearest path. Its cells hold one op, in one node or,
    where the space has no `zero`, in all of them: a path's price is linear in how often each op occurs in a cell. So
    all triples of ops are tried, each with its cheapest path.

    Raises:
        BadInputError: the LUT lacks a part; all missing ones are listed.
    """
    costs = SpaceCosts.from_lut(lut, space)
    filled = 1 if "zero" in space.ops else space.nodes
    price = {op: cell_ms(costs, dict.fromkeys(CELL_KINDS, _weights(space, op, filled))) for op in space.ops}
    networks = []
    for triple in itertools.product([op for op in space.ops if op != "zero"], repeat=len(CELL_KINDS)):
        op_of = dict(zip(CELL_KINDS, triple, strict=True))
        edges_ms = edge_ms(
            costs, {(kind, source): price[op_of[kind]][kind, source] for kind, source in costs.overhead_ms}
        )
        # The second where the first is the path of skips, which computes nothing.
        cheapest = cheapest_paths(space, edges_ms.tolist(), 2)
        path, ms = next((path, ms) for path, ms in cheapest if set(path) != {"skip"})
        networks.append((ms, op_of, path))
    _, op_of, path = min(networks, key=lambda network: network[0])
    return Arch(space=space, cells={kind: _cell(space, op, filled) for kind, op in op_of.items()}, paths=(path,))


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
            f"no network of {space.name} stays within {budget_ms:g} ms on {lut.device_name}: the fastest,"
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
