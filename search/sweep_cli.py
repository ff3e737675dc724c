"""The command nas-sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from cinert.cli import command, data_option, fold_option, progress_bar, reserve, seed_option, wait_option
from cinert.errors import BadInputError, VerdictError
from cinert.files import check_writable
from cinert.progress import shown_as
from cinert.spaces import cells_only, load_space
from search.cli_options import amp_option, device_option, read_patients_of, say_what_was_clipped
from search.methods import METHODS, SELECTION_EPOCHS, TRAINED_EPOCHS, own
from search.say import report_sweep, say
from search.sweep import Objective, SweepSettings, reads_lambda


class Range(click.ParamType[tuple[float, float]]):
    """`A:B`, or `A` for a constant; both above zero."""

    name = "range"

    def __init__(self, kind: type[int] | type[float]) -> None:
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Read the text; click reports what cannot be read."""
        low, colon, high = str(value).partition(":")
        try:
            found = self._kind(low), self._kind(high if colon else low)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor two with a colon between them, e.g. 1:4.", param, ctx)
        if not 0 < found[0] <= found[1] < float("inf"):
            self.fail(f"{value!r} has to rise, from above zero.", param, ctx)
        return found


@command(
    "nas-sweep",
    examples="""
    nas-sweep --lut lut.json --data acdc/ --budget-ms 20:50 --paths 1:4 --trials 40 -o runs/sweep
    nas-sweep --lut lut.json --method zeng2020 --lambda 1e-5:1e-2 --budget-ms 40 --objective dice -o runs/lambda
    nas-sweep --lut lut.json --method cinert --method random --seeds 3 --epochs 20 -o runs/methods
    nas-sweep --lut lut.json --storage postgresql://host/sweeps --trials 200 -o /nfs/runs/sweep
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
    "methods",
    multiple=True,
    default=["cinert"],
    type=click.Choice(list(METHODS)),
    help="Of nas-search; several times to choose among several.",
)
@click.option(
    "--lambda",
    "latency_weight",
    type=Range(float),
    metavar="A[:B]",
    help="Weight of the latency, on a logarithmic scale; not of cinert, msnas, random and evolution."
    f" [default: a tenth to ten times {own('latency_weight')}]",
)
@click.option("--paths", default="1:4", type=Range(int), metavar="A[:B]", help="Paths to keep at most.")
@click.option("--budget-ms", default="50", type=Range(float), metavar="A[:B]", help="Latency of the network.")
@seed_option()
@click.option("--seeds", default=1, type=click.IntRange(min=1), help="Seeds of searches, from --seed on.")
@click.option(
    "--objective",
    default="pareto",
    type=click.Choice(get_args(Objective)),
    help="Dice and estimated latency at once, or the best Dice within the budget.",
)
@click.option(
    "--trials",
    default=20,
    type=click.IntRange(min=1),
    help="In all, those of other processes and earlier runs included.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=2),
    help=f"Of each search. [default: {own('epochs')}, random and evolution {TRAINED_EPOCHS}]",
)
@click.option(
    "--candidates", default=18, type=click.IntRange(min=1), help="Random, evolution: networks in the first round."
)
@click.option(
    "--train-epochs",
    default=SELECTION_EPOCHS,
    type=click.IntRange(min=1),
    help="Of the training that scores a network, on half of the training patients; Dice is that of the other half.",
)
@click.option("--batch-size", default=2, type=click.IntRange(min=1), help="Volumes in a step of a search.")
@click.option(
    "-o", "--output", default="runs/sweep", type=click.Path(path_type=Path), help="Run folder; continued if it exists."
)
@click.option(
    "--storage",
    metavar="FILE|URL",
    help="Record of the trials: a journal file, also on NFS, or a database, e.g. sqlite:///FILE or postgresql://HOST/DB."
    " [default: sweep.journal in the run folder]",
)
@device_option()
@amp_option()
@click.option("--restart", is_flag=True, help="Throw away the sweep that the run folder and the storage hold.")
@wait_option()
def nas_sweep(
    lut_path: Path,
    space_name: str | None,
    data: Path | None,
    fold: int | None,
    methods: tuple[str, ...],
    paths: tuple[int, int],
    budget_ms: tuple[float, float],
    trials: int,
    output: Path,
    storage: str | None,
    device: str,
    restart: bool,
    wait: bool,
    **told: Any,
) -> None:
    """Search many times with other settings, and train every network alike to see which settings are good.

    Writes RUN/sweep.json, the picture sweep.png, and the networks that no other beats: RUN/pareto, or RUN/arch.yaml.
    Given again, the command goes on, with a trial that was killed too. Given on several machines that share RUN, each
    works on trials of its own. A trial that fails is recorded, and the sweep goes on.
    """
    from latency.lut import load_lut
    from search.choose import require_fit, require_in_time
    from search.device import resolve_device
    from search.ranks import ALONE
    from search.sweep_run import run_sweep
    from search.sweep_study import check_storage, open_storage
    from search.torchrun import started_by_torchrun

    settings = SweepSettings(methods=tuple(dict.fromkeys(methods)), paths=paths, budget_ms=budget_ms, **told)
    if started_by_torchrun():
        raise BadInputError(
            "a sweep is not shared out by torchrun.",
            hint="start it once for each GPU, with the same -o; trials are shared.",
        )
    if settings.latency_weight is not None and not any(map(reads_lambda, settings.methods)):
        raise BadInputError(f"--lambda means nothing to --method {', '.join(settings.methods)}.", hint="leave it out.")
    check_writable(output / "sweep.json")
    lut = load_lut(lut_path)
    space = cells_only(lut.space) if space_name is None else load_space(space_name)
    chosen = [METHODS[name] for name in settings.methods]
    for method in chosen:
        require_fit(method, space, paths[1])
    # The budget is the tightest where its upper end is held.
    require_in_time(max(chosen, key=lambda method: method.holds_upper), space, lut, budget_ms[0])
    where = resolve_device(device)
    check_storage(storage, output)
    reserve(str(where), "compute", wait=wait)
    say(f"Sweeping {', '.join(settings.methods)} over space {space.name} for {lut.title}, computing on {where}.")
    with progress_bar() as bar:
        loaded = read_patients_of(bar, data, space, ALONE).fold(fold)
        say_what_was_clipped(loaded.train + loaded.validation)
        over_all = bar.add_task("trials", total=trials)
        record = run_sweep(
            space,
            lut,
            loaded,
            settings,
            trials=trials,
            storage=open_storage(storage, output),
            folder=output,
            device=where,
            progress=shown_as(bar, "trial"),
            on_trial=lambda record: bar.update(
                over_all, completed=sum(trial["state"] != "running" for trial in record["trials"])
            ),
            restart=restart,
        )
    report_sweep(record, output, settings.objective, busy=lut.busy)
    if not record["best"]:
        raise VerdictError(
            "no trial found a network within its budget.",
            hint="see the reasons in sweep.json; raise --trials to go on.",
        )


if __name__ == "__main__":
    nas_sweep()
