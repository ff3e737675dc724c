"""Our modules of published networks beside their authors' code, on the same weights and the same image.

    pip install --no-deps --target AUTHORS/dna dynamic_network_architectures==0.4.4
    git clone https://github.com/MIC-DKFZ/nnUNet AUTHORS/nnUNet                  # 0e49508
    git clone https://github.com/tianbaochou/NasUnet AUTHORS/NasUnet              # 11c66bb
    git clone https://github.com/tiangexiang/BiX-NAS AUTHORS/BiX-NAS              # 36490ad
    python benchmarks/rivals_agreement.py AUTHORS

AUTHORS is a folder with the authors' code, which is run and not copied; what is missing there is left out. Prints the
table of docs/baselines.md: the largest difference of the logits, relative to the largest logit.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import Tensor, nn

from cinert.baselines.base import Baseline
from cinert.baselines.kinds import design, kind_with
from cinert.baselines.nnunet import topology
from cinert.network import build_network, random_weights
from cinert.spaces import load_space

_GRIDS = 2000
SPACE = "small"


def give(ours: nn.Module, theirs: Iterable[Tensor]) -> None:
    """Copy our tensors into theirs, one after the other; both have as many, of as many values."""
    with torch.no_grad():
        for mine, other in zip(tensors(ours), theirs, strict=True):
            # A 1x1 convolution on a pixel is a linear layer.
            assert mine.shape[: other.dim()] == other.shape, (mine.shape, other.shape)
            assert mine.numel() == other.numel()
            other.copy_(mine.reshape(other.shape))


def tensors(module: nn.Module) -> list[Tensor]:
    """Weights and running statistics, as they are used and not copied."""
    return [tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")]


def package(folder: Path, name: str) -> None:
    """Let modules of a package be imported without what its `__init__` imports."""
    module = ModuleType(name)
    module.__path__ = [str(folder)]
    sys.modules[name] = module


def pretend(*names: str) -> None:
    """Put something in place of packages that the authors' modules import, and their networks do not use."""
    for name in names:
        sys.modules.setdefault(name, MagicMock())


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float((ours - theirs).abs().max() / theirs.abs().max())


def written(kind: str, norm: str | None = None) -> Baseline:
    """The baseline as `cinert baseline` writes it."""
    space = load_space(SPACE)
    return design(kind, space, kind_with(kind, "published").widths_in(space), cells="published", norm=norm)


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


def nas_unet(authors: Path) -> float:
    """`nas-unet` beside NasUnet with the genotype that it takes by default."""
    folder = authors / "NasUnet"
    sys.path.insert(0, str(folder))
    package(folder / "models", "models")
    package(folder / "util", "util")
    pretend("cv2", "torchvision", "torchvision.utils", "util.encoder_colors")
    theirs_of: Any = importlib.import_module("models.nas_unet")
    genotype: Any = importlib.import_module("models.geno_searched").NAS_UNET_V3
    arch: Any = written("nas-unet")
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = theirs_of.NasUnet(4, arch.in_channels, c=arch.widths[0], depth=len(arch.widths) - 1, genotype=genotype)
    ours, image = random_weights(build_network(arch), 0), _slices(arch)

    def of(op: Any) -> list[Tensor]:
        if type(op).__name__ == "CWeightOp":
            changes = [*tensors(op.conv), *tensors(op.norm)] if op.stride == 2 else []
            return [*tensors(op.fc), *changes]
        return [*tensors(op.conv), *tensors(op.norm)]

    cells = [*theirs.down_cells, *theirs.up_cells]
    ops = [op for cell in cells for op in (cell.preprocess0, cell.preprocess1, *cell._ops)]
    give(
        ours,
        [tensor for op in (theirs.stem0, theirs.stem1, *ops) for tensor in of(op)] + tensors(theirs.nas_unet_head.conv),
    )
    with torch.no_grad():
        return difference(ours.segment(image), theirs.eval()(image)[0])


def bix_nas(authors: Path) -> float:
    """`bix-nas` beside the authors' network with the gene that they publish; without its sigmoid."""
    folder = authors / "BiX-NAS"
    package(folder / "CORE" / "pytorch_version", "bix")
    pretend("sklearn", "sklearn.metrics", "bix.dataloaders", "bix.metrics")
    model: Any = importlib.import_module("bix.Phase2model")
    arch: Any = written("bix-nas")
    with contextlib.redirect_stdout(io.StringIO()):
        gene = model.decode(str(folder / "bixnet_gene.txt"), 3, 4)
        theirs = model.Phase2(arch.in_channels, num_classes=4, iterations=3, gene=gene).eval()
    assert gene == [[list(block) for block in stage] for stage in arch.sources]
    ours, image = random_weights(build_network(arch), 0), _slices(arch)
    blocks: list[Tensor] = []
    for name, stages in ours.runs.items():
        row = theirs.decoders if name.startswith("decoder") else theirs.encoders
        runs = [row[stage // 2 * 4 + int(name[-1])] for stage in stages]
        blocks += [*tensors(runs[0].operator1[0]), *tensors(runs[0].operator2[0])]
        blocks += [tensor for run in runs for norm in (run.operator1[1], run.operator2[1]) for tensor in tensors(norm)]
    outside = [theirs.post_transform_conv_block, theirs.post2[0]]
    tail = [tensor for module in outside for tensor in tensors(module)]
    # With these skips nothing reads their bridge, and ours has none.
    assert ours.bridge is None
    give(ours, [*tensors(theirs.pre_transform_conv_block), *blocks, *tail])
    theirs.post2 = theirs.post2[0]
    with torch.no_grad():
        return difference(ours.segment(image), theirs(image))


def _slices(arch: Baseline) -> Tensor:
    return _volume(arch).transpose(1, 2).flatten(0, 1)


def _volume(arch: Baseline) -> Tensor:
    shape = (2, arch.in_channels, *arch.input_shape_DHW)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


COMPARISONS: dict[str, Callable[[Path], float]] = {
    "nnunet": nnunet("nnunet"),
    "nnunet-resenc": nnunet("nnunet-resenc"),
    "nas-unet": nas_unet,
    "bix-nas": bix_nas,
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
