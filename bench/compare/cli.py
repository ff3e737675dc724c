"""The command `bench-compare`."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Sized
from pathlib import Path
from typing import Any

import click

from cinert.backends import BACKENDS
from cinert.backends.base import PRECISIONS
from cinert.cli import FiniteRange, claim_run, command, console, data_option, reserved, seed_option
from cinert.errors import BadInputError, VerdictError
from cinert.files import check_output_file

_PAPERS = ("zeng2020-table2", "lu2022-table1", "lu2022-table2", "lu2022-fig2")
_VERSUS = "ours-vs-designed"
_STAGES = ("arch", "weights", "bundle", "accuracy", "verify")


@command(
    "bench-compare",
    examples="""
bench-compare --suite zeng2020-table2 --data acdc --lut lut.json -o runs/tables
bench-compare --suite lu2022-table2 --data acdc --lut lut.json -o runs/tables   # what both share is trained once
bench-compare --suite lu2022-fig2 --data acdc --lut lut.json --random 20 --minutes-per-network 60 -o runs/tables
bench-compare --suite zeng2020-table2 --data acdc --space small --networks 'unet*' --backend openvino -o runs/unets
bench-compare --suite zeng2020-table2 --data acdc --lut lut.json --until accuracy -o runs/tables    # measure later
bench-compare --suite ours-vs-designed --data acdc --lut lut.json --clock cpu -o runs/versus
bench-compare --suite ours-vs-designed --data acdc --lut lut.json --latencies 20 --networks 'ours*,aniso*' -o runs/one
""",
)
@click.option(
    "--suite",
    required=True,
    type=click.Choice((*_PAPERS, _VERSUS)),
    help="Table, or figure, of a paper; or our search against designed networks at equal latency.",
)
@data_option()
@click.option(
    "--fold", default=0, type=click.IntRange(0, 4), help="Fold whose patients are held out and scored (5 folds)."
)
@click.option(
    "--lut",
    "lut_path",
    type=click.Path(path_type=Path),
    help="Latency table of the device that measures; needed where a network is searched.",
)
@click.option("--foreign-lut", is_flag=True, help="Search with the LUT of another device too; no estimates then.")
@click.option("--space", "space_name", metavar="NAME|FILE", help="Search space; the LUT's own if not given.")
@click.option(
    "--networks",
    metavar="NAME,...",
    help="Only these networks of the suite, e.g. 'unet3d-*,cinert-n2'. [default: all]",
)
@click.option(
    "--random",
    "random_count",
    type=click.IntRange(0, 100),
    help="Random networks to train and draw beside them. [default: 10 for lu2022-fig2, 0 for the tables]",
)
@click.option(
    "--minutes-per-network",
    "minutes",
    default=20.0,
    type=FiniteRange(min=0, min_open=True),
    help="Training of each network.",
)
@click.option(
    "--search-minutes",
    type=FiniteRange(min=0, min_open=True),
    show_default="as --minutes-per-network",
    help="Each search.",
)
@click.option(
    "--clock",
    default="wall",
    type=click.Choice(["wall", "cpu"]),
    help="What minutes are counted by; cpu: CPU time over threads, for a machine on which others compute as well.",
)
@click.option("--budget-ms", default=50.0, type=FiniteRange(min=0, min_open=True), help="Latency to stay within.")
@click.option(
    "--fps", default=22.0, type=FiniteRange(min=0, min_open=True), help="Frames per second that the scanner sends."
)
@click.option("--frames", default=500, type=click.IntRange(min=1), help="Frames to time.")
@click.option(
    "--backend",
    type=click.Choice(["auto", *BACKENDS]),
    help="Of the engines. [default: the LUT's, or the fastest here]",
)
@click.option(
    "--precision",
    type=click.Choice([name for name in PRECISIONS if name != "int8"]),
    help="Of the engines. [default: the LUT's, or fp32]",
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads of the engines. [default: the LUT's, or the cores]"
)
@click.option("--device", default="auto", metavar="auto|cpu|cuda:N", help="Where to search and to train.")
@click.option("--engine-device", default="auto", metavar="auto|cpu|cuda:N", help="Where the engines run.")
@click.option("--localiser-steps", default=1200, type=click.IntRange(min=1), help="Steps of the localiser's training.")
@seed_option()
@click.option(
    "--until",
    default="verify",
    type=click.Choice(_STAGES),
    help="Last stage to do: find, train, export, score, measure. The same command without it goes on from there.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Run folder; continued if it exists."
)
@click.option(
    "--latencies",
    metavar="MS,...",
    callback=lambda _ctx, _param, value: _latencies(value),
    help="ours-vs-designed: p50 of the engines to compare at, in milliseconds. [default: 10,20,30]",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    help="ours-vs-designed: searches and trainings of each, from --seed on. [default: 3]",
)
@click.option("--restart", is_flag=True, help="Throw away all networks and searches that the run folder holds.")
def bench_compare(
    *,
    suite: str,
    data: Path | None,
    fold: int,
    lut_path: Path | None,
    foreign_lut: bool,
    space_name: str | None,
    networks: str | None,
    random_count: int | None,
    minutes: float,
    search_minutes: float | None,
    clock: Any,
    budget_ms: float,
    fps: float,
    frames: int,
    backend: str | None,
    precision: str | None,
    threads: int | None,
    device: str,
    engine_device: str,
    localiser_steps: int,
    seed: int,
    until: Any,
    output: Path,
    latencies: tuple[float, ...] | None,
    seeds: int | None,
    restart: bool,
) -> None:
    """Make a table of a paper again on your data and device, or hold our search against designed networks.

    The paper's numbers stand beside yours. Every network gets the same minutes of training on the same patients with
    the same recipe, every search the same minutes. Writes RUN/SUITE.md, SUITE.json and SUITE.png after each network.
    Files of a network lie in RUN/networks/NAME; what is finished is not made again, so that the same command continues
    a run that was killed, and another suite takes over what both share. An arch.yaml that you put there is taken
    instead of a search.

    With ours-vs-designed each designed network is scaled until its engine takes as long as asked for, reads a grid of
    its own, and is trained for the minutes of a search and a training together; all with deep supervision. Differences
    have intervals over patients and seeds.

    The command waits for a device that others use. Exit code 1 if a network failed; networks that do not fit the space
    are listed and are no failure.
    """
    from bench.cli_common import require_data
    from bench.compare import versus
    from bench.compare.document import entries
    from bench.compare.follow import Report
    from bench.compare.prepare import prepare
    from bench.compare.run import reason_not_to_run, require_prices, run_all
    from bench.compare.setting import Terms, open_run
    from bench.compare.stages import Job
    from bench.compare.suites import NETWORKS, SUITES, random_networks
    from bench.compare.versus_run import run_versus

    data = require_data(data)
    if suite != _VERSUS:
        for name, value in (("--latencies", latencies), ("--seeds", seeds)):
            if value is not None:
                raise BadInputError(f"{name} is for --suite {_VERSUS}, not for {suite}.", hint="leave it out.")
    for suffix in ("md", "json", "png"):
        check_output_file(output / f"{suite}.{suffix}")
    drawn: dict[str, Any] = {}
    if suite == _VERSUS:
        if random_count is not None:
            raise BadInputError(f"--random is for tables of papers, not for {suite}.", hint="leave it out.")
        every = range(seed, seed + (versus.SEEDS if seeds is None else seeds))
        available: dict[str, Any] = versus.versus_networks(latencies or versus.LATENCIES_MS, every)
    else:
        chosen = SUITES[suite]
        drawn = random_networks(chosen.random if random_count is None else random_count)
        available = {**{row.network: NETWORKS[row.network] for row in chosen.rows}, **drawn}
    names = _chosen(networks, list(available), suite)
    terms = Terms(
        minutes=minutes,
        search_minutes=search_minutes or minutes,
        clock=clock,
        localiser_steps=localiser_steps,
        seed=seed,
        budget_ms=budget_ms,
        fps=fps,
        frames=frames,
        deep_supervision=versus.DEEP_SUPERVISION if suite == _VERSUS else 0.0,
    )
    claim_run(output)
    setting = prepare(
        output,
        data,
        fold,
        terms,
        lut_path=lut_path,
        foreign_lut=foreign_lut,
        space_name=space_name,
        device=device,
        engine_device=engine_device,
        backend=backend,
        precision=precision,
        threads=threads,
        own_grids=suite == _VERSUS,
    )
    jobs = {name: Job(name=name, recipe=available[name], setting=setting) for name in names}
    if suite == _VERSUS:
        failed = run_versus(setting, jobs, until=until, hold=reserved, restart=restart)
        _refuse_failed(failed, jobs, output / f"{suite}.md")
        return
    reasons = {name: reason_not_to_run(job, restart=restart) for name, job in jobs.items()}
    not_run = {name: reason for name, reason in reasons.items() if reason is not None}
    to_run = [job for name, job in jobs.items() if name not in not_run]
    require_prices(to_run, restart=restart)
    # Once nothing more is refused, since a restart throws away hours of work.
    open_run(setting, restart=restart)
    for name, reason in not_run.items():
        console.print(f"{name} is not run: {reason}", markup=False)

    report = Report(suite, setting, jobs, not_run, [name for name in drawn if name in jobs])
    report.write()
    run_all(to_run, until=until, hold=reserved, watch=report)
    document = report.write()
    report.show(document)
    failed = [entry["network"] for entry in entries(document) if entry["state"] == "failed"]
    _refuse_failed(failed, to_run, output / f"{suite}.md")


def _refuse_failed(failed: list[str], of: Sized, page: Path) -> None:
    if failed:
        raise VerdictError(
            f"{len(failed)} of {len(of)} networks failed: {', '.join(failed)}.",
            hint=f"reasons stand in {page}; the same command tries them again.",
        )


def _latencies(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        found = tuple(float(word) for word in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < ms < math.inf for ms in found) or len(set(found)) < len(found):
        raise click.BadParameter(
            f"{text!r} is no list of different milliseconds such as 10,20,30.", param_hint="--latencies"
        )
    return found


def _chosen(patterns: str | None, available: list[str], suite: str) -> list[str]:
    if patterns is None:
        return available
    wanted = [word for word in re.split(r"[,\s]+", patterns) if word]
    for word in wanted:
        if not fnmatch.filter(available, word):
            raise BadInputError(
                f"--networks {word}: {suite} has no such network.", hint=f"it has {', '.join(available)}."
            )
    return [name for name in available if any(fnmatch.fnmatch(name, word) for word in wanted)]
