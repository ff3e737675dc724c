"""BiX-NAS with its authors' skips as a torch module."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from cinert.baselines.bix_nas_published import PublishedBixNas
from cinert.baselines.blocks import conv_block
from cinert.baselines.recurrent import RecurrentBlock
from cinert.baselines.slices import SliceSegmenter
from cinert.space import CLASSES

Size = tuple[int, int]
_CONVS = 2


class PublishedBixNasNetwork(SliceSegmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W), slice by slice."""

    arch: PublishedBixNas

    def __init__(self, arch: PublishedBixNas) -> None:
        super().__init__(arch)
        width, outside, levels = arch.widths[0], arch.stem_width, len(arch.widths)
        self.needed = arch.needed()
        self.stem = nn.Sequential(
            conv_block(2, arch.in_channels, outside), conv_block(2, outside, outside), conv_block(2, outside, width)
        )
        # Blocks that no iteration needs are not there, and norms only for the iterations that need them.
        self.blocks = nn.ModuleDict()
        self.runs: dict[str, list[int]] = {}
        for kind in range(2):
            for block in range(levels):
                stages = [stage for stage in range(kind, len(arch.sources), 2) if block in self.needed[stage]]
                if stages:
                    self.runs[_name(kind, block)] = stages
                    self.blocks[_name(kind, block)] = RecurrentBlock(
                        width, width, kernel=3, convs=_CONVS, iterations=len(stages)
                    )
        self.bridge: nn.Module | None = None
        if any(0 in self.needed[stage] and 0 in arch.sources[stage][0] for stage in range(1, len(arch.sources), 2)):
            self.bridge = nn.Sequential(conv_block(2, width, width), conv_block(2, width, width))
        self.tail = nn.Sequential(conv_block(2, width, outside), conv_block(2, outside, outside))
        self.head = nn.Conv2d(outside, len(CLASSES), 1, bias=False)

    def side_outputs(self) -> list[nn.Module]:
        """Blocks of the decoder between its finest and its coarsest level, finest first; the last iteration's count."""
        middle = range(len(self.arch.widths) - 2, 0, -1)
        last = len(self.arch.sources) - 1
        return [self.blocks[_name(1, block)] for block in middle if block in self.needed[last]]

    def segment(self, x_NCHW: Tensor) -> Tensor:
        """Run encoders and decoders in turn at half the image's size, and the tail at all of it."""
        stem = max_pool2d(self.stem(x_NCHW), 2)
        sizes = [(stem.shape[2], stem.shape[3])]
        for _ in self.arch.widths[1:]:
            sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
        before: dict[int, Tensor] = {}
        for stage in range(len(self.arch.sources)):
            before = self._run(stage, stem, before, sizes if stage % 2 == 0 else sizes[::-1])
        finest = before[len(self.arch.widths) - 1]
        logits: Tensor = self.head(self.tail(_brought(finest, (x_NCHW.shape[2], x_NCHW.shape[3]))))
        return logits

    def _run(self, stage: int, stem: Tensor, before: dict[int, Tensor], sizes: list[Size]) -> dict[int, Tensor]:
        done: dict[int, Tensor] = {}
        for block, size in enumerate(sizes):
            if block not in self.needed[stage]:
                continue
            arriving = [
                _brought(self._chain(stage, block, stem, before, done) if source == 0 else before[source - 1], size)
                for source in self.arch.sources[stage][block]
            ]
            # A product, not a quotient: it runs in half precision.
            mean = sum(arriving[1:], arriving[0]) * (1.0 / len(arriving))
            name = _name(stage % 2, block)
            done[block] = self.blocks[name](mean, self.runs[name].index(stage))
        return done

    def _chain(
        self, stage: int, block: int, stem: Tensor, before: dict[int, Tensor], done: dict[int, Tensor]
    ) -> Tensor:
        """What comes from the block before; an encoder pools it, a decoder enlarges it."""
        if stage % 2 == 0:
            return stem if block == 0 else max_pool2d(done[block - 1], 2)
        if block > 0:
            return done[block - 1]
        assert self.bridge is not None
        bridged: Tensor = self.bridge(max_pool2d(before[len(self.arch.widths) - 1], 2))
        return bridged


def _name(kind: int, block: int) -> str:
    return f"{'decoder' if kind else 'encoder'}{block}"


def _brought(x_NCHW: Tensor, size_HW: Size) -> Tensor:
    if x_NCHW.shape[2:] == size_HW:
        return x_NCHW
    return interpolate(x_NCHW, size=size_HW, mode="bilinear", align_corners=True)
