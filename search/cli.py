"""The commands nas-search and train-arch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cinert.arch import load_arch
from cinert.architecture import Architecture, InputGrid
from cinert.cli import command, console, data_option, fold_option, progress_bar, reserve, seed_option, wait_option
from cinert.errors import BadInputError
from cinert.files import check_writable
from cinert.space import load_space

if TYPE_CHECKING:
    import torch
    from rich.progress import Progress

    from search.data import FoldData
    from search.halving import HalvingResult
    from search.localise import LocaliserSettings
    from search.run import SearchResult

# GNU OpenMP lets idle threads spin, by default so long that a search runs 3-10 times slower as soon as another program
# wants a core. Spinning briefly costs nothing on a quiet machine. Read when torch is imported, which the commands do
# late.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

_DEVICE = click.option("--device", default="auto", metavar="auto|cpu|cuda:N", help="Where to compute.")


@command(
    "nas-search",
    examples="""
    nas-search --lut trt_lut.json
    nas-search --lut lut.json --space small --data acdc/ --budget-ms 40 -o runs/small
    nas-search --lut lut.json --data phantom/ --epochs 8 -o runs/quick
    """,
)
@click.option(
    "--lut", "lut_path", required=True, type=click.Path(path_type=Path), help="Latency table, from bench-ops."
)
@click.option("--space", "space_name", metavar="NAME|FILE", help="Search space; the LUT's own if not given.")
@data_option()
@fold_option()
@click.option(
    "--method",
    default="zeng2020",
    type=click.Choice(["zeng2020", "random"]),
    help="Differentiable, with the latency in the loss; or random networks within the budget, the best of which train"
    " on (successive halving).",
)
@click.option("--paths", default=2, type=int, help="n: paths in the latency term, and to keep at most.")
@click.option("--budget-ms", default=50.0, type=click.FloatRange(min=0, min_open=True), help="Latency of the network.")
@click.option(
    "--epochs",
    default=60,
    type=click.IntRange(min=2),
    help="Epochs; the first half learns weights alone, the second weights and architecture in turn. Random: epochs of"
    " the last round.",
)
@click.option(
    "--candidates",
    default=18,
    type=click.IntRange(min=1),
    help="Random: networks in the first round; a third of them, for longer, in each of the next two.",
)
@seed_option()
@click.option(
    "-o", "--output", default="runs/search", type=click.Path(path_type=Path), help="Run folder; continued if it exists."
)
@click.option(
    "--lambda",
    "latency_weight",
    default=1e-4,
    type=click.FloatRange(min=0),
    help="Weight of the latency in the loss, per millisecond (zeng2020).",
)
@click.option("--batch-size", default=2, type=click.IntRange(min=1), help="Volumes in a step.")
@click.option(
    "--learning-rate", default=0.01, type=click.FloatRange(min=0, min_open=True), help="Of the supernet's weights."
)
@click.option(
    "--arch-learning-rate",
    default=0.02,
    type=click.FloatRange(min=0, min_open=True),
    help="Of the architecture parameters (zeng2020).",
)
@_DEVICE
@click.option("--restart", is_flag=True, help="Throw away the search that the run folder holds.")
@wait_option()
def nas_search(
    lut_path: Path,
    space_name: str | None,
    data: Path | None,
    fold: int | None,
    method: str,
    paths: int,
    budget_ms: float,
    epochs: int,
    candidates: int,
    seed: int,
    output: Path,
    latency_weight: float,
    batch_size: int,
    learning_rate: float,
    arch_learning_rate: float,
    device: str,
    restart: bool,
    wait: bool,
) -> None:
    """Find a network that is accurate on the data and fast on the LUT's device.

    Writes RUN/arch.yaml, its picture arch.png, and the search's log. An interrupted search continues when the same
    command is given again.
    """
    # Imported late: torch takes seconds, and --help and mistyped options should not wait for it.
    from latency.lut import load_lut
    from search.device import resolve_device
    from search.halving import HalvingSettings
    from search.longest import require_paths
    from search.loop import SearchSettings
    from search.random_run import run_random_search
    from search.run import run_search

    _refuse_options_of_another_method(method)
    check_writable(output / "arch.yaml")
    lut = load_lut(lut_path)
    space = lut.space if space_name is None else load_space(space_name)
    require_paths(space, paths)
    where = resolve_device(device)
    reserve(str(where), "compute", wait=wait)
    _say(f"Searching space {space.name} for {lut.device_name} (LUT {lut.id}), computing on {where}.")
    with progress_bar() as bar:
        found = _load(bar, data, space, fold)
        task = bar.add_task("searching", total=None)
        common: dict[str, Any] = {
            "budget_ms": budget_ms,
            "folder": output,
            "device": where,
            "advance": lambda done, total: bar.update(task, completed=done, total=total),
            "restart": restart,
        }
        if method == "random":
            halving = HalvingSettings(
                candidates=candidates,
                epochs=epochs,
                paths=paths,
                seed=seed,
                batch_size=batch_size,
                learning_rate=learning_rate,
            )
            best = run_random_search(space, lut, found, halving, **common)
        else:
            settings = SearchSettings(
                epochs=epochs,
                paths=paths,
                latency_weight=latency_weight,
                seed=seed,
                batch_size=batch_size,
                learning_rate=learning_rate,
                arch_learning_rate=arch_learning_rate,
            )
            result = run_search(space, lut, found, settings, **common)
    if method == "random":
        _report_random(best, candidates, output)
        return
    if result.resumed_at:
        _say(f"Continued after epoch {result.resumed_at} of {epochs}.")
    _report_search(result, budget_ms)


def _refuse_options_of_another_method(method: str) -> None:
    """Refuse an option that was given and that the method does not read, rather than ignore it."""
    context = click.get_current_context()
    foreign = {"random": ("latency_weight", "arch_learning_rate"), "zeng2020": ("candidates",)}[method]
    for parameter in context.command.params:
        given = context.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT
        if parameter.name in foreign and given:
            raise BadInputError(
                f"{parameter.opts[0]} {context.params[parameter.name]} means nothing to --method {method}.",
                hint="leave it out, or choose the other method.",
            )


def _report_random(best: HalvingResult, candidates: int, folder: Path) -> None:
    for path in best.arch.paths:
        _say(f"  path [{', '.join(path)}]")
    ms = (best.arch.estimate or {})["ms"]
    _say(f"{ms:.1f} ms estimated; the best of {candidates}, Dice {best.score:.3f} on the other half of the patients.")
    _say(f"Wrote {folder / 'arch.yaml'} and arch.png beside it. Next: train-arch {folder / 'arch.yaml'}")


@command(
    "train-arch",
    examples="""
    train-arch runs/search/arch.yaml
    train-arch arch.yaml --data acdc/ --fold all -o runs/final
    train-arch arch.yaml --data phantom/ --epochs 40 -o runs/quick
    """,
)
@click.argument("arch_path", metavar="ARCH.yaml", type=click.Path(path_type=Path))
@data_option()
@fold_option()
@click.option("--epochs", default=300, type=click.IntRange(min=1), help="Passes over the training frames.")
@seed_option()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Run folder, continued if it exists; the folder of ARCH.yaml if not given.",
)
@click.option("--batch-size", default=4, type=click.IntRange(min=1), help="Volumes in a step.")
@click.option("--learning-rate", default=0.01, type=click.FloatRange(min=0, min_open=True), help="Peak of the cosine.")
@click.option("--validate-every", default=5, type=click.IntRange(min=1), help="Epochs between validations.")
@_DEVICE
@click.option(
    "--localiser/--no-localiser",
    default=True,
    help="Train the small network that finds the heart; without it crops are centred on the image.",
)
@click.option("--localiser-steps", default=600, type=click.IntRange(min=1), help="Steps of the localiser's training.")
@click.option("--restart", is_flag=True, help="Throw away the training that the run folder holds.")
@wait_option()
def train_arch(
    arch_path: Path,
    data: Path | None,
    fold: int | None,
    epochs: int,
    seed: int,
    output: Path | None,
    batch_size: int,
    learning_rate: float,
    validate_every: int,
    device: str,
    localiser: bool,
    localiser_steps: int,
    restart: bool,
    wait: bool,
) -> None:
    """Train the network of ARCH.yaml from scratch, and the localiser that centres its crop on the heart.

    Writes RUN/weights.safetensors, localiser.safetensors, metrics.json, and the training curve. An interrupted training
    continues when the same command is given again. Dice is on the network's grid, cropped about the labels;
    evaluate-bundle scores on the original grid, cropped by the localiser.
    """
    from search.device import resolve_device
    from search.localise import LocaliserSettings
    from search.train_run import prepare_training, run_training, training_identity
    from search.training import TrainingSettings

    arch = load_arch(arch_path)
    folder = arch_path.parent if output is None else output
    check_writable(folder / "weights.safetensors")
    where = resolve_device(device)
    reserve(str(where), "compute", wait=wait)
    settings = TrainingSettings(epochs=epochs, seed=seed, batch_size=batch_size, learning_rate=learning_rate)
    with progress_bar() as bar:
        found = _load(bar, data, arch.grid, fold)
        _warn_of_seen(arch, found)
        # Before the localiser is trained, so that nothing is spent or written on a folder that will be refused.
        prepare_training(folder, arch, training_identity(arch, found, settings), restart=restart)
        if localiser and data is not None:
            how = LocaliserSettings(steps=localiser_steps, seed=seed)
            _train_localiser(bar, folder, data, fold, how, device=where, restart=restart)
        task = bar.add_task("training", total=None)
        result = run_training(
            arch,
            found,
            settings,
            folder=folder,
            device=where,
            validate_every=validate_every,
            advance=lambda done, total, text: bar.update(task, completed=done, total=total, description=text),
            restart=restart,
        )
    if result.resumed_at:
        _say(f"Continued after epoch {result.resumed_at} of {epochs}.")
    mean = result.metrics["validation"]["mean"]
    if mean is None:
        _say("No patient was held out, so there is no validation Dice.")
    else:
        classes = ", ".join(f"{name.upper()} {mean[name]:.3f}" for name in ("rv", "myo", "lv"))
        held_out = result.metrics["patients"]["validation"]
        _say(f"Dice on {held_out} held-out patients, network grid: {classes}, mean {mean['mean']:.3f}.")
    _say(f"Wrote {folder / 'weights.safetensors'}. Next: export-engine {folder / 'arch.yaml'}")


def _train_localiser(
    bar: Progress,
    folder: Path,
    data: Path,
    fold: int | None,
    settings: LocaliserSettings,
    *,
    device: torch.device,
    restart: bool,
) -> None:
    from search.localise_run import ensure_localiser

    task = bar.add_task("localiser", total=None)
    ensure_localiser(
        folder,
        data,
        fold,
        settings,
        device,
        progress=lambda what, done, total: bar.update(task, completed=done, total=total, description=what),
        restart=restart,
    )
    bar.update(task, completed=1, total=1, description="localiser")


def _warn_of_seen(arch: Architecture, found: FoldData) -> None:
    """Say so when the search has already seen patients that this training holds out."""
    seen = {record["id"] for record in arch.provenance.get("seen_patients", [])}
    both = sorted(seen & {sample.patient_id for sample in found.validation})
    if both:
        _say(
            f"Note: the search of {arch.source} saw {len(both)} of the held-out patients ({', '.join(both[:3])}"
            f"{', ...' if len(both) > 3 else ''}): their Dice flatters. Use the search's --fold."
        )


def _report_search(result: SearchResult, budget_ms: float) -> None:
    decoded = result.decoded
    for path, probability in zip(decoded.arch.paths, decoded.probabilities, strict=True):
        _say(f"  path [{', '.join(path)}], probability {probability:.3g}")
    ms = (decoded.arch.estimate or {})["ms"]
    if decoded.budget_met:
        over = {"paths": decoded.paths_passed_over, "sets of cells": decoded.cells_passed_over}
        more = " and ".join(f"{count} more probable {what}" for what, count in over.items() if count)
        _say(
            f"{ms:.1f} ms estimated, within the budget of {budget_ms:g} ms"
            + (f"; {more} would have missed it." if more else ".")
        )
    else:
        _say(
            f"{ms:.1f} ms estimated: nothing fits the budget of {budget_ms:g} ms; the most probable path is kept."
            " Search with a larger --lambda, or a smaller space."
        )
    _say(f"Wrote {result.folder / 'arch.yaml'} and arch.png beside it. Next: train-arch {result.folder / 'arch.yaml'}")


def _load(bar: Progress, data: Path | None, grid: InputGrid, fold: int | None) -> FoldData:
    """Read the data under a progress bar, and say what the crop lost."""
    from search.data import load_fold

    task = bar.add_task("reading", total=None)
    found = load_fold(data, grid, fold, progress=lambda done, total: bar.update(task, completed=done, total=total))
    clipped = [sample for sample in found.train + found.validation if sample.kept_share < 1]
    if clipped:
        worst = min(clipped, key=lambda sample: sample.kept_share)
        _say(
            f"Note: the crop loses labelled voxels in {len(clipped)} of {len(found.train + found.validation)} frames,"
            f" the most in {worst.patient_id} frame {worst.frame}: {100 * (1 - worst.kept_share):.1f} %."
        )
    return found


def _say(text: str) -> None:
    console.print(text, markup=False)
