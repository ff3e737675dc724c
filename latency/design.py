"""Which short networks to time, so that every price is identified.

Candidates are random architectures of all lengths; they are chosen one by one so that the determinant of the
information matrix grows most (D-optimal design). Shares of a roofline time stand in for prices, which are not
known yet, so that the same space always gets the same networks and their exports stay cached.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cinert.arch import Arch
from cinert.backends.base import Precision
from cinert.sampling import random_arch
from cinert.space import Space
from latency.breakdown import arch_parts
from latency.parts import PartCatalogue, PartKey
from latency.terms import price_terms, terms_of

# A nominal device, to weigh parts against each other: 100 GFLOP/s and 10 GB/s, and 20 microseconds a kernel.
_FLOPS_PER_MS, _BYTES_PER_MS, _KERNEL_MS = 1e8, 1e7, 0.02
_CANDIDATES_PER_NETWORK = 6
_SEED_STRIDE = 1_000_003
_MOST_NETWORKS = 100


def roofline_ms(key: PartKey) -> float:
    """Time of a part on the nominal device."""
    return max(key.flops / _FLOPS_PER_MS, key.bytes_moved / _BYTES_PER_MS) + _KERNEL_MS


def count_matrix(archs: list[Arch], keys: list[PartKey], precision: Precision) -> NDArray[np.float64]:
    """How often each network holds each part, (networks, parts)."""
    position = {key: column for column, key in enumerate(keys)}
    counts = np.zeros((len(archs), len(keys)))
    for row, arch in enumerate(archs):
        for key, count in arch_parts(arch, precision).items():
            counts[row, position[key]] = count
    return counts


def candidate(space: Space, index: int, seed: int) -> Arch:
    """The index-th candidate: lengths 2 to L in turn."""
    return random_arch(space, seed * _SEED_STRIDE + index, layers=2 + index % (space.layers - 1), cover=True)


def designed_networks(space: Space, number: int, *, precision: Precision, seed: int = 0) -> list[Arch]:
    """Choose `number` distinct networks of 2 to L layers."""
    pool: dict[str, Arch] = {}
    for index in range(_CANDIDATES_PER_NETWORK * number):
        arch = candidate(space, index, seed)
        pool.setdefault(arch.digest, arch)
    archs = list(pool.values())
    keys = PartCatalogue(space, precision).all()
    _, basis = price_terms(keys, space)
    times = count_matrix(archs, keys, precision) @ basis * terms_of(np.array(list(map(roofline_ms, keys))), basis)
    return [archs[index] for index in most_informative(times, number)]


def default_networks(space: Space, precision: Precision) -> int:
    """How many networks identify the terms of a space well: twice as many, and at most 100."""
    names, _ = price_terms(PartCatalogue(space, precision).all(), space)
    return min(_MOST_NETWORKS, 2 * len(names))


def most_informative(ms: NDArray[np.float64], number: int) -> list[int]:
    """Choose networks one by one so that the determinant of the information about their terms grows most.

    Args:
        ms: (networks, terms) what each term adds to each network.
        number: how many to choose, all if there are fewer.
    """
    shares = ms / ms.sum(axis=1, keepdims=True)
    # All terms weigh alike, or rare and cheap ones would not be identified at all.
    shares /= np.maximum(np.sqrt(np.mean(shares**2, axis=0)), 1e-9)
    # Start from a weak prior; each choice updates the inverse information by Sherman and Morrison.
    inverse = np.eye(shares.shape[1]) / 1e-4
    chosen: list[int] = []
    for _ in range(min(number, len(shares))):
        gain = np.einsum("np,pq,nq->n", shares, inverse, shares)
        gain[chosen] = -1
        best = int(gain.argmax())
        chosen.append(best)
        direction = inverse @ shares[best]
        inverse -= np.outer(direction, direction) / (1 + shares[best] @ direction)
    return chosen
