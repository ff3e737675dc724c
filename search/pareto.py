"""Networks for several budgets out of one search: those that no other beats in both latency and accuracy.

Accuracy is that of the supernet's own weights, restricted to the network, on the patients that the architecture was
learnt on. It ranks networks of one search; how accurate they are shows when they are trained.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from cinert.arch import Arch, save_arch
from cinert.space import Space
from latency.cost import Relaxed
from latency.cost_cell import node_rows
from latency.estimate import estimate
from latency.lut import Lut
from search.decode import Decoded
from search.fastest import fastest_arch
from search.loop import Search
from search.scores import dice_per_class

T = TypeVar("T")


@dataclass(frozen=True)
class ParetoPoint:
    """A network of the front."""

    arch: Arch
    ms: float
    dice: float
    """Mean over classes and frames, with the supernet's weights."""


def decode_front(
    search: Search, lut: Lut, decode_at: Callable[[float], Decoded], *, budget_ms: float, points: int
) -> list[ParetoPoint]:
    """Decode at budgets spread evenly from the fastest network to the budget, and keep what nothing beats.

    Args:
        search: finished.
        lut: prices.
        decode_at: decodes within a budget in milliseconds.
        budget_ms: the largest one.
        points: budgets to try.

    Returns:
        Fastest first; Dice rises with latency.
    """
    least_ms = estimate(fastest_arch(search.space, lut), lut).high_ms
    found: dict[str, ParetoPoint] = {}
    for ms in np.linspace(least_ms, budget_ms, points + 1)[1:]:
        decoded = decode_at(float(ms))
        if decoded.budget_met and decoded.arch.digest not in found:
            arch = decoded.arch
            found[arch.digest] = ParetoPoint(arch, estimate(arch, lut).ms, supernet_dice(search, arch))
    return unbeaten(found.values(), cost=lambda point: point.ms, dice=lambda point: point.dice)


def unbeaten(networks: Iterable[T], *, cost: Callable[[T], float], dice: Callable[[T], float]) -> list[T]:
    """Those that no other beats in both cost and Dice, cheapest first; of equal ones the first."""
    front: list[T] = []
    for network in sorted(networks, key=lambda network: (cost(network), -dice(network))):
        if not front or dice(network) > dice(front[-1]):
            front.append(network)
    return front


@torch.no_grad()
def supernet_dice(search: Search, arch: Arch) -> float:
    """Mean Dice of a network with the supernet's weights, on the patients that the architecture was learnt on."""
    relaxed = decided(arch.space, arch, search.architecture.beta)
    images, labels = search.arch_data
    predicted = [
        search.supernet(some.contiguous(memory_format=torch.channels_last_3d), relaxed, frozenset(arch.edges)).argmax(
            dim=1
        )
        for some in torch.split(images, search.settings.batch_size)
    ]
    return float(dice_per_class(torch.cat(predicted), labels).mean())


def decided(space: Space, arch: Arch, like: torch.Tensor) -> Relaxed:
    """A decoded architecture as weights: ones at its ops, and at all edges."""
    cells = {}
    for kind, cell in arch.cells.items():
        weights = like.new_zeros(space.nodes * (space.nodes + 1) // 2, len(space.ops))
        for node, edges in enumerate(cell):
            for edge in edges:
                weights[node_rows(node).start + edge.input, space.ops.index(edge.op)] = 1
        cells[kind] = weights
    return Relaxed(cells, torch.ones_like(like))


def write_front(folder: Path, front: list[ParetoPoint]) -> None:
    """Write each network as FOLDER/NN.yaml, fastest first, in place of what an earlier decoding left there."""
    shutil.rmtree(folder, ignore_errors=True)
    for number, point in enumerate(front, start=1):
        provenance = {**point.arch.provenance, "supernet_dice": round(point.dice, 4)}
        folder.mkdir(parents=True, exist_ok=True)
        save_arch(folder / f"{number:02d}.yaml", dataclasses.replace(point.arch, provenance=provenance))
