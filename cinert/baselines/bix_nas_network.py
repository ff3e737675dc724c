"""The network of BiX-NAS as a torch module."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from cinert.baselines.bix_nas import BixNas
from cinert.baselines.blocks import conv_block
from cinert.baselines.recurrent import RecurrentBlock
from cinert.baselines.slices import SliceSegmenter
from cinert.space import CLASSES


class Projection(nn.Module):
    """Takes features of a level to another level's grid and width, in the runs that need it."""

    def __init__(self, arch: BixNas, source: int, target: int, *, runs: Sequence[int]) -> None:
        super().__init__()
        # Runs that do not read it get no norm, because nothing would train it.
        self.runs = tuple(runs)
        self.convolution = RecurrentBlock(
            arch.widths[source], arch.widths[target], kernel=1, convs=1, iterations=len(self.runs)
        )
        self.pools = source < target
        low, high = sorted((source, target))
        self.factor_HW = (
            math.prod(stride[1] for stride in arch.strides[low:high]),
            math.prod(stride[2] for stride in arch.strides[low:high]),
        )

    def forward(self, x_NCHW: Tensor, run: int) -> Tensor:
        """Resize and convolve, in the order that computes less."""
        rows, columns = self.factor_HW
        use = self.runs.index(run)
        if self.pools:
            pooled: Tensor = self.convolution(max_pool2d(x_NCHW, self.factor_HW, self.factor_HW), use)
            return pooled
        size = (x_NCHW.shape[2] * rows, x_NCHW.shape[3] * columns)
        return interpolate(self.convolution(x_NCHW, use), size=size, mode="bilinear", align_corners=False)


class Stage(nn.Module):
    """Encoder or decoder: a block at each level, the steps between its levels, and the skips into it."""

    def __init__(self, arch: BixNas, *, encodes: bool) -> None:
        super().__init__()
        levels = range(len(arch.widths))
        self.order = tuple(levels) if encodes else tuple(reversed(levels))
        stages = arch.skips[1::2] if encodes else arch.skips[::2]
        self.blocks = nn.ModuleList(
            RecurrentBlock(width, width, kernel=3, convs=arch.convs_per_level, iterations=arch.iterations)
            for width in arch.widths
        )
        self.steps = nn.ModuleDict(
            {
                _name(source, target): Projection(arch, source, target, runs=range(arch.iterations))
                for source, target in zip(self.order, self.order[1:], strict=False)
            }
        )
        runs_of: dict[tuple[int, int], list[int]] = {}
        for run, stage in enumerate(stages, start=int(encodes)):
            for target, sources in enumerate(stage):
                for source in sources:
                    runs_of.setdefault((source, target), []).append(run)
        self.skips = nn.ModuleDict(
            {
                _name(source, target): Projection(arch, source, target, runs=runs)
                for (source, target), runs in runs_of.items()
                if source != target
            }
        )

    def step(self, x_NCHW: Tensor, source: int, target: int, run: int) -> Tensor:
        """What a block passes on to the next one of its stage."""
        taken: Tensor = self.steps[_name(source, target)](x_NCHW, run)
        return taken

    def skip(self, x_NCHW: Tensor, source: int, target: int, run: int) -> Tensor:
        """What a block reads of the stage before."""
        return x_NCHW if source == target else self.skips[_name(source, target)](x_NCHW, run)


def _name(source: int, target: int) -> str:
    return f"from{source}_to{target}"


class BixNasNetwork(SliceSegmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W), slice by slice."""

    arch: BixNas

    def __init__(self, arch: BixNas) -> None:
        super().__init__(arch)
        self.stem = conv_block(2, arch.in_channels, arch.widths[0])
        self.stages = nn.ModuleList((Stage(arch, encodes=True), Stage(arch, encodes=False)))
        self.head = nn.Conv2d(arch.widths[0], len(CLASSES), 1)

    def side_outputs(self) -> list[nn.Module]:
        """Blocks of the decoder between its finest and its coarsest level; what they give last goes to the head."""
        decoder = self.stages[1]
        assert isinstance(decoder, Stage)
        return list(decoder.blocks)[1:-1]

    def segment(self, x_NCHW: Tensor) -> Tensor:
        """Run encoder and decoder in turn; a block averages what arrives from its own stage and the one before."""
        stem = self.stem(x_NCHW)
        before: dict[int, Tensor] = {}
        for number in range(2 * self.arch.iterations):
            stage = self.stages[number % 2]
            assert isinstance(stage, Stage)
            before = self._run(stage, number, stem, before)
        logits: Tensor = self.head(before[0])
        return logits

    def _run(self, stage: Stage, number: int, stem: Tensor, before: dict[int, Tensor]) -> dict[int, Tensor]:
        run, done = number // 2, dict[int, Tensor]()
        for position, level in enumerate(stage.order):
            arriving = [stem] if level == 0 and number % 2 == 0 else []
            if position > 0:
                neighbour = stage.order[position - 1]
                arriving.append(stage.step(done[neighbour], neighbour, level, run))
            if number > 0:
                sources = self.arch.skips[number - 1][level]
                arriving += [stage.skip(before[source], source, level, run) for source in sources]
            # A product, not a quotient: it runs in half precision.
            mean = sum(arriving[1:], arriving[0]) * (1.0 / len(arriving))
            done[level] = stage.blocks[level](mean, run)
        return done
