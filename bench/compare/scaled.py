"""Designed networks of a comparison at a given latency: scaled once, and trained with every seed."""

from __future__ import annotations

from pathlib import Path

from bench.compare.recipes import Scaled
from bench.compare.setting import Setting
from bench.scaling import scale_to_budget
from cinert.arch import load_arch, save_arch
from cinert.architecture import Architecture
from cinert.baselines.kinds import KINDS, design
from cinert.progress import Advance
from cinert.timing import Protocol
from latency.profile import Setup

DESIGNED = "designed"
"""Folder of what was scaled."""


def scaled_design(recipe: Scaled, setting: Setting, show: Advance) -> Architecture:
    """The network of a recipe, from the run's folder where another seed asked for it before.

    Raises:
        BadInputError: no widths take as long.
        MachineBusyError: the machine does not become quiet.
    """
    path: Path = setting.folder / DESIGNED / f"{recipe.kind}-{recipe.latency_ms:g}ms.yaml"
    if not path.exists():
        setup = Setup(
            backend=setting.backend,
            device=setting.engine_device,
            threads=setting.threads,
            precision=setting.precision,
            protocol=Protocol(tolerant=setting.lut is not None and setting.lut.busy),
            # What preempts the process is not counted where the minutes are not either.
            clock="cpu" if setting.terms.clock == "cpu" and setting.threads == 1 else "wall",
        )
        space = setting.space
        made = scale_to_budget(
            lambda widths: design(recipe.kind, space, widths),
            KINDS[recipe.kind].default_widths(space.scales),
            recipe.latency_ms,
            setup,
            say=lambda text: show(f"scaling: {text}", 0, 1),
        )
        save_arch(path, made)
    return load_arch(path)
