"""The command nas-search."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from cinert.cli import FiniteRange, claim_run, command, data_option, fold_option, reserve, seed_option, wait_option
from cinert.errors import VerdictError
from cinert.files import check_writable
from cinert.progress import shown_as
from cinert.space import Relaxation
from cinert.spaces import load_any_space
from cinert.ushape.space import UShapeSpace
from search.cli_options import (
    Named,
    amp_option,
    bar_of,
    device_option,
    read_patients_of,
    say_what_was_clipped,
)
from search.decoders import GROUP as DECODERS
from search.decoders import NAMES as DECODER_NAMES
from search.latency_terms import GROUP as TERMS
from search.latency_terms import NAMES as TERM_NAMES
from search.methods import (
    CELL_METHOD,
    METHODS,
    TRAINED,
    TRAINED_EPOCHS,
    USHAPE_METHOD,
    CandidateMethod,
    own,
)
from search.oneshot.cli import search_ushapes
from search.run_folder import run_folders
from search.say import report_candidates, report_search, say
from search.words import ActivationCheckpointing, Mixture


@command(
    "nas-search",
    examples="""
    nas-search --lut trt_lut.json
    nas-search --lut lut.json --space small --data acdc/ --budget-ms 40 -o runs/small
    nas-search --lut lut.json --data phantom/ --epochs 8 -o runs/quick
    nas-search --lut lut.json --method rtdnas --decoder genetic --paths 7 -o runs/rtdnas
    nas-search --lut lut.json --method cinert --budget-ms 40 --seeds 3 --pareto 6 -o runs/mine
    torchrun --nproc-per-node 4 --no-python nas-search --lut lut.json --batch-size 8 -o runs/fast
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
    type=click.Choice(list(METHODS)),
    help="In a space of cells: differentiable ones, zeng2020, rtdnas (Lu 2022), msnas, or cinert, which keeps the upper"
    " end of the estimate within the budget; or training candidates within the budget, the best of which train on:"
    " random, evolution. In a space of U-shapes: cinert alone, a population that evolves with shared weights."
    f" [default: {CELL_METHOD} for cells, {USHAPE_METHOD} for U-shapes]",
)
@click.option(
    "--relaxation",
    type=click.Choice(get_args(Relaxation)),
    help=f"Ops and inputs apart, or one softmax over both. [default: {own('relaxation')}]",
)
@click.option(
    "--latency-term",
    type=Named(TERM_NAMES, TERMS),
    help="Latency in the loss: of none, of each of n paths, of the critical path, of the union of n paths, or that of"
    " an installed package."
    f" [default: {own('latency_term')}]",
)
@click.option(
    "--occurrence",
    type=click.Choice(["forward", "exact", "beta"]),
    help="How often the critical-path term meets a cell: by paths counted from the source, from source to sink, or by"
    " beta. [default: forward]",
)
@click.option(
    "--decoder",
    type=Named(DECODER_NAMES, DECODERS, functions=True),
    help="Paths to keep: the most probable that fit the budget, the most probable whatever they cost, the fastest union"
    " out of the 10 most probable, or what an installed package or a function of yours makes of the search."
    f" [default: {own('decoder')}]",
)
@click.option(
    "--mixture",
    type=click.Choice(get_args(Mixture)),
    help="What a step computes: the whole grid, n sampled paths, or those with one op sampled for each node."
    f" [default: {own('mixture')}]",
)
@click.option("--paths", default=2, type=int, help="n: paths in the latency term, to sample, and to keep at most.")
@click.option("--budget-ms", default=50.0, type=FiniteRange(min=0, min_open=True), help="Latency of the network.")
@click.option(
    "--epochs",
    type=click.IntRange(min=2),
    help="Epochs; the first half learns weights alone, the second weights and architecture in turn. Random, evolution:"
    f" epochs of the last round. [default: {own('epochs')}, random and evolution {TRAINED_EPOCHS}, U-shapes 100]",
)
@click.option(
    "--candidates",
    default=18,
    type=click.IntRange(min=1),
    help="Random, evolution: networks in the first round; a third of them, for longer, in each of the next two."
    " U-shapes: networks of the population. [default there: 8]",
)
@click.option(
    "--least-share",
    default=0.6,
    type=FiniteRange(min=0, max=1, max_open=True),
    help="Random, evolution, U-shapes: share of the budget that a candidate uses at least. [default there: 0.85]",
)
@seed_option()
@click.option(
    "--seeds",
    default=1,
    type=click.IntRange(min=1),
    help="Searches, from --seed on; the best network is kept.",
)
@click.option(
    "--pareto",
    default=0,
    type=click.IntRange(min=0),
    help="Decode at that many budgets up to --budget-ms, keep the best network, and in RUN/pareto those that no other"
    " beats in both latency and Dice.",
)
@click.option(
    "-o", "--output", default="runs/search", type=click.Path(path_type=Path), help="Run folder; continued if it exists."
)
@click.option(
    "--lambda",
    "latency_weight",
    type=FiniteRange(min=0),
    help="Weight of the latency in the loss, per millisecond; rtdnas: of exp(latency - budget)."
    f" [default: {own('latency_weight')}]",
)
@click.option(
    "--batch-size",
    default=2,
    type=click.IntRange(min=1),
    help="Volumes in a step, of all processes together. [default for U-shapes: 4]",
)
@click.option(
    "--learning-rate", default=0.01, type=FiniteRange(min=0, min_open=True), help="Of the supernet's weights."
)
@click.option(
    "--arch-learning-rate",
    type=FiniteRange(min=0, min_open=True),
    help="Of the architecture parameters; Adam, for rtdnas SGD that falls to a tenth."
    f" [default: {own('arch_learning_rate')}]",
)
@device_option()
@amp_option()
@click.option(
    "--activation-checkpointing",
    default="auto",
    type=click.Choice(get_args(ActivationCheckpointing)),
    help="Run each cell again for its gradient: less memory, more time; auto: where a step computes the whole grid.",
)
@click.option("--restart", is_flag=True, help="Throw away the search that the run folder holds.")
@wait_option()
def nas_search(
    lut_path: Path,
    space_name: str | None,
    data: Path | None,
    fold: int | None,
    method: str | None,
    paths: int,
    budget_ms: float,
    seed: int,
    seeds: int,
    pareto: int,
    output: Path,
    batch_size: int,
    learning_rate: float,
    device: str,
    amp: str,
    activation_checkpointing: ActivationCheckpointing,
    restart: bool,
    wait: bool,
    **of_the_method: Any,
) -> None:
    """Find a network that is accurate on the data and fast on the LUT's device.

    Writes RUN/arch.yaml, its picture arch.png, and the search's log; for U-shapes also RUN/inherited.safetensors, what
    the found network learnt during the search, which train-arch --init begins with. An interrupted search continues
    when the same command is given again. With --seeds or --pareto all networks that were decoded are trained for a
    short time on half of the training patients, and the one that is best on the other half is kept.
    """
    # Imported late: torch takes seconds, and --help and mistyped options should not wait for it.
    from latency.lut import load_lut
    from search.candidate_run import run_candidate_search
    from search.choose import named_options, require_fit, require_in_time
    from search.out_of_memory import fits_in_memory
    from search.problem import RunContext, SearchProblem
    from search.selection import search_and_select
    from search.torchrun import joined

    del of_the_method  # read by name, to tell what the user named from a default
    hint = "begin anew (--restart) with a smaller --batch-size"
    if method not in TRAINED:
        hint += " or --mixture sampled-ops; a sampled search can also go on, with --activation-checkpointing on"
    with joined(device) as (ranks, where), fits_in_memory(where, hint=f"{hint}."):
        check_writable(output / "arch.yaml")
        lut = load_lut(lut_path)
        searched = lut.space if space_name is None else load_any_space(space_name)
        if isinstance(searched, UShapeSpace):
            search_ushapes(searched, lut, device=where, processes=ranks.size)
            return
        chosen = METHODS[method or CELL_METHOD].choose(named_options())
        space = chosen.searched(searched)
        require_fit(chosen, space, paths)
        require_in_time(chosen, space, lut, budget_ms)
        reserve(str(where), "compute", wait=wait)
        ranks.from_main(lambda: claim_run(*run_folders(output, seed, seeds)))
        say(f"Searching space {space.name} by {chosen.name} for {lut.title} (LUT {lut.id}), computing on {where}.")
        with bar_of(ranks) as bar:
            found = read_patients_of(bar, data, space, ranks).fold(fold)
            say_what_was_clipped(found.train + found.validation)
            problem = SearchProblem(space=space, lut=lut, data=found, budget_ms=budget_ms)
            context = RunContext(
                folder=output, device=where, ranks=ranks, restart=restart, progress=shown_as(bar, "searching")
            )
            told: dict[str, Any] = {
                "paths": paths,
                "seed": seed,
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "amp": amp,
            }
            if isinstance(chosen, CandidateMethod):
                halving = chosen.settings(**told)
                best = run_candidate_search(problem, halving, context, method=chosen.proposer)
            else:
                settings = chosen.settings(
                    budget_ms=budget_ms, activation_checkpointing=activation_checkpointing, **told
                )
                selection = search_and_select(problem, settings, context, seeds=seeds, pareto=pareto)
        if isinstance(chosen, CandidateMethod):
            report_candidates(best, chosen.candidates, output, found.kind(found.train))
        else:
            report_search(selection, chosen.epochs, budget_ms, output, found.kind(found.train))
            if selection.decoded.budget_met is False:
                raise VerdictError(f"the network in {output / 'arch.yaml'} misses the budget of {budget_ms:g} ms.")


if __name__ == "__main__":
    nas_search()
