"""Which U-shaped networks to time, so that every term is identified, and the network that anchors a measurement."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from cinert.backends.base import Precision
from cinert.ushape.arch import UShapeArch
from cinert.ushape.choices import Option, arch_of, options_of, random_ushape
from cinert.ushape.space import UShapeSpace
from latency.design import most_informative
from latency.ushape.learn import space_terms
from latency.ushape.parts import ushape_parts

_CANDIDATES_PER_NETWORK = 6
_SEED_STRIDE = 1_000_003
_MOST_NETWORKS = 100
_NETWORKS_PER_TERM = 3
_FAIR_SHARE = 4
"""One network in so many is a plain draw, whatever it tells."""
_LEANING = 0.7
"""How often a candidate that leans takes the same end of a choice's options."""


def seeded_ushape(space: UShapeSpace, seed: int) -> UShapeArch:
    """A random network of a space; the same seed gives the same one."""
    arch = random_ushape(space, np.random.default_rng(seed))
    return dataclasses.replace(arch, provenance={"method": "random", "seed": seed})


def candidate(space: UShapeSpace, index: int, seed: int) -> UShapeArch:
    """The index-th candidate: every other one is a plain draw, the others lean to one end of each kind of choice.

    In plain draws large and small choices cancel out, and the space's cheapest and dearest networks are never near.
    """
    number = 2 * seed * _SEED_STRIDE + index
    if number % 2 == 0:
        return seeded_ushape(space, number)
    rng = np.random.default_rng(number)
    ends: dict[str, int] = {}
    choices: dict[str, Option] = {}
    for name, options in options_of(space).items():
        kind = _kind(name)
        ends.setdefault(kind, -int(rng.integers(2)))
        leans = kind != "grid" and rng.random() < _LEANING
        choices[name] = options[ends[kind]] if leans else options[int(rng.integers(len(options)))]
    arch = arch_of(space, choices, source="random")
    return dataclasses.replace(arch, provenance={"method": "random", "seed": number})


def _kind(name: str) -> str:
    """`grid`, `width`, `depth` or `block`: the kind of a choice."""
    words = name.split(".")
    if words[0] in {"grid", "width"}:
        return words[0]
    return "depth" if words[-1] == "depth" else "block"


def designed_ushapes(space: UShapeSpace, number: int, *, precision: Precision, seed: int = 0) -> list[UShapeArch]:
    """Choose `number` distinct networks of a space: most D-optimal for what its grids share, the rest a fair sample.

    What tells most are small networks, in which no term outweighs the others; the sample holds the large ones, too.
    """
    pool: dict[str, UShapeArch] = {}
    for index in range(_CANDIDATES_PER_NETWORK * number):
        arch = candidate(space, index, seed)
        pool.setdefault(arch.digest, arch)
    archs = list(pool.values())
    terms = space_terms(space, precision)
    taken = terms.matrix([ushape_parts(arch, precision) for arch in archs])
    fair = number // _FAIR_SHARE
    chosen = most_informative(taken * terms.nominal_ms @ terms.shared, number - fair)
    # Candidates with an even number are plain draws.
    plain = [index for index, arch in enumerate(archs) if arch.provenance["seed"] % 2 == 0 and index not in chosen]
    return [archs[index] for index in (*chosen, *plain[:fair])]


def default_ushapes(space: UShapeSpace, precision: Precision) -> int:
    """How many networks identify the terms that the grids of a space share: three times as many, and at most 100."""
    shared = int(space_terms(space, precision).shared.shape[1])
    return min(_MOST_NETWORKS, _NETWORKS_PER_TERM * shared)


def anchor_ushape(space: UShapeSpace) -> UShapeArch:
    """A small network that is the same for every measurement of a space: the smallest one on the smallest grid."""
    voxels = [math.prod(grid.shape_DHW) for grid in space.grids]
    return UShapeArch(space=space, grid_number=voxels.index(min(voxels)), shape=space.smallest, source="anchor")
