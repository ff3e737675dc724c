"""A hard budget: the architecture that accuracy asks for, moved no further than the budget makes necessary.

Of all distributions whose expected latency is within the budget, the closest to a given one (Kullback-Leibler; the
information projection of Csiszar 1975) takes the same price for every millisecond from all logits:
softmax(logit - mu price), with the price of an option the derivative of the latency by its probability. The multiplier
mu is solved for, anew in every epoch and once more for the decoded network. Latency never reaches the logits
themselves: they say what accuracy asks for, however tight the budget.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from search.relaxation import ArchParameters

Prices = Mapping[str, Tensor]
"""Milliseconds for each logit, by the name of its parameter."""

_LEAST_PROBABILITY = 1e-6
# Per millisecond.
_FIRST_MULTIPLIER, _LARGEST_MULTIPLIER = 1e-6, 1e9
_HALVINGS = 24


@contextlib.contextmanager
def charged(architecture: ArchParameters, prices: Prices, multiplier: float) -> Iterator[None]:
    """For a while, all that is read from the architecture has `multiplier` times its price taken from its logits.

    Gradients of what was computed meanwhile are those of the logits, which are afterwards what they were.
    """
    parameters = dict(architecture.named_parameters())
    before = {name: parameters[name].detach().clone() for name in prices}
    try:
        # Unseen by autograd: a constant is taken off, so that the derivative by what is left is that by the logit.
        for name, price in prices.items():
            parameters[name].data.sub_(multiplier * price)
        yield
    finally:
        for name, logits in before.items():
            parameters[name].data.copy_(logits)


def prices_of(architecture: ArchParameters, latency_ms: Callable[[], Tensor]) -> Prices:
    """Derivative of the expected latency by the probability of each option.

    Args:
        architecture: alpha, gamma and beta.
        latency_ms: expected latency of what they stand for.

    Returns:
        Up to a constant for each choice, to which a softmax is blind.
    """
    names, parameters = zip(*architecture.named_parameters(), strict=True)
    gradients = torch.autograd.grad(latency_ms(), parameters, allow_unused=True)
    probabilities = architecture.probabilities()
    # By a logit the derivative is p (price - mean price of the choice).
    return {
        name: gradient / probabilities[name].detach().clamp_min(_LEAST_PROBABILITY)
        for name, gradient in zip(names, gradients, strict=True)
        if gradient is not None
    }


def least_multiplier(latency_ms: Callable[[float], float], budget_ms: float) -> float:
    """The least multiplier that brings a latency within a budget, to a millionth; 1e9 where none does.

    Args:
        latency_ms: by multiplier; falls with it, on the whole.
        budget_ms: not to be exceeded.
    """
    if latency_ms(0.0) <= budget_ms:
        return 0.0
    low, high = 0.0, _FIRST_MULTIPLIER
    while latency_ms(high) > budget_ms:
        low, high = high, 2 * high
        if high > _LARGEST_MULTIPLIER:
            return _LARGEST_MULTIPLIER
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if latency_ms(middle) > budget_ms:
            low = middle
        else:
            high = middle
    return high
