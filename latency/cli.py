"""Command bench-ops: measure a latency table, or compare two."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click
from rich.markup import escape
from rich.table import Table

from cinert.backends import BACKENDS, resolve_backend
from cinert.backends.base import PRECISIONS, Precision
from cinert.cli import (
    allow_busy_option,
    claim_file,
    command,
    console,
    errors,
    print_verdict,
    reserve,
    seed_option,
    stage_bars,
    wait_option,
)
from cinert.device_lock import device_of
from cinert.environment import default_threads
from cinert.errors import BadInputError
from cinert.files import check_output_file
from cinert.op_check import require_ops
from cinert.quiet import busy_sentence
from cinert.space import Space
from cinert.spaces import PRESETS, AnySpace, load_any_space
from cinert.tensorrt_options import builder_options, configure
from cinert.timing import Protocol
from latency.checkpoint import checkpoint_path
from latency.clocks import CLOCKS, ClockName
from latency.compare import compare as compare_luts
from latency.compare import comparison_table, gain_sentence
from latency.draw import draw_lut
from latency.draw_compare import draw_comparison
from latency.family import networks_by_default
from latency.lut import Lut, load_lut, save_lut
from latency.profile import Setup, measure_lut

EXAMPLES = """
bench-ops                                        # the paper's space on the fastest back end here
bench-ops --backend trt                          # trt_lut.json, and torch_lut.json beside it
bench-ops --space demo --backend ort -o ort.json
bench-ops --backend torch --device cuda:0 --no-cuda-graph -o eager_lut.json
bench-ops --compare torch_lut.json trt_lut.json  # and torch_lut_vs_trt_lut.png
"""


@command("bench-ops", examples=EXAMPLES)
@click.option(
    "--space",
    "space_name",
    default="paper",
    metavar="NAME|FILE",
    help=f"Preset ({', '.join(PRESETS)}) or YAML file.",
)
@click.option(
    "--backend",
    "backend_name",
    default="auto",
    type=click.Choice(["auto", *BACKENDS]),
    help="Engine to time; auto takes the fastest here.",
)
@click.option("--device", default="auto", metavar="auto|cpu|cuda:N", help="Where to measure.")
@click.option(
    "--precision",
    default="fp32",
    type=click.Choice(PRECISIONS),
    help="Precision of the engine; int8 takes its ranges from noise, on which its time does not depend.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=None,
    show_default="physical cores",
    help="CPU threads of the engine.",
)
@click.option(
    "--networks",
    type=click.IntRange(min=10),
    default=None,
    show_default="twice the terms that prices are made of, thrice for U-shaped networks, at most 100",
    help="Networks timed whole, from which prices are learned.",
)
@click.option(
    "--clock",
    default="wall",
    type=click.Choice(CLOCKS),
    help="What times: the wall clock, or with one thread on a CPU the processor time, which programs that take the"
    " processor away do not lengthen.",
)
@click.option(
    "--cuda-graph/--no-cuda-graph",
    default=True,
    help="On a GPU: replay each model as one CUDA graph, or launch it op by op.",
)
@builder_options
@click.option("--only", is_flag=True, help="With a TensorRT back end: do not time PyTorch beside it.")
@click.option(
    "--compare",
    nargs=2,
    type=click.Path(path_type=Path),
    default=None,
    metavar="A.json B.json",
    help="Compare two LUTs, part by part, and stop.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    show_default="{backend}_lut.json, or A_vs_B.png beside A.json",
    help="Where to write the LUT, or with --compare the picture.",
)
@click.option("--plot/--no-plot", default=True, help="Draw each LUT beside it, as lut.png beside lut.json.")
@seed_option()
@click.option("--restart", is_flag=True, help="Throw away the samples of an interrupted run.")
@allow_busy_option()
@wait_option()
def bench_ops(
    *,
    space_name: str,
    backend_name: str,
    device: str,
    precision: str,
    threads: int | None,
    networks: int | None,
    clock: str,
    cuda_graph: bool,
    only: bool,
    compare: tuple[Path, Path] | None,
    output: Path | None,
    plot: bool,
    seed: int,
    restart: bool,
    allow_busy: bool,
    wait: bool,
    **tensorrt: Any,
) -> None:
    """Time every part that a space can deploy on this device, and learn its price inside a network.

    Each part is timed alone, for people; then short random networks are timed whole, and a price per part is
    fitted to them, because parts alone pay for copies that they do not pay in a network. A killed run goes on
    where it was when the same command is given again.
    """
    if compare is not None:
        _compare(*compare, output, plot=plot)
        return
    space = load_any_space(space_name)
    if isinstance(space, Space):
        require_ops(space)
    chosen = cast(Precision, precision)
    backend = resolve_backend(backend_name, device, precision)
    configure(backend, tensorrt)
    jobs = [(backend, chosen, output or Path(f"{backend.name}_lut.json"))]
    if backend.name.startswith("trt") and not only:
        # PyTorch first, so that a run without --only never ends with TensorRT alone. It has no int8.
        beside: Precision = "fp32" if chosen == "int8" else chosen
        jobs.insert(0, (resolve_backend("torch", device, beside), beside, jobs[0][2].with_name("torch_lut.json")))
    for *_, path in jobs:
        check_output_file(path)
        if plot and path.suffix == ".png":
            raise BadInputError(f"cannot write the LUT to {path}: its picture goes there.", hint="name it .json.")
    setups = [
        Setup(
            backend=job_backend,
            device=device,
            threads=threads or default_threads(),
            precision=job_precision,
            protocol=Protocol(tolerant=allow_busy),
            seed=seed,
            clock=cast(ClockName, clock),
        )
        for job_backend, job_precision, _ in jobs
    ]
    reserve(device_of(backend, device), "measure", wait=wait)
    # Two devices may be measured at one time, and their tables have one name where nothing else is said.
    for *_, path in jobs:
        claim_file(path)
    number = networks or networks_by_default(space, chosen)
    for setup, (job_backend, _, path) in zip(setups, jobs, strict=True):
        job_backend.cuda_graph = cuda_graph
        lut = _measure(space, setup, number, path, restart=restart)
        if plot:
            draw_lut(path.with_suffix(".png"), lut)
        console.print(_summary(lut))
        print_verdict(escape(_verdict(lut, path)))


def _compare(path_a: Path, path_b: Path, output: Path | None, *, plot: bool) -> None:
    a, b = load_lut(path_a), load_lut(path_b)
    picture = output or path_a.with_name(f"{path_a.stem}_vs_{path_b.stem}.png")
    if output is not None and not plot:
        raise BadInputError(f"--no-plot and -o {output}: with --compare there is nothing else to write.")
    if plot:
        if picture.suffix != ".png":
            raise BadInputError(f"cannot write the comparison to {picture}: it is a picture.", hint="name it .png.")
        check_output_file(picture)
    items = compare_luts(a, b)
    console.print(comparison_table(a, b))
    print_verdict(escape(gain_sentence(items)))
    if plot:
        draw_comparison(picture, a, b, items)
        console.print(f"wrote {picture}", markup=False)


def _measure(space: AnySpace, setup: Setup, networks: int, path: Path, *, restart: bool) -> Lut:
    errors.print(f"Measuring space {space.name} with {setup.backend.name} on {setup.fingerprint()['device']['name']}.")
    with stage_bars() as report:
        lut = measure_lut(space, setup, networks=networks, output=path, report=report, restart=restart)
    save_lut(path, lut)
    checkpoint_path(path).unlink(missing_ok=True)
    return lut


def _summary(lut: Lut) -> Table:
    table = Table(title=f"{lut.title}, space {lut.space.name}", caption=f"milliseconds, {lut.machine}, batch 1")
    table.add_column("part")
    for name in ("alone", "p50", "p99", "in context", "GFLOP", "noisy"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in lut.rows:
        price, timing = lut.prices.parts[row.key.label], row.timing
        table.add_row(
            row.key.label.removesuffix(f" {lut.precision}"),
            *(f"{timing[name]:.3f}" for name in ("quiet_ms", "p50_ms", "p99_ms")),
            f"{price.ms:.3f}",
            f"{row.key.flops / 1e9:.3f}",
            "yes" if timing["noisy"] else "",
        )
    return table


def _verdict(lut: Lut, path: Path) -> str:
    figures = lut.prices.report["figures"]
    held_out, raw = figures["cross_validated"], figures["raw_sum_of_isolated"]
    return (
        f"Wrote {path}: {len(lut.rows)} parts, prices from {len(lut.prices.report['networks'])} networks. On networks"
        f" held out of the fit the estimate misses by {held_out['mape']:.1%} on average ({held_out['within_10']:.0%}"
        f" within 10 %), the sum of parts timed alone by {raw['mape']:.0%}."
        + (f" In {lut.load.disturbed:.0%} of the visits something else used the machine." if lut.busy else "")
        + busy_sentence(lut.busy)
    )
