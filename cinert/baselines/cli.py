"""`cinert baseline`: write a designed network as an architecture file."""

from __future__ import annotations

from pathlib import Path

import click

from cinert import __version__
from cinert.arch import load_arch, save_arch
from cinert.baselines.kinds import KINDS
from cinert.cli import command, console
from cinert.errors import BadInputError
from cinert.files import check_writable
from cinert.space import load_space

FIRST_WIDTH = 12


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


@command(
    "baseline",
    examples="""
    cinert baseline unet3d --space small -o runs/unet/arch.yaml
    cinert baseline unet3d --space paper --widths 16,32,64,128 -o unet.yaml
    """,
)
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option(
    "--space",
    "space_name",
    required=True,
    metavar="NAME|FILE",
    help="Space that it is to be compared in: gives the input's grid and the strides.",
)
@click.option(
    "--widths",
    metavar="N,N,...",
    callback=lambda _ctx, _param, value: parse_widths(value),
    help=f"Channels at each scale of the space. [default: {FIRST_WIDTH}, doubled from each scale to the next]",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Architecture file to write.")
def baseline(*, kind: str, space_name: str, widths: tuple[int, ...] | None, output: Path) -> None:
    """Write a designed network as an architecture file, which is trained, exported and measured as a searched one is.

    unet3d is a plain 3D U-Net: two 3x3x3 convolutions at each level, max-pooling, transposed convolutions.
    """
    check_writable(output)
    space = load_space(space_name)
    if widths is None:
        widths = tuple(FIRST_WIDTH * 2**scale for scale in range(space.scales))
    if len(widths) != space.scales:
        raise BadInputError(
            f"--widths has {len(widths)} entries ({', '.join(map(str, widths))}), and space {space.name} has"
            f" {space.scales} scales.",
            hint="give one width for each scale.",
        )
    provenance = {
        "method": "cinert baseline",
        "space": {"name": space.name, "digest": space.digest},
        "versions": {"cinert": __version__},
    }
    made = KINDS[kind].for_space(space, widths, provenance)
    # What lies there may be the result of hours of search, or what weights beside it were trained for.
    if output.exists() and load_arch(output).digest != made.digest:
        raise BadInputError(f"{output} holds another architecture.", hint="choose another output with -o.")
    save_arch(output, made)
    console.print(f"Wrote {output}. Next: train-arch {output}", markup=False)
