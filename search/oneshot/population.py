"""The networks that a step may train: a population within the budget that evolves with the weights it shares.

Source: continuous evolution (CARS, Yang 2020): only the members of a population are trained, so that weights serve a
few related networks and learn fast, and children begin with what their parents learnt. Only networks within a band of
latency live (AttentiveNAS, Wang 2021), so that no step is spent on networks that cannot be taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cinert.errors import BadInputError
from cinert.ushape.arch import UShapeArch
from cinert.ushape.choices import Option, arch_of, choices_of, crossed, mutated, options_of, random_ushape
from cinert.ushape.space import UShapeSpace

EstimateMs = Callable[[UShapeArch], float]
_DRAWS = 20_000
_TRIES = 500
_MUTATION_RATE = 0.12
_FAVOURITE_SHARE = 0.35
"""Of the steps, that train the member which scored best."""


@dataclass(frozen=True)
class Scored:
    """A network and its Dice with the shared weights."""

    arch: UShapeArch
    frames: tuple[float, ...]
    """Mean over the classes, of each frame that it was scored on."""

    @property
    def dice(self) -> float:
        """Mean over the frames."""
        return sum(self.frames) / len(self.frames)


class Population:
    """Some networks within a band of latency.

    Args:
        space: to draw from.
        estimate_ms: of a network.
        low_ms: lower end of the band.
        high_ms: upper end of the band: the budget.
        size: number of members.
    """

    def __init__(
        self, space: UShapeSpace, estimate_ms: EstimateMs, *, low_ms: float, high_ms: float, size: int
    ) -> None:
        self.space, self.estimate_ms, self.size = space, estimate_ms, size
        self.low_ms, self.high_ms = low_ms, high_ms
        self.members: list[UShapeArch] = []
        """Best first, once they were scored."""

    def fits(self, arch: UShapeArch) -> bool:
        """Whether the estimate lies within the band."""
        return self.low_ms <= self.estimate_ms(arch) <= self.high_ms

    def found(self, rng: np.random.Generator) -> None:
        """Begin with the middle of the space and its mutations, and as many random networks.

        Raises:
            BadInputError: no network of many fits the budget.
        """
        middle = self._fitted(middle_of(self.space), rng)
        self.members = [middle] if middle is not None else []
        while len(self.members) < self.size:
            near = middle is not None and len(self.members) < (self.size + 1) // 2
            self._add(self._mutated(middle, rng) if near and middle is not None else self._random(rng))

    def draw(self, rng: np.random.Generator) -> UShapeArch:
        """The network that the next step trains: the favourite more often than each other."""
        others = len(self.members) - 1
        if not others or rng.random() < _FAVOURITE_SHARE:
            return self.members[0]
        return self.members[1 + int(rng.integers(others))]

    def evolve(self, scored: Sequence[Scored], rng: np.random.Generator) -> None:
        """Keep the better half of the members and give their children the other places.

        Args:
            scored: every member.
            rng: source of randomness.
        """
        best = [one.arch for one in sorted(scored, key=lambda one: -one.dice)]
        self.members = best[: max(1, (self.size + 1) // 2)]
        parents = list(self.members)
        while len(self.members) < self.size:
            first, second = (parents[min(int(rng.integers(len(parents))), int(rng.integers(len(parents))))]
                             for _ in range(2))  # fmt: skip
            self._add(self._mutated(crossed(first, second, rng), rng))

    def _add(self, arch: UShapeArch) -> None:
        if all(arch.digest != member.digest for member in self.members):
            self.members.append(arch)

    def _mutated(self, arch: UShapeArch, rng: np.random.Generator) -> UShapeArch:
        """A mutation within the band; a random network where none of many is."""
        for _ in range(_TRIES):
            child = mutated(arch, rng, rate=_MUTATION_RATE)
            if self.fits(child):
                return child
        return self._random(rng)

    def _random(self, rng: np.random.Generator) -> UShapeArch:
        for _ in range(_DRAWS):
            arch = random_ushape(self.space, rng)
            if self.fits(arch):
                return arch
        raise BadInputError(
            f"none of {_DRAWS} networks of space {self.space.name} is estimated between {self.low_ms:.3g} and"
            f" {self.high_ms:.3g} ms.",
            hint="give another --budget-ms, or a space with wider or narrower networks.",
        )

    def _fitted(self, arch: UShapeArch, rng: np.random.Generator) -> UShapeArch | None:
        """A network whose choices were moved, one after the other, towards the band; None if it ends outside."""
        for _ in range(_TRIES):
            ms = self.estimate_ms(arch)
            if self.low_ms <= ms <= self.high_ms:
                return arch
            moved = _moved(arch, rng)
            closer = self.estimate_ms(moved) < ms if ms > self.high_ms else self.estimate_ms(moved) > ms
            arch = moved if closer else arch
        return None


def middle_of(space: UShapeSpace) -> UShapeArch:
    """The network of the middle option of every choice."""
    choices = {name: options[len(options) // 2] for name, options in options_of(space).items()}
    return arch_of(space, choices, source=f"the middle of {space.name}")


def _moved(arch: UShapeArch, rng: np.random.Generator) -> UShapeArch:
    """One choice moved to a neighbouring option."""
    options, choices = options_of(arch.space), choices_of(arch)
    name = list(options)[int(rng.integers(len(options)))]
    row: tuple[Option, ...] = options[name]
    place = row.index(choices[name]) + (1 if rng.random() < 0.5 else -1)
    choices[name] = row[min(max(place, 0), len(row) - 1)]
    return arch_of(arch.space, choices, source="moved")
