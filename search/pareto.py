"""Networks for several budgets out of one search: those that no other beats in both latency and Dice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

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
    decode_at: Callable[[float], Decoded],
    needed_ms: Callable[[Arch], float],
    *,
    least_ms: float,
    most_ms: float,
    count: int,
) -> tuple[Decoded, ...]:
    """Decode at budgets spread evenly between two networks, and keep what meets them.

    Budgets between what a network needs and what it was allowed would lead to that network again; those that are left
    are spread anew below it.

    Args:
        decode_at: decodes within a budget in milliseconds.
        needed_ms: of a network, as it is held against a budget.
        least_ms: of the fastest network.
        most_ms: of the network that was decoded for the whole budget.
        count: budgets in between.

    Returns:
        Different networks, the largest budget last.
    """
    found: dict[str, Decoded] = {}
    for left in range(count, 0, -1):
        budget_ms = most_ms - (most_ms - least_ms) / (left + 1)
        if budget_ms <= least_ms:
            break
        decoded = decode_at(budget_ms)
        most_ms = budget_ms
        if decoded.budget_met:
            found.setdefault(decoded.arch.digest, decoded)
            most_ms = min(budget_ms, needed_ms(decoded.arch))
    return tuple(reversed(found.values()))


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
