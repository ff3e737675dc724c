"""`cinert baseline`: write a designed network as an architecture file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from cinert.arch import load_arch, save_arch
from cinert.backends import BACKENDS, resolve_backend
from cinert.backends.base import PRECISIONS, Precision
from cinert.baselines.base import Baseline
from cinert.baselines.halving import Cells
from cinert.baselines.ica_unet import IcaUNet
from cinert.baselines.kinds import KINDS, PUBLISHED, design, kind_with
from cinert.cli import FiniteRange, allow_busy_option, command, console, errors, reserve, wait_option
from cinert.device_lock import device_of
from cinert.environment import default_threads, device_name
from cinert.errors import BadInputError
from cinert.files import check_writable
from cinert.quiet import busy_sentence
from cinert.spaces import load_space
from cinert.timing import Protocol
from latency.clocks import CLOCKS, ClockName

_MEASURING = ("backend", "device", "precision", "threads", "clock", "allow_busy", "wait")
"""Options that say how --budget-ms measures, and nothing without it."""


def parse_widths(text: str | None) -> tuple[int, ...] | None:
    """Read `--widths`: positive whole numbers with commas between them."""
    if text is None:
        return None
    try:
        widths = tuple(int(word) for word in text.split(","))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        raise click.BadParameter(f"{text!r} is no list of positive widths such as 12,24,48,96.", param_hint="--widths")
    return widths


_DEFAULT_WIDTHS = "; ".join(
    f"{name} {','.join(map(str, kind_with(name, 'published').default_widths(4)))}" for name in KINDS
)


@command(
    "baseline",
    examples="""
    cinert baseline unet3d --space small -o runs/unet/arch.yaml
    cinert baseline unet3d --space paper --widths 32,64,128,256 -o unet3d-d4-32.yaml
    cinert baseline unet2d --space paper --widths 64,128,256,512,1024 -o unet2d-d5-64.yaml
    cinert baseline ica-unet --space paper --components 3 -o ica3.yaml
    cinert baseline nas-unet --space paper --norm batch -o nas-unet.yaml
    cinert baseline nnunet-resenc --space paper -o resenc.yaml
    cinert baseline unet3d --space small --budget-ms 20 --threads 1 -o unet-20ms.yaml
    """,
)
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option(
    "--space",
    "space_name",
    required=True,
    metavar="NAME|FILE",
    help="Space that it is to be compared in: gives the input's grid, and a 3D network's strides.",
)
@click.option(
    "--widths",
    metavar="N,N,...",
    callback=lambda _ctx, _param, value: parse_widths(value),
    help="Channels at each level. [default: one level for each scale of the space, of nnunet as many as nnU-Net's rule"
    " gives, of nas-unet six, or as many as the grid has, of bix-nas four; of four levels"
    f" {_DEFAULT_WIDTHS}]",
)
@click.option(
    "--cells",
    default="published",
    type=click.Choice(get_args(Cells)),
    help=f"Of {' and '.join(PUBLISHED)}: the cells or skips that their authors publish, with their stems and norms, or"
    " those that were drawn here before.",
)
@click.option(
    "--norm",
    type=click.Choice(["group", "batch"]),
    show_default="the authors'",
    help="Of nas-unet: group norm, which stays in the engine, or batch norm, which is folded into the convolutions.",
)
@click.option(
    "--components",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of ica-unet: independent components that a patch is unmixed into. [default: 4]",
)
@click.option(
    "--budget-ms",
    default=None,
    type=FiniteRange(min=0, min_open=True),
    help="Scale all widths by one factor until the network's measured p50 on this device is within 5 % of it: one"
    " volume from host memory to host memory, with random weights. What was measured goes into the file.",
)
@click.option(
    "--backend",
    default="auto",
    type=click.Choice(["auto", *BACKENDS]),
    help="Engine that --budget-ms measures; auto takes the fastest here.",
)
@click.option("--device", default="auto", metavar="auto|cpu|cuda:N", help="Where --budget-ms measures.")
@click.option("--precision", default="fp32", type=click.Choice(PRECISIONS), help="Precision of that engine.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=None,
    show_default="physical cores",
    help="CPU threads of that engine.",
)
@click.option(
    "--clock",
    default="wall",
    type=click.Choice(CLOCKS),
    help="What times it: the wall clock, or with one thread on a CPU the processor time, which programs that take the"
    " processor away do not lengthen.",
)
@allow_busy_option()
@wait_option()
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Architecture file to write.")
def baseline(
    *,
    kind: str,
    space_name: str,
    widths: tuple[int, ...] | None,
    cells: Cells,
    norm: str | None,
    components: int | None,
    budget_ms: float | None,
    output: Path,
    **measuring: Any,
) -> None:
    """Write a designed network as an architecture file, which is trained, exported and measured as a searched one is.

    unet2d and unet3d are plain U-Nets: two convolutions at each level, max-pooling, transposed convolutions.
    nnunet and nnunet-resenc are nnU-Net's 3D networks, plain and with a residual encoder, planned for the space's grid.
    aniso-unet is a U-Net for stacks of thick slices, on an in-plane grid of its own.
    nas-unet is a 2D U-Net of two repeated cells, and bix-nas a 2D U-Net that is run three times with the same weights,
    with the cells and skips that their authors found. ica-unet is a 3D U-Net on components of patches, msu-net a set
    of 2D U-Nets on the statistics of patches.

    A 2D network takes the slices of a volume as a batch: volume in, volume out.
    """
    if budget_ms is None:
        _refuse_measuring()
    check_writable(output)
    space = load_space(space_name)
    if components is not None and kind != IcaUNet.kind:
        raise BadInputError(f"--components is for {IcaUNet.kind}, not for {kind}.")
    if kind not in PUBLISHED and _given("cells"):
        raise BadInputError(f"--cells is for {' and '.join(PUBLISHED)}, not for {kind}.")
    if widths is None:
        widths = kind_with(kind, cells).widths_in(space)
    make = functools.partial(design, kind, space, components=components, cells=cells, norm=norm)
    made = make(widths)
    # What lies there may be the result of hours of search, or what weights beside it were trained for.
    if output.exists() and (budget_ms is not None or load_arch(output).digest != made.digest):
        what = "an architecture, and what is measured anew may be another" if budget_ms else "another architecture"
        raise BadInputError(f"{output} holds {what}.", hint="choose another output with -o.")
    if budget_ms is not None:
        made = _scaled(make, widths, budget_ms, **measuring)
    save_arch(output, made)
    console.print(f"Wrote {output}. Next: train-arch {output}", markup=False)


def _given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _refuse_measuring() -> None:
    given = [name for name in _MEASURING if _given(name)]
    if given:
        raise BadInputError(
            f"--{given[0].replace('_', '-')} is for --budget-ms, and nothing is measured without it.",
            hint="give --budget-ms, or leave it out.",
        )


def _scaled(
    make: Callable[[tuple[int, ...]], Baseline],
    widths: tuple[int, ...],
    budget_ms: float,
    *,
    backend: str,
    device: str,
    precision: Precision,
    threads: int | None,
    clock: ClockName,
    allow_busy: bool,
    wait: bool,
) -> Baseline:
    """The network at the budget, measured on a device that is held for it; what was measured is printed."""
    engine = resolve_backend(backend, device, precision)

    from bench.scaling import scale_to_budget
    from latency.profile import Setup

    setup = Setup(
        backend=engine,
        device=device,
        threads=threads or default_threads(),
        precision=precision,
        protocol=Protocol(tolerant=allow_busy),
        clock=clock,
    )
    reserve(device_of(engine, device), "measure", wait=wait)
    made = scale_to_budget(
        make,
        widths,
        budget_ms,
        setup,
        say=lambda text: errors.print(text, markup=False),
    )
    scaled = made.provenance["scaled"]
    console.print(
        f"{made.kind} takes {scaled['measured_p50_ms']:.2f} ms of {budget_ms:g} ms on {device_name(scaled)}, its widths"
        f" scaled by {scaled['factor']:.2f}.{busy_sentence(allow_busy)}",
        markup=False,
    )
    return made
