"""How undecided a search still is: the entropy of its choices, for the log."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from cinert.paths import CELL_KINDS, legal_edges
from search.relaxation import ArchParameters, cell_inputs


@torch.no_grad()
def choice_entropies(architecture: ArchParameters) -> dict[str, float]:
    """Mean entropy of the choices that alpha, gamma and beta stand for, as a share of the highest.

    1 is undecided (uniform), 0 is decided. A choice among one is none and does not count.

    Returns:
        {alpha, beta}, and gamma where the relaxation has one.
    """
    space = architecture.space
    nodes = [node for node, _ in cell_inputs(space.nodes)]
    vertices = [(edge.layer, edge.source) for edge in legal_edges(space.layers, space.scales)]
    found = {"beta": _mean_entropy(_by_group(architecture.beta, vertices))}
    alphas = [architecture.alpha[kind] for kind in CELL_KINDS]
    if space.relaxation == "joint":
        # One choice among all (input, op) pairs of a node.
        pairs = [node for node in nodes for _ in space.ops]
        groups = [group for alpha in alphas for group in _by_group(alpha.flatten(), pairs)]
        return {"alpha": _mean_entropy(groups), **found}
    gammas = [group for kind in CELL_KINDS for group in _by_group(architecture.gamma[kind], nodes)]
    return {
        "alpha": _mean_entropy([row for alpha in alphas for row in alpha]),
        "gamma": _mean_entropy(gammas),
        **found,
    }


def _by_group(logits: Tensor, groups: Sequence[Hashable]) -> list[Tensor]:
    return [logits[[place for place, group in enumerate(groups) if group == each]] for each in dict.fromkeys(groups)]


def _mean_entropy(choices: list[Tensor]) -> float:
    shares = []
    for logits in choices:
        if len(logits) > 1:
            log_p = logits.double().log_softmax(0)
            shares.append(-float((log_p.exp() * log_p).sum()) / math.log(len(logits)))
    # A space may leave nothing to choose, e.g. a single op.
    return sum(shares) / len(shares) if shares else 0.0
