"""A hard budget in the loss: CE under LAT <= budget, by the augmented Lagrangian (Hestenes 1969; Rockafellar 1973).

Unlike a weighted sum it asks for no weight: below the budget latency costs nothing, and above it the multiplier grows
from epoch to epoch until the budget is met.
"""

from __future__ import annotations

from torch import Tensor

PENALTY = 1.0
"""Rho, on the relative excess: a network that is twice as slow as allowed adds 0.5, as much as its cross-entropy."""


class BudgetConstraint:
    """Keeps the upper bound of the expected latency within a budget.

    Args:
        budget_ms: not to be exceeded.
    """

    def __init__(self, budget_ms: float) -> None:
        self.budget_ms = budget_ms
        self.multiplier = 0.0
        self.upper_share = 1.0
        """Upper bound of an estimate over the estimate; set anew in every epoch."""

    def loss(self, cross_entropy: Tensor, latency_ms: Tensor) -> Tensor:
        """CE + (max(0, mu + rho g)^2 - mu^2) / (2 rho), with g = upper bound of LAT / budget - 1.

        Args:
            cross_entropy: scalar.
            latency_ms: scalar.
        """
        excess = self.upper_share * latency_ms.to(cross_entropy) / self.budget_ms - 1
        pressure = (self.multiplier + PENALTY * excess).relu()
        return cross_entropy + (pressure.square() - self.multiplier**2) / (2 * PENALTY)

    def update(self, latency_ms: float) -> None:
        """Raise or lower the multiplier by the mean latency of an epoch."""
        excess = self.upper_share * latency_ms / self.budget_ms - 1
        self.multiplier = max(0.0, self.multiplier + PENALTY * excess)
