"""`nas-search` in a space of U-shapes: what the command does there, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click
from click.core import ParameterSource

from cinert.cli import claim_run, reserve
from cinert.errors import BadInputError
from cinert.progress import shown_as
from cinert.ushape.space import UShapeSpace
from search.cli_options import bar_of, read_patients_of, say_what_was_clipped
from search.methods import USHAPE_METHOD
from search.say import say

if TYPE_CHECKING:
    import torch

    from latency.lut import Lut
    from search.oneshot.run import OneShotResult

_READ = {
    "lut_path", "space_name", "data", "fold", "method", "budget_ms", "epochs", "candidates", "least_share", "seed",
    "output", "batch_size", "learning_rate", "device", "restart", "wait",
}  # fmt: skip


T = TypeVar("T")


def given(name: str, value: T) -> T | None:
    """An option's value if the user gave it; its default is that of spaces of cells."""
    source = click.get_current_context().get_parameter_source(name)
    return None if source is ParameterSource.DEFAULT else value


def refuse_unread(space: UShapeSpace, *, processes: int) -> None:
    """Refuse what a one-shot search does not read: an option that was given, and more than one process.

    Raises:
        BadInputError: naming it.
    """
    context = click.get_current_context()
    if processes > 1:
        raise BadInputError(
            f"{processes} processes share this search, and a search of U-shapes runs in one.",
            hint="start nas-search without torchrun.",
        )
    method = context.params["method"]
    if method not in (None, USHAPE_METHOD):
        raise BadInputError(
            f"--method {method} searches cells, and space {space.name} is one of U-shapes.",
            hint=f"leave --method out (it is {USHAPE_METHOD} there), or give a LUT of a space of cells.",
        )
    for parameter in context.command.params:
        name = str(parameter.name)
        if parameter.expose_value and name not in _READ and given(name, True):
            raise BadInputError(
                f"{parameter.opts[0]} means nothing in space {space.name}, which is one of U-shapes.",
                hint="leave it out.",
            )


def search_ushapes(space: UShapeSpace, lut: Lut, *, device: torch.device, processes: int) -> OneShotResult:
    """Do what the options of the running nas-search ask for in a space of U-shapes, and say what was found.

    Args:
        space: to search.
        lut: prices of the device that will run the network.
        device: where to compute.
        processes: that were started together.

    Raises:
        BadInputError: an option that is not read, data that cannot be read, or as `run_oneshot`.
    """
    from search.oneshot.loop import OneShotSettings
    from search.oneshot.run import grid_of, run_oneshot
    from search.ranks import ALONE

    refuse_unread(space, processes=processes)
    told = click.get_current_context().params
    budget_ms: float = told["budget_ms"]
    own = {"epochs": "epochs", "population": "candidates", "least_share": "least_share", "batch_size": "batch_size"}
    named = {field: given(name, told[name]) for field, name in own.items()}
    settings = OneShotSettings(
        seed=told["seed"],
        learning_rate=told["learning_rate"],
        **{field: value for field, value in named.items() if value is not None},
    )
    reserve(str(device), "compute", wait=told["wait"])
    claim_run(told["output"])
    say(f"Searching space {space.name} by {USHAPE_METHOD} for {lut.title} (LUT {lut.id}), computing on {device}.")
    with bar_of(ALONE) as bar:
        folds = {
            number: read_patients_of(bar, told["data"], grid_of(space, number), ALONE).fold(told["fold"])
            for number in range(len(space.grids))
        }
        say_what_was_clipped(folds[0].train + folds[0].validation)
        result = run_oneshot(
            space,
            lut,
            folds,
            settings,
            budget_ms=budget_ms,
            folder=told["output"],
            device=device,
            progress=shown_as(bar, "searching"),
            restart=told["restart"],
        )
    _report(result, settings.epochs, budget_ms)
    return result


def _report(result: OneShotResult, epochs: int, budget_ms: float) -> None:
    arch, folder = result.arch, result.folder
    if result.resumed_at:
        say(f"Continued after epoch {result.resumed_at} of {epochs}.")
    shape, estimate = arch.shape, arch.estimate or {}
    grid = arch.chosen_grid
    say(
        f"  widths {', '.join(map(str, shape.widths))} on {'x'.join(map(str, grid.shape_DHW))} voxels of"
        f" {' x '.join(f'{mm:.3g}' for mm in grid.spacing_mm)} mm"
    )
    for name, way in (("down", shape.encoder), ("up", shape.decoder)):
        say(f"  {name}: {'; '.join(', '.join(blocks) or 'stem alone' for blocks in way)}")
    say(
        f"{estimate['ms']:.1f} ms estimated, at most {estimate['high_ms']:.1f} ms, within the budget of"
        f" {budget_ms:g} ms."
    )
    ahead, error = result.lead
    decided = "more than" if ahead > 2 * error else "no more than"
    say(
        f"Dice {result.scored[0].dice:.3f} with shared weights on patients that those did not see, the best of"
        f" {len(result.scored)}: ahead of the fifth by {ahead:.4f}, {decided} two standard errors ({error:.4f} each)."
    )
    say(f"Wrote {folder / 'arch.yaml'}, and arch.png and inherited.safetensors beside it.")
    say(f"Next: train-arch {folder / 'arch.yaml'} --init {folder}")
