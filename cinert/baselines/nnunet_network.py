"""nnU-Net's networks as torch modules.

Written anew after dynamic_network_architectures: that package asks for timm, and so for torchvision, and holds its
weights under several names each, which safetensors refuses.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from cinert.baselines.blocks import enlarging
from cinert.baselines.nnunet import NnUNet, NnUNetResEnc
from cinert.segmenter import Segmenter
from cinert.space import CLASSES, Shape3

_SLOPE = 0.01
_NO_STRIDE: Shape3 = (1, 1, 1)


class ImageNorm(nn.InstanceNorm3d):
    """Instance norm that takes an empty batch, and leaves channels last where they lie last.

    PyTorch refuses the one, which a process of several is left with in training, and turns the other, so that every
    convolution after it would be slow on a CPU.
    """

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Normalise each channel of each image; the shape is kept."""
        if x_BCDHW.shape[0] == 0:
            # Still a function of scale and shift, whose gradients are then zero.
            return x_BCDHW * self.weight[:, None, None, None] + self.bias[:, None, None, None]
        return _laid_out_as(x_BCDHW, super().forward(x_BCDHW))


class ImagePool(nn.AvgPool3d):
    """Average pooling that leaves channels last where they lie last."""

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Pool; every axis is divided by the stride."""
        return _laid_out_as(x_BCDHW, super().forward(x_BCDHW))


def _laid_out_as(read: Tensor, given: Tensor) -> Tensor:
    last = read.is_contiguous(memory_format=torch.channels_last_3d) and not read.is_contiguous()
    return given.contiguous(memory_format=torch.channels_last_3d) if last else given


def _normed(
    channels_in: int, channels_out: int, kernel: Shape3, stride: Shape3 = _NO_STRIDE, *, bias: bool = True
) -> list[nn.Module]:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    convolution = nn.Conv3d(channels_in, channels_out, kernel, stride, padding, bias=bias)
    return [convolution, ImageNorm(channels_out, affine=True)]


def _conv(channels_in: int, channels_out: int, kernel: Shape3, stride: Shape3 = _NO_STRIDE) -> nn.Sequential:
    return nn.Sequential(*_normed(channels_in, channels_out, kernel, stride), nn.LeakyReLU(_SLOPE))


def _convs(count: int, channels_in: int, width: int, kernel: Shape3, stride: Shape3 = _NO_STRIDE) -> nn.Sequential:
    return nn.Sequential(
        _conv(channels_in, width, kernel, stride), *(_conv(width, width, kernel) for _ in range(count - 1))
    )


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut (He 2019, ResNet-D); the first one has the stride.

    Maps (B, channels_in, D, H, W) to (B, width, D / stride, H / stride, W / stride).
    """

    def __init__(self, channels_in: int, width: int, kernel: Shape3, stride: Shape3) -> None:
        super().__init__()
        self.convs = nn.Sequential(_conv(channels_in, width, kernel, stride), *_normed(width, width, kernel))
        pooled = [] if stride == _NO_STRIDE else [ImagePool(stride, stride)]
        widened = [] if channels_in == width else _normed(channels_in, width, (1, 1, 1), bias=False)
        self.shortcut = nn.Sequential(*pooled, *widened)
        self.activation = nn.LeakyReLU(_SLOPE)

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Add what the convolutions give to the shortcut."""
        activated: Tensor = self.activation(self.convs(x_BCDHW) + self.shortcut(x_BCDHW))
        return activated

    def begin_as_shortcut(self) -> None:
        """Let the convolutions give nothing at first: the block begins as its shortcut."""
        norm = self.convs[-1]
        assert isinstance(norm, nn.InstanceNorm3d)
        nn.init.zeros_(norm.weight)
        nn.init.zeros_(norm.bias)


class NnUNetNetwork(Segmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W)."""

    def __init__(self, arch: NnUNet | NnUNetResEnc) -> None:
        super().__init__(arch)
        widths, kernels = arch.widths, arch.kernels
        self.stem, self.down = _encoder(arch)
        self.enlarge = nn.ModuleList(
            enlarging(3, coarse, fine, stride)
            for (fine, coarse), stride in zip(itertools.pairwise(widths), arch.strides, strict=True)
        )
        self.up = nn.ModuleList(
            _convs(arch.convs_per_level, 2 * width, width, kernel)
            for width, kernel in zip(widths[:-1], kernels, strict=False)
        )
        self.head = nn.Conv3d(widths[0], len(CLASSES), 1)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, a=_SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, ResidualBlock):
                module.begin_as_shortcut()

    def side_outputs(self) -> list[nn.Module]:
        """Levels on the way up but the finest, finest first."""
        return list(self.up)[1:]

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Go down, keep each level's result, and join it on the way up."""
        x, skipped = x_BCDHW if self.stem is None else self.stem(x_BCDHW), []
        for level in self.down:
            x = level(x)
            skipped.append(x)
        for enlarge, level, fine in zip(reversed(self.enlarge), reversed(self.up), reversed(skipped[:-1]), strict=True):
            x = level(torch.cat((enlarge(x), fine), dim=1))
        logits: Tensor = self.head(x)
        return logits


def _encoder(arch: NnUNet | NnUNetResEnc) -> tuple[nn.Module | None, nn.ModuleList]:
    """The stem, None for a plain encoder, and the levels on the way down."""
    strides = (_NO_STRIDE, *arch.strides)
    if isinstance(arch, NnUNet):
        before = (arch.in_channels, *arch.widths)
        levels = [
            _convs(arch.convs_per_level, channels, width, kernel, stride)
            for channels, width, kernel, stride in zip(before, arch.widths, arch.kernels, strides, strict=False)
        ]
        return None, nn.ModuleList(levels)
    before = (arch.widths[0], *arch.widths)
    blocks = [
        nn.Sequential(
            ResidualBlock(channels, width, kernel, stride),
            *(ResidualBlock(width, width, kernel, _NO_STRIDE) for _ in range(count - 1)),
        )
        for channels, width, kernel, stride, count in zip(
            before, arch.widths, arch.kernels, strides, arch.blocks, strict=False
        )
    ]
    return _conv(arch.in_channels, arch.widths[0], arch.kernels[0]), nn.ModuleList(blocks)
