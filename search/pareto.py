"""Networks for several budgets out of one search: those that no other beats in both latency and Dice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from cinert.arch import Arch, save_arch
from search.decode import Decoded

T = TypeVar("T")


@dataclass(frozen=True)
class ParetoPoint:
    """A network of the front."""

    arch: Arch
    ms: float
    """Estimated latency."""
    dice: float
    """Mean on the other half of the training patients, after a short training on one half."""


def decode_cheaper(
    decode_at: Callable[[float], Decoded], *, least_ms: float, budget_ms: float, count: int
) -> tuple[Decoded, ...]:
    """Decode at budgets spread evenly between the fastest network and the budget, and keep what meets them.

    Args:
        decode_at: decodes within a budget in milliseconds.
        least_ms: of the fastest network.
        budget_ms: not among those that are decoded at.
        count: budgets in between.

    Returns:
        Different networks, the largest budget last.
    """
    found: dict[str, Decoded] = {}
    if least_ms >= budget_ms:
        return ()
    for ms in np.linspace(least_ms, budget_ms, count + 2)[1:-1]:
        decoded = decode_at(float(ms))
        if decoded.budget_met:
            found.setdefault(decoded.arch.digest, decoded)
    return tuple(found.values())


def unbeaten(networks: Iterable[T], *, cost: Callable[[T], float], dice: Callable[[T], float]) -> list[T]:
    """Those that no other beats in both cost and Dice, cheapest first; of equal ones the first."""
    front: list[T] = []
    for network in sorted(networks, key=lambda network: (cost(network), -dice(network))):
        if not front or dice(network) > dice(front[-1]):
            front.append(network)
    return front


def write_front(folder: Path, front: list[ParetoPoint]) -> None:
    """Write each network as FOLDER/NN.yaml, fastest first."""
    for number, point in enumerate(front, start=1):
        provenance = {**point.arch.provenance, "dice_on_the_other_half": round(point.dice, 4)}
        save_arch(folder / f"{number:02d}.yaml", dataclasses.replace(point.arch, provenance=provenance))
