"""Architecture parameters and their relaxation to probabilities (Zeng 2020, Eq. 2-3 and 5; Lu 2022, Eq. 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cinert.paths import CELL_KINDS, legal_edges
from cinert.space import Space
from latency.cost import Relaxed


def cell_inputs(nodes: int) -> list[tuple[int, int]]:
    """(node, input) of each edge inside a cell, node by node and inputs in order: M(M+1)/2 of them."""
    return [(node, source) for node in range(nodes) for source in range(node + 1)]


def grouped_log_softmax(logits: Tensor, group: Tensor) -> Tensor:
    """Log-softmax within groups.

    Args:
        logits: (n,).
        group: (n,) int64, the group of each entry, 0..groups-1; every group has an entry.

    Returns:
        (n,) log-probabilities that sum to one, as probabilities, in each group.
    """
    groups = int(group.max()) + 1
    highest = logits.new_full((groups,), -torch.inf).scatter_reduce(0, group, logits.detach(), "amax")
    shifted = logits - highest[group]
    total = logits.new_zeros(groups).index_add(0, group, shifted.exp())
    return shifted - total.log()[group]


class ArchParameters(nn.Module):
    """Alpha, gamma and beta of a space; all zero, that is uniform, at the start.

    `separate` (Zeng 2020, Eq. 2-3): alpha (cell edges, ops) is normalised over the ops of an edge and gamma (cell
    edges,) over the edges that enter a node. `joint` (Lu 2022, Eq. 1): alpha is normalised over all (input, op)
    pairs of a node, and there is no gamma. Beta (legal edges,) is normalised over the edges that leave a vertex and
    can still reach the end, so that the probabilities of all paths sum to one.
    """

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space
        inputs = cell_inputs(space.nodes)
        edges = legal_edges(space.layers, space.scales)
        self.alpha = nn.ParameterDict({kind: torch.zeros(len(inputs), len(space.ops)) for kind in CELL_KINDS})
        self.gamma = nn.ParameterDict(
            {kind: torch.zeros(len(inputs)) for kind in CELL_KINDS} if space.relaxation == "separate" else {}
        )
        self.beta = nn.Parameter(torch.zeros(len(edges)))
        vertices = sorted({(edge.layer, edge.source) for edge in edges})
        self._node_of_input: Tensor
        self._vertex_of_edge: Tensor
        self.register_buffer("_node_of_input", torch.tensor([node for node, _ in inputs]), persistent=False)
        self.register_buffer(
            "_vertex_of_edge",
            torch.tensor([vertices.index((edge.layer, edge.source)) for edge in edges]),
            persistent=False,
        )

    def log_edges(self) -> Tensor:
        """Log-probability of each network edge among those that leave its vertex, in the order of `legal_edges`."""
        return grouped_log_softmax(self.beta, self._vertex_of_edge)

    def relax(self) -> Relaxed:
        """Softmax of all parameters: what weights the supernet's features."""
        return self._relax(lambda logits: logits)

    def sample(self, generator: torch.Generator, *, temperature: float) -> Relaxed:
        """Gumbel-softmax of all parameters: what weights the latency (Zeng 2020, Eq. 7-9).

        Args:
            generator: on the parameters' device; the same state gives the same sample.
            temperature: above 0; the lower, the closer to one-hot.
        """

        def perturb(logits: Tensor) -> Tensor:
            noise = torch.empty_like(logits).exponential_(generator=generator)
            # Exponential noise can underflow to zero, whose logarithm is infinite.
            gumbel = -noise.clamp_min(torch.finfo(noise.dtype).tiny).log()
            return (logits + gumbel) / temperature

        return self._relax(perturb)

    def probabilities(self, perturb: Callable[[Tensor], Tensor] = lambda logits: logits) -> dict[str, Tensor]:
        """Each parameter normalised over its choices, by the parameter's name.

        Args:
            perturb: applied to the logits first.
        """
        found: dict[str, Tensor] = {}
        for kind in CELL_KINDS:
            alpha = perturb(self.alpha[kind])
            if self.space.relaxation == "joint":
                pair_group = self._node_of_input.repeat_interleave(alpha.shape[1])
                found[f"alpha.{kind}"] = grouped_log_softmax(alpha.flatten(), pair_group).exp().view_as(alpha)
            else:
                found[f"alpha.{kind}"] = alpha.softmax(dim=1)
                found[f"gamma.{kind}"] = grouped_log_softmax(perturb(self.gamma[kind]), self._node_of_input).exp()
        found["beta"] = grouped_log_softmax(perturb(self.beta), self._vertex_of_edge).exp()
        return found

    def _relax(self, perturb: Callable[[Tensor], Tensor]) -> Relaxed:
        found = self.probabilities(perturb)
        cells = {kind: found[f"alpha.{kind}"] for kind in CELL_KINDS}
        if self.space.relaxation == "separate":
            cells = {kind: found[f"gamma.{kind}"][:, None] * alpha for kind, alpha in cells.items()}
        return Relaxed(cells=cells, edges=found["beta"])
