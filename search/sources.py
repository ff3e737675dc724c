"""What a training is given beside its data: weights to begin with, and a network to learn from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cinert.architecture import Architecture
from cinert.bundle_manifest import WEIGHTS
from cinert.network import build_network
from search.distillation import build_teacher
from search.initial import require_match
from search.run_folder import INHERITED, SUPERNET
from search.source import Source, find_source, read_source, refuse_other_grid, refuse_source_that_saw


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Weights of others that a training reads."""

    initial: Source | None = None
    """To begin with."""
    teacher: Source | None = None
    """To learn from."""

    @property
    def digests(self) -> dict[str, str | None]:
        """By the name that they have in `TrainingSettings`."""
        return {
            "init": None if self.initial is None else self.initial.digest,
            "teacher": None if self.teacher is None else self.teacher.digest,
        }

    @property
    def seen(self) -> list[Mapping[str, Any]]:
        """{id, digest} of all patients behind them."""
        return [record for source in self._given() for record in source.seen]

    def refuse_if_seen(self, held_out: Mapping[str, str]) -> None:
        """Refuse them where one saw patients whom the training holds out; as `refuse_source_that_saw`."""
        for source in self._given():
            refuse_source_that_saw(source, held_out)

    def _given(self) -> list[Source]:
        return [source for source in (self.initial, self.teacher) if source is not None]


NOTHING = Sources()
"""From scratch, and from the labels alone."""


def read_sources(arch: Architecture, *, init: Path | None, teacher: Path | None, written: Collection[Path]) -> Sources:
    """Read what a user named, and refuse what the network cannot use.

    Args:
        arch: to train.
        init: run folder or file of weights to begin with.
        teacher: run folder of a trained network.
        written: weights that the trainings will write.

    Raises:
        BadInputError: as `find_source`, `read_source`, `refuse_other_grid`, `require_match` and `build_teacher`.
    """
    initial = teaching = None
    if init is not None:
        initial = read_source(find_source(init, names=(WEIGHTS, INHERITED, SUPERNET), written=written))
        refuse_other_grid(initial, arch)
        require_match(build_network(arch), initial)
    if teacher is not None:
        teaching = read_source(find_source(teacher, names=(WEIGHTS,), written=written))
        build_teacher(teaching)
        refuse_other_grid(teaching, arch)
    return Sources(initial=initial, teacher=teaching)
