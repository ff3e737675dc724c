"""Our modules of published networks beside their authors' code, on the same weights and the same image.

    pip install --no-deps --target AUTHORS/dna dynamic_network_architectures==0.4.4
    git clone https://github.com/MIC-DKFZ/nnUNet AUTHORS/nnUNet
    python benchmarks/rivals_agreement.py AUTHORS

AUTHORS is a folder with the authors' code, which is run and not copied; what is missing there is left out. Prints the
table of docs/baselines.md: the largest difference of the logits, relative to the largest logit.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cinert.baselines.base import Baseline
from cinert.baselines.kinds import KINDS, design
from cinert.baselines.nnunet import topology
from cinert.network import build_network, random_weights
from cinert.spaces import load_space

_GRIDS = 2000
SPACE = "small"


def give(ours: nn.Module, theirs: Iterable[Tensor]) -> None:
    """Copy our parameters into theirs, one after the other; both have as many, of the same shapes."""
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs, strict=True):
            assert mine.shape == other.shape, (mine.shape, other.shape)
            other.copy_(mine)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float((ours - theirs).abs().max() / theirs.abs().max())


def written(kind: str) -> Baseline:
    """The baseline as `cinert baseline` writes it."""
    space = load_space(SPACE)
    return design(kind, space, KINDS[kind].widths_in(space))


def nnunet(kind: str) -> Callable[[Path], float]:
    """`nnunet` or `nnunet-resenc` beside dynamic_network_architectures."""

    def run(authors: Path) -> float:
        sys.path.insert(0, str(authors / "dna"))
        unet: Any = importlib.import_module("dynamic_network_architectures.architectures.unet")
        arch: Any = written(kind)
        levels = {"n_conv_per_stage": arch.convs_per_level} if kind == "nnunet" else {"n_blocks_per_stage": arch.blocks}
        theirs = (unet.PlainConvUNet if kind == "nnunet" else unet.ResidualEncoderUNet)(
            **levels,
            input_channels=arch.in_channels,
            n_stages=len(arch.widths),
            features_per_stage=arch.widths,
            conv_op=nn.Conv3d,
            kernel_sizes=arch.kernels,
            strides=((1, 1, 1), *arch.strides),
            num_classes=4,
            n_conv_per_stage_decoder=arch.convs_per_level,
            conv_bias=True,
            norm_op=nn.InstanceNorm3d,
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU,
        ).eval()
        ours, image = random_weights(build_network(arch), 0), _volume(arch)
        decoder = theirs.decoder
        give(
            ours,
            [
                *theirs.encoder.parameters(),
                *(p for up in reversed(decoder.transpconvs) for p in up.parameters()),
                *(p for level in reversed(decoder.stages) for p in level.parameters()),
                *decoder.seg_layers[-1].parameters(),
            ],
        )
        with torch.no_grad():
            return difference(ours(image), theirs(image))

    return run


def planner(authors: Path) -> float:
    """Grids on which our topology is not that of nnU-Net's planner, of 2000 that it need not pad."""
    folder = authors / "nnUNet" / "nnunetv2" / "experiment_planning" / "experiment_planners"
    sys.path.insert(0, str(folder))
    plan: Any = importlib.import_module("network_topology").get_pool_and_conv_props
    rng, seen, wrong = np.random.default_rng(0), 0, 0
    while seen < _GRIDS:
        spacing = [float(step) for step in rng.uniform(0.8, 10, 3)]
        sizes = [int(size) for size in rng.integers(1, 9, 3) * 2 ** rng.integers(0, 6, 3)]
        _, strides, kernels, patch, _ = plan(spacing, sizes, 4, 999999)
        if list(map(int, patch)) != sizes:
            continue
        ours = topology((sizes[0], sizes[1], sizes[2]), spacing)
        wrong += ours.strides != tuple(map(tuple, strides[1:])) or (len(strides) > 1 and ours.kernels != kernels)
        seen += 1
    return float(wrong)


def _volume(arch: Baseline) -> Tensor:
    shape = (2, arch.in_channels, *arch.input_shape_DHW)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


COMPARISONS: dict[str, Callable[[Path], float]] = {
    "nnunet": nnunet("nnunet"),
    "nnunet-resenc": nnunet("nnunet-resenc"),
    "nnU-Net's planner (grids that differ)": planner,
}


def main(authors: Path) -> None:
    """Print a line for each network."""
    torch.set_num_threads(1)
    print("| network | relative difference of the logits |\n| --- | --: |")
    for name, compare in COMPARISONS.items():
        try:
            print(f"| {name} | {compare(authors):.1e} |", flush=True)
        except ModuleNotFoundError as error:
            print(f"| {name} | not compared: {error} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
