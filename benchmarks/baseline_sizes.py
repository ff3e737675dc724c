"""Parameters and operations of the rivals of both papers and of nnU-Net, as written for the space `paper`.

    python benchmarks/baseline_sizes.py

Prints the table of docs/baselines.md. Nothing is timed: networks are built without memory for their weights.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from bench.baseline_cli import baseline
from cinert.arch import load_arch
from cinert.sizes import network_sizes

SPACE = "paper"


@dataclass(frozen=True)
class Rival:
    """A network of the papers' tables, and how it is made here."""

    name: str
    words: str
    """Of `cinert baseline`, without space and output."""
    source_says: str
    """Parameters by its own source."""
    measured: str
    """Latency in Zeng 2020 (Table 2, GTX 1080) or Lu 2022 (Table 2, Tesla P100)."""


RIVALS = (
    Rival("U-Net 2D (D5, 64)", "unet2d --widths 64,128,256,512,1024", "31.0 M", "62 ms (Zeng)"),
    Rival("U-Net 2D (D3, 16)", "unet2d --widths 16,32,64", "not said", "30 ms (Zeng)"),
    Rival("U-Net 3D (D4, 32)", "unet3d --widths 32,64,128,256", "19.1 M", "157 ms (Zeng)"),
    Rival("U-Net 3D (D3, 16)", "unet3d --widths 16,32,64", "not said", "58 ms (Zeng)"),
    Rival("NAS-UNet", "nas-unet", "about 0.8 M", "not said"),
    Rival("NAS-UNet, our cells", "nas-unet --cells ours --widths 8,16,32,64,128", "not theirs", "not said"),
    Rival("ICA-UNet (n = 3)", "ica-unet --components 3", "not known", "35 ms (Lu)"),
    Rival("ICA-UNet (n = 4)", "ica-unet --components 4", "not known", "39 ms (Lu)"),
    Rival("BiX-NAS", "bix-nas", "0.38 M", "49 ms (Lu)"),
    Rival("BiX-NAS, our skips", "bix-nas --cells ours --widths 32,32,32,32,32", "not theirs", "not said"),
    Rival("MSU-Net", "msu-net", "not known", "not said"),
    Rival("nnU-Net (3D)", "nnunet", "not said", "not compared"),
    Rival("nnU-Net (3D, residual encoder)", "nnunet-resenc", "not said", "not compared"),
)


def table() -> list[str]:
    """Lines of a Markdown table, one for each rival."""
    lines = [
        f"| network | `cinert baseline --space {SPACE}` | parameters there | here | GFLOP here | latency there |",
        "| --- | --- | --: | --: | --: | --: |",
    ]
    for rival in RIVALS:
        parameters, operations = sizes(rival.words)
        lines.append(
            f"| {rival.name} | `{rival.words}` | {rival.source_says} | {parameters / 1e6:.2f} M |"
            f" {operations / 1e9:.1f} | {rival.measured} |"
        )
    return lines


def sizes(words: str) -> tuple[int, int]:
    """Parameters, and floating-point operations of all convolutions on one volume (two for a multiply-add)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arch.yaml"
        result = CliRunner().invoke(baseline, [*words.split(), "--space", SPACE, "-o", str(path)])
        assert result.exit_code == 0, result.output
        found = network_sizes(load_arch(path))
    return found.parameters, found.flops


if __name__ == "__main__":
    print("\n".join(table()))
