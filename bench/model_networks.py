"""Which full-size networks bench-model measures: some held out, some to calibrate with."""

from __future__ import annotations

import numpy as np

from cinert.arch import Searched
from cinert.errors import BadInputError
from cinert.sampling import random_arch
from cinert.spaces import AnySpace
from cinert.ushape.space import UShapeSpace
from latency.calibration import GROUP_NAMES
from latency.design import most_informative
from latency.estimate import estimate_groups
from latency.lut import Lut
from latency.ushape.design import seeded_ushape

_SEED_STRIDE = 1_000_000
_CANDIDATES_PER_NETWORK = 6
_MOST_DRAWS = 50


def held_out_networks(space: AnySpace, number: int, *, seed: int, known: set[str]) -> list[Searched]:
    """Draw distinct networks that nothing was fitted to; of cells, those of 1 to 4 fused paths.

    Args:
        space: where to draw from.
        number: how many.
        seed: never used before, for figures that are worth something.
        known: digests of the networks that the LUT was learned from.

    Raises:
        BadInputError: the space has too few networks.
    """
    found: dict[str, Searched] = {}
    for index in range(_MOST_DRAWS * number):
        arch = _random_network(space, seed * _SEED_STRIDE + index)
        if arch.digest not in known:
            found.setdefault(arch.digest, arch)
        if len(found) == number:
            return list(found.values())
    raise BadInputError(f"space {space.name} gave {len(found)} new networks, {number} were asked for.")


def _random_network(space: AnySpace, seed: int) -> Searched:
    return seeded_ushape(space, seed) if isinstance(space, UShapeSpace) else random_arch(space, seed)


def calibration_networks(lut: Lut, number: int, *, seed: int, known: set[str]) -> list[tuple[Searched, bool]]:
    """Draw full-size networks to calibrate with, and say of each whether it was chosen for what it tells.

    A third is chosen so that their shares of the groups of parts differ most, and every factor is determined; the
    rest is a fair sample, from which the interval is taken.
    """
    if number == 0:
        return []
    pool = held_out_networks(lut.space, _CANDIDATES_PER_NETWORK * number, seed=seed, known=known)
    ms = np.array([[estimate_groups(arch, lut)[name] for name in GROUP_NAMES] for arch in pool])
    chosen = set(most_informative(ms, number // 3))
    fair = [index for index in range(len(pool)) if index not in chosen][: number - len(chosen)]
    return [(pool[index], index in chosen) for index in [*sorted(chosen), *fair]]
