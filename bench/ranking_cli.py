"""Command bench-ranking: whether a search with shared weights ranks networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from cinert.cli import (
    FiniteRange,
    claim_run,
    command,
    console,
    data_option,
    progress_bar,
    reserve,
    wait_option,
)
from cinert.errors import BadInputError
from cinert.files import check_output_file, write_json

_WORDS = {
    "inherited": "Dice with shared weights",
    "flops": "FLOPs",
    "ms": "estimated latency",
    "ceiling": "a second training",
}


@command(
    "bench-ranking",
    examples="""
bench-ranking --search runs/search --lut lut.json --data acdc -o runs/ranking
bench-ranking --search runs/search --lut lut.json --data acdc --networks 8 --minutes 5 --clock cpu -o runs/quick
""",
)
@click.option(
    "--search",
    "search_folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Run folder of nas-search in a space of U-shapes, finished.",
)
@click.option("--lut", "lut_path", required=True, type=click.Path(path_type=Path), help="The LUT that it read.")
@data_option()
@click.option("--fold", default=0, type=click.IntRange(0, 4), help="The fold that it read.")
@click.option("--networks", default=16, type=click.IntRange(min=3), help="Random networks, over 3x in latency.")
@click.option("--minutes", default=10.0, type=FiniteRange(min=0, min_open=True), help="Of each training.")
@click.option("--seeds", default=2, type=click.IntRange(min=1), help="Trainings of each network, from seed 0 on.")
@click.option(
    "--clock",
    default="wall",
    type=click.Choice(["wall", "cpu"]),
    help="What minutes are counted by; cpu: CPU time over threads, where others compute on the machine.",
)
@click.option("--device", default="auto", metavar="auto|cpu|cuda:N", help="Where to compute.")
@wait_option()
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Run folder; continued if it exists."
)
def bench_ranking(
    *,
    search_folder: Path,
    lut_path: Path,
    data: Path | None,
    fold: int,
    networks: int,
    minutes: float,
    seeds: int,
    clock: Any,
    device: str,
    wait: bool,
    output: Path,
) -> None:
    """Say how well a search's shared weights rank networks, beside FLOPs, latency and a second training.

    Random networks of the space, between a third of the search's budget and all of it, are scored with the shared
    weights and trained alone, on the patients that the search learnt weights on; Dice is of its other patients, none of
    them held out. Prints Kendall's tau of each order against that of the trainings, and of the first seed against the
    second. Writes RUN/ranking.json and ranking.png; what is trained is not trained again.
    """
    from bench.cli_common import require_data
    from bench.ranking import RankingPlan, rank, ranking_document
    from bench.ranking_plot import save_ranking_plot
    from cinert.ushape.space import UShapeSpace
    from latency.lut import load_lut
    from search.data import load_fold
    from search.device import resolve_device
    from search.oneshot.run import finished_search, grid_of, search_record, split_patients

    data = require_data(data)
    lut = load_lut(lut_path)
    if not isinstance(lut.space, UShapeSpace):
        raise BadInputError(
            f"{lut_path} prices {lut.space.name}, a space of cells, whose search shares no whole networks.",
            hint="give the LUT of cardiac or cardiac-small that the search read.",
        )
    space = lut.space
    record = search_record(search_folder)
    for name in ("json", "png"):
        check_output_file(output / f"ranking.{name}")
    where = resolve_device(device)
    reserve(str(where), "compute", wait=wait)
    claim_run(output)
    plan = RankingPlan(networks=networks, seeds=tuple(range(seeds)), minutes=minutes, clock=clock)
    if clock == "cpu" and where.type != "cpu":
        raise BadInputError(f"--clock cpu says nothing of work on {where}.", hint="count by --clock wall.")
    with progress_bar() as bar:
        task = bar.add_task("reading", total=None)
        folds = {number: load_fold(data, grid_of(space, number), fold) for number in range(len(space.grids))}
        search = finished_search(search_folder, space, lut, folds, where)
        _require_same(output, plan, record)
        found = rank(
            search,
            folds,
            plan,
            ids=split_patients(folds[0].train, search.settings.seed),
            most_ms=record["budget_ms"],
            folder=output,
            show=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    document = ranking_document(found, plan, record)
    write_json(output / "ranking.json", document)
    save_ranking_plot(output / "ranking.png", document)
    _print(document, output)


def _require_same(output: Path, plan: Any, record: dict[str, Any]) -> None:
    """Begin a run folder, or make sure that what lies there was trained alike."""
    from cinert.files import read_json
    from cinert.resume import refuse_other_settings

    path, now = output / "settings.json", {**record, **plan.to_dict()}
    if path.exists():
        refuse_other_settings(output, read_json(path, "the settings"), now)
    write_json(path, now)


def _print(document: dict[str, Any], output: Path) -> None:
    tau = document["kendall_tau"]
    count, minutes = len(document["networks"]), document["plan"]["minutes"]
    table = Table(
        title=f"Kendall's tau with the Dice of {count} networks trained {minutes:g} minutes each",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    table.add_column("order by")
    table.add_column("tau", justify="right")
    for name, words in _WORDS.items():
        table.add_row(words, "-" if tau[name] is None else f"{tau[name]:.2f}")
    console.print(table)
    console.print(f"Wrote {output / 'ranking.json'} and ranking.png beside it.", markup=False)
