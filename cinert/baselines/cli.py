"""`cinert baseline`: write a designed network as an architecture file."""

from __future__ import annotations

from pathlib import Path

import click

from cinert.arch import load_arch, save_arch
from cinert.baselines.ica_unet import IcaUNet
from cinert.baselines.kinds import KINDS, design
from cinert.cli import command, console
from cinert.errors import BadInputError
from cinert.files import check_writable
from cinert.spaces import load_space


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


_DEFAULT_WIDTHS = ", ".join(
    f"{name} {kind.first_width} {'doubled each time' if kind.width_growth == 2 else 'at each'}"
    for name, kind in KINDS.items()
)


@command(
    "baseline",
    examples="""
    cinert baseline unet3d --space small -o runs/unet/arch.yaml
    cinert baseline unet3d --space paper --widths 32,64,128,256 -o unet3d-d4-32.yaml
    cinert baseline unet2d --space paper --widths 64,128,256,512,1024 -o unet2d-d5-64.yaml
    cinert baseline ica-unet --space paper --components 3 -o ica3.yaml
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
    help=f"Channels at each level. [default: one level for each scale of the space; {_DEFAULT_WIDTHS}]",
)
@click.option(
    "--components",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of ica-unet: independent components that a patch is unmixed into. [default: 4]",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Architecture file to write.")
def baseline(
    *, kind: str, space_name: str, widths: tuple[int, ...] | None, components: int | None, output: Path
) -> None:
    """Write a designed network as an architecture file, which is trained, exported and measured as a searched one is.

    unet2d and unet3d are plain U-Nets: two convolutions at each level, max-pooling, transposed convolutions.
    nas-unet is a 2D U-Net of two repeated cells, ica-unet a 3D U-Net on components of patches, bix-nas a 2D U-Net
    that is run three times with the same weights, msu-net a set of 2D U-Nets on the statistics of patches.

    A 2D network takes the slices of a volume as a batch: volume in, volume out.
    """
    check_writable(output)
    space = load_space(space_name)
    if components is not None and kind != IcaUNet.kind:
        raise BadInputError(f"--components is for {IcaUNet.kind}, not for {kind}.")
    if widths is None:
        widths = KINDS[kind].default_widths(space.scales)
    made = design(kind, space, widths, components=components)
    # What lies there may be the result of hours of search, or what weights beside it were trained for.
    if output.exists() and load_arch(output).digest != made.digest:
        raise BadInputError(f"{output} holds another architecture.", hint="choose another output with -o.")
    save_arch(output, made)
    console.print(f"Wrote {output}. Next: train-arch {output}", markup=False)
