"""A network of a space as one option for each choice: what is drawn, mutated and sampled."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cinert.ushape.arch import UShapeArch
from cinert.ushape.shape import Blocks
from cinert.ushape.space import UShapeSpace

Option = int | str
Choices = Mapping[str, Option]
WAYS = ("encoder", "decoder")


def options_of(space: UShapeSpace) -> dict[str, tuple[Option, ...]]:
    """Every choice of a space with its options.

    Example:
        >>> from cinert.space import load_any_space
        >>> options_of(load_any_space("cardiac-small"))["encoder.0.depth"]
        (0, 1, 2)
    """
    options: dict[str, tuple[Option, ...]] = {"grid": tuple(range(len(space.grids)))}
    for level, widths in enumerate(space.widths):
        options[f"width.{level}"] = widths
    for way in WAYS:
        for level, depths in enumerate(getattr(space, f"{way}_depths")):
            options[f"{way}.{level}.depth"] = depths
            for place in range(depths[-1]):
                options[f"{way}.{level}.{place}"] = space.blocks[level]
    return options


def arch_of(space: UShapeSpace, choices: Choices, *, source: str) -> UShapeArch:
    """The network that some choices make; blocks beyond a level's depth are left out."""

    def way(name: str, levels: int) -> tuple[Blocks, ...]:
        return tuple(
            tuple(str(choices[f"{name}.{level}.{place}"]) for place in range(int(choices[f"{name}.{level}.depth"])))
            for level in range(levels)
        )

    widths = tuple(int(choices[f"width.{level}"]) for level in range(space.levels))
    shape = space.shape(widths, way("encoder", space.levels), way("decoder", space.levels - 1))
    return UShapeArch(space=space, grid_number=int(choices["grid"]), shape=shape, source=source)


def choices_of(arch: UShapeArch) -> dict[str, Option]:
    """The choices behind a network; for blocks beyond a level's depth, the first that the level offers."""
    choices = {name: options[0] for name, options in options_of(arch.space).items()}
    choices["grid"] = arch.grid_number
    choices |= {f"width.{level}": width for level, width in enumerate(arch.shape.widths)}
    for way in WAYS:
        for level, blocks in enumerate(getattr(arch.shape, way)):
            choices[f"{way}.{level}.depth"] = len(blocks)
            choices |= {f"{way}.{level}.{place}": name for place, name in enumerate(blocks)}
    return choices


def random_choices(space: UShapeSpace, rng: np.random.Generator) -> dict[str, Option]:
    """Draw every choice on its own, each option alike."""
    return {name: options[int(rng.integers(len(options)))] for name, options in options_of(space).items()}


def random_ushape(space: UShapeSpace, rng: np.random.Generator) -> UShapeArch:
    """A random network of the space."""
    return arch_of(space, random_choices(space, rng), source="random")


def mutated(arch: UShapeArch, rng: np.random.Generator, *, rate: float) -> UShapeArch:
    """Draw each choice anew with a probability of `rate` (evolution: Real 2019)."""
    fresh = random_choices(arch.space, rng)
    choices = {name: fresh[name] if rng.random() < rate else old for name, old in choices_of(arch).items()}
    return arch_of(arch.space, choices, source="mutated")


def crossed(a: UShapeArch, b: UShapeArch, rng: np.random.Generator) -> UShapeArch:
    """Take each choice from one of two networks, at random."""
    other = choices_of(b)
    choices = {name: option if rng.random() < 0.5 else other[name] for name, option in choices_of(a).items()}
    return arch_of(a.space, choices, source="crossed")
