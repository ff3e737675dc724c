"""The command train-arch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cinert.arch import load_arch
from cinert.architecture import Architecture
from cinert.bundle_manifest import LOCALISER, WEIGHTS
from cinert.cli import claim_run, command, data_option, parse_fold, reserve, seed_option, wait_option
from cinert.errors import BadInputError
from cinert.files import check_writable
from search.cli_options import amp_option, bar_of, device_option, read_patients_of, say_what_was_clipped
from search.say import report_folds, report_training, say, warn_of_seen
from search.train_options import recipe_options, refuse_without_teacher, source_options

if TYPE_CHECKING:
    import torch
    from rich.progress import Progress

    from search.data import FoldData
    from search.localise import LocaliserSettings
    from search.ranks import Ranks
    from search.sources import Sources
    from search.train_run import TrainingResult
    from search.training import TrainingSettings

EACH = "each"


def _parse_folds(text: str) -> int | str | None:
    return EACH if text == EACH else parse_fold(text)


@command(
    "train-arch",
    examples="""
    train-arch runs/search/arch.yaml
    train-arch arch.yaml --data acdc/ --fold all -o runs/final
    train-arch arch.yaml --data acdc/ --fold each -o runs/five
    train-arch arch.yaml --data phantom/ --epochs 40 -o runs/quick
    train-arch arch.yaml --init runs/other --deep-supervision 0.3 -o runs/next
    train-arch arch.yaml --teacher runs/large -o runs/small
    torchrun --nproc-per-node 4 --no-python train-arch arch.yaml --data acdc/ -o runs/fast
    """,
)
@click.argument("arch_path", metavar="ARCH.yaml", type=click.Path(path_type=Path))
@data_option()
@click.option(
    "--fold",
    default="0",
    metavar="0..4|all|each",
    callback=lambda _ctx, _param, value: _parse_folds(value),
    help="Fold whose patients are held out (5 folds by patient), 'all' to use every patient, or 'each' to train and"
    " score all folds, in RUN/fold-0 to RUN/fold-4.",
)
@click.option("--epochs", default=300, type=click.IntRange(min=1), help="Passes over the training frames.")
@seed_option()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Run folder, continued if it exists; the folder of ARCH.yaml if not given.",
)
@click.option(
    "--batch-size", default=4, type=click.IntRange(min=1), help="Volumes in a step, of all processes together."
)
@recipe_options()
@source_options()
@click.option("--validate-every", default=5, type=click.IntRange(min=1), help="Epochs between validations.")
@device_option()
@amp_option()
@click.option(
    "--localiser/--no-localiser",
    default=True,
    help="Train the small network that finds the heart; without it crops are centred on the image.",
)
@click.option("--localiser-steps", default=1200, type=click.IntRange(min=1), help="Steps of the localiser's training.")
@click.option("--restart", is_flag=True, help="Throw away the training that the run folder holds.")
@wait_option()
def train_arch(
    arch_path: Path,
    data: Path | None,
    fold: int | str | None,
    output: Path | None,
    validate_every: int,
    device: str,
    localiser: bool,
    localiser_steps: int,
    init: Path | None,
    teacher: Path | None,
    restart: bool,
    wait: bool,
    **told: Any,
) -> None:
    """Train the network of ARCH.yaml, and the localiser that centres its crop on the heart.

    Writes RUN/weights.safetensors, localiser.safetensors, metrics.json, and the training curve. An interrupted training
    continues when the same command is given again. It starts from scratch, or from other weights (--init). Dice is on
    the network's grid, cropped about the labels; evaluate-bundle scores on the original grid, cropped by the localiser.
    """
    from search.folds import fold_folder, summarise_folds, write_folds
    from search.localise import LocaliserSettings
    from search.out_of_memory import fits_in_memory
    from search.sources import read_sources
    from search.torchrun import joined
    from search.training import TrainingSettings

    refuse_without_teacher()
    hint = "begin anew (--restart) with a smaller --batch-size."
    with joined(device) as (ranks, where), fits_in_memory(where, hint=hint):
        arch = load_arch(arch_path)
        folder = arch_path.parent if output is None else output
        check_writable(folder / WEIGHTS)
        reserve(str(where), "compute", wait=wait)
        ranks.from_main(lambda: claim_run(folder))
        # Into how many folds the data are divided is not known yet: whatever lies below the run is written by it.
        own = [folder / WEIGHTS, *folder.glob(f"fold-*/{WEIGHTS}")] if fold == EACH else [folder / WEIGHTS]
        sources = ranks.from_main(lambda: read_sources(arch, init=init, teacher=teacher, written=own))
        told |= sources.digests
        settings = TrainingSettings(**told)
        how = LocaliserSettings(steps=localiser_steps, seed=settings.seed) if localiser else None
        with bar_of(ranks) as bar:
            loaded = read_patients_of(bar, data, arch.grid, ranks)
            say_what_was_clipped(loaded.samples)
            if fold == EACH and loaded.folds < 2:
                raise BadInputError(
                    f"--fold each trains on each of several folds, and {data} brings one of its own.",
                    hint="say --fold 0.",
                )
            if fold == EACH:
                trainings = [(fold_folder(folder, number), loaded.fold(number)) for number in range(loaded.folds)]
                ranks.from_main(lambda: claim_run(*(into for into, _ in trainings)))
            else:
                assert not isinstance(fold, str)
                trainings = [(folder, loaded.fold(fold))]
            for _, found in trainings:
                sources.refuse_if_seen(loaded.digests_of(found.validation))
            # Before the localiser is trained, so that nothing is spent or written on a folder that will be refused.
            ranks.from_main(lambda: _prepare(trainings, arch, settings, localiser=localiser, restart=restart))
            _say_how(arch, settings, sources)
            results = []
            for into, found in trainings:
                warn_of_seen(arch, found)
                results.append(
                    _train(
                        bar,
                        into,
                        arch,
                        found,
                        data,
                        settings,
                        how,
                        validate_every=validate_every,
                        device=where,
                        ranks=ranks,
                        sources=sources,
                    )
                )
        for result in results:
            report_training(result, settings.epochs)
        if fold == EACH:
            summary = summarise_folds(results)
            if ranks.is_main:
                write_folds(folder, summary)
            report_folds(summary, folder)


def _say_how(arch: Architecture, settings: TrainingSettings, sources: Sources) -> None:
    """Say what the network begins with, and when a switch finds nothing to act on in it."""
    from cinert.network import build_network
    from search.initial import matching

    network = build_network(arch)
    if sources.initial is not None:
        say(f"Begins with {sources.initial.path}: {matching(network, sources.initial.tensors)}.")
    if settings.deep_supervision and not network.side_outputs():
        say(
            f"Note: {arch.source} has no level between its coarsest and its finest on the way up:"
            " --deep-supervision has no effect."
        )


def _prepare(
    trainings: Sequence[tuple[Path, FoldData]],
    arch: Architecture,
    settings: TrainingSettings,
    *,
    localiser: bool,
    restart: bool,
) -> None:
    """Make the run folders, or refuse one that holds something else, before any of them is worked on."""
    from search.train_run import prepare_training, training_identity

    for folder, found in trainings:
        prepare_training(folder, arch, training_identity(arch, found, settings), restart=restart)
        if restart and localiser:
            (folder / LOCALISER).unlink(missing_ok=True)


def _train(
    bar: Progress,
    folder: Path,
    arch: Architecture,
    found: FoldData,
    data: Path | None,
    settings: TrainingSettings,
    localiser: LocaliserSettings | None,
    *,
    validate_every: int,
    device: torch.device,
    ranks: Ranks,
    sources: Sources,
) -> TrainingResult:
    """Train localiser and network on a fold, each under a progress bar of its own."""
    from search.localise_run import ensure_localiser
    from search.train_run import run_training

    name = "" if found.fold is None else f", fold {found.fold}"
    if localiser is not None and data is not None:
        task = bar.add_task("localiser", total=None)
        ranks.from_main(
            lambda: ensure_localiser(
                folder,
                data,
                found.fold,
                localiser,
                device,
                progress=lambda what, done, total: bar.update(
                    task, completed=done, total=total, description=what + name
                ),
            )
        )
        bar.update(task, completed=1, total=1, description=f"localiser{name}")
    task = bar.add_task("training", total=None)
    return run_training(
        arch,
        found,
        settings,
        folder=folder,
        device=device,
        validate_every=validate_every,
        progress=lambda what, done, total: bar.update(task, completed=done, total=total, description=what + name),
        ranks=ranks,
        sources=sources,
    )


if __name__ == "__main__":
    train_arch()
