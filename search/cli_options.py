"""What the commands that search and train share: options, and reading the patients."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from cinert.architecture import InputGrid
from cinert.cli import Decorator, errors, progress_bar
from cinert.progress import shown_as
from search.say import say
from search.settings import Amp

if TYPE_CHECKING:
    from rich.progress import Progress

    from cinert.data.dataset import Sample
    from search.data import LoadedPatients
    from search.ranks import Ranks

# GNU OpenMP lets idle threads spin, by default so long that a search runs 3-10 times slower as soon as another program
# wants a core. Spinning briefly costs nothing on a quiet machine. Read when torch is imported, which the commands do
# late.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")


class Named(click.ParamType[str]):
    """One of some names, the name of an entry point, or a function as module:function.

    What a package adds is imported when it is used: a mistyped name and --help should not wait for it.

    Args:
        names: that CineRT itself has.
        group: of the entry points.
        functions: whether module:function is taken.
    """

    name = "name"

    def __init__(self, names: Sequence[str], group: str, *, functions: bool = False) -> None:
        self._names, self._group, self._functions = names, group, functions

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help shows for the value."""
        del param, ctx
        return f"[{'|'.join([*self._names, *(['MODULE:FUNCTION'] if self._functions else [])])}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take a name that there is; click reports any other."""
        known = [*self._names, *sorted(entry.name for entry in entry_points(group=self._group))]
        if value not in known and not (self._functions and ":" in value):
            more = " or module:function" if self._functions else ""
            self.fail(f"{value!r} is not one of {', '.join(map(repr, known))}{more}.", param, ctx)
        return str(value)


def device_option() -> Decorator:
    """`--device`."""
    return click.option(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda:N",
        help="Where to compute; under torchrun auto, cpu or cuda, and each process takes the GPU of its number.",
    )


def amp_option() -> Decorator:
    """`--amp`."""
    return click.option(
        "--amp",
        default="auto",
        type=click.Choice(get_args(Amp)),
        help="Mixed precision; auto: bf16 on a GPU that has it, fp16 on one that has not, off on a CPU.",
    )


def bar_of(ranks: Ranks) -> Progress:
    """A progress bar, which of several processes the first alone shows."""
    return progress_bar(shown=ranks.is_main)


def read_patients_of(bar: Progress, data: Path | None, grid: InputGrid, ranks: Ranks) -> LoadedPatients:
    """Read the data under a progress bar; the first process fills the cache for the others."""
    from search.data import load_patients

    def load() -> LoadedPatients:
        return load_patients(data, grid, progress=shown_as(bar, "reading"))

    found = load() if ranks.is_main else None
    ranks.from_main(lambda: None)
    loaded = found or load()
    if loaded.cache.trouble is not None and ranks.is_main:
        errors.print(f"Note: read patients are not kept for the next time: {loaded.cache.trouble}", markup=False)
    return loaded


def say_what_was_clipped(samples: list[Sample]) -> None:
    """Say what the crop lost."""
    clipped = [sample for sample in samples if sample.kept_share < 1]
    if clipped:
        worst = min(clipped, key=lambda sample: sample.kept_share)
        say(
            f"Note: the crop loses labelled voxels in {len(clipped)} of {len(samples)} frames,"
            f" the most in {worst.patient_id} frame {worst.frame}: {100 * (1 - worst.kept_share):.1f} %."
        )
