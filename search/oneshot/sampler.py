"""Draws the networks that a step trains: one option a choice, within a band of latency, more and more of what scores.

Source: sampling within the budget as in AttentiveNAS (Wang 2021), so that no step is spent on networks that cannot be
taken; the cross-entropy method (Rubinstein 1999) moves the probabilities towards the options of the best networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cinert.errors import BadInputError
from cinert.ushape.arch import UShapeArch
from cinert.ushape.choices import Option, arch_of, choices_of, options_of
from cinert.ushape.space import UShapeSpace

EstimateMs = Callable[[UShapeArch], float]
Probabilities = dict[str, NDArray[np.float64]]
_DRAWS = 20_000
_RATE = 0.3
"""Share of the probabilities that follows the best networks at each update."""
_FLOOR = 0.1
"""Share that stays with all options alike, so that none is lost for good."""


class Sampler:
    """Probabilities of every option, and networks drawn by them.

    Args:
        space: to draw from.
        estimate_ms: of a network.
        low_ms: lower end of the band.
        high_ms: upper end of the band: the budget.
    """

    def __init__(self, space: UShapeSpace, estimate_ms: EstimateMs, *, low_ms: float, high_ms: float) -> None:
        self.space, self.estimate_ms = space, estimate_ms
        self.low_ms, self.high_ms = low_ms, high_ms
        self._options = options_of(space)
        self.probabilities: Probabilities = {
            name: np.full(len(options), 1 / len(options)) for name, options in self._options.items()
        }

    def fits(self, arch: UShapeArch) -> bool:
        """Whether the estimate lies within the band."""
        return self.low_ms <= self.estimate_ms(arch) <= self.high_ms

    def draw(self, rng: np.random.Generator) -> UShapeArch:
        """Draw a network within the band.

        Raises:
            BadInputError: none of many is.
        """
        for _ in range(_DRAWS):
            choices: dict[str, Option] = {}
            for name, options in self._options.items():
                choices[name] = options[int(rng.choice(len(options), p=self.probabilities[name]))]
            arch = arch_of(self.space, choices, source=f"a network of {self.space.name}")
            if self.fits(arch):
                return arch
        raise BadInputError(
            f"none of {_DRAWS} networks of space {self.space.name} is estimated between {self.low_ms:.3g} and"
            f" {self.high_ms:.3g} ms.",
            hint="give another --budget-ms, or a space with wider or narrower networks.",
        )

    def follow(self, best: Sequence[UShapeArch]) -> None:
        """Move the probabilities towards what the best networks chose."""
        chosen = [choices_of(arch) for arch in best]
        for name, options in self._options.items():
            share = np.array([sum(one[name] == option for one in chosen) for option in options]) / len(chosen)
            moved = (1 - _RATE) * self.probabilities[name] + _RATE * share
            self.probabilities[name] = (1 - _FLOOR) * moved + _FLOOR / len(options)

    def to_dict(self) -> dict[str, list[float]]:
        """Plain values for JSON."""
        return {name: [float(value) for value in row] for name, row in self.probabilities.items()}

    def load(self, document: dict[str, list[float]]) -> None:
        """Put back what `to_dict` gave."""
        self.probabilities = {name: np.array(row) for name, row in document.items()}
