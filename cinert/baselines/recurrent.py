"""A block that is run several times with the same convolutions."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.functional import relu
from torch.nn.utils.fusion import fuse_conv_bn_eval


class RecurrentBlock(nn.Module):
    """Convolutions that all iterations share, each followed by a batch norm of the iteration's own and ReLU."""

    def __init__(self, channels_in: int, channels_out: int, *, kernel: int, convs: int, iterations: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(
                channels_in if number == 0 else channels_out, channels_out, kernel, padding=kernel // 2, bias=False
            )
            for number in range(convs)
        )
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(channels_out) for _ in range(convs)) for _ in range(iterations)
        )
        self.unrolled = nn.ModuleList()

    def unroll(self) -> None:
        """Fold each iteration's norms into its own copy of the convolutions, in place; the block is in eval mode."""
        for iteration in range(len(self.norms)):
            pairs = self._layers(iteration)
            self.unrolled.append(nn.ModuleList(fuse_conv_bn_eval(convolution, norm) for convolution, norm in pairs))
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()

    def forward(self, x_NCHW: Tensor, iteration: int) -> Tensor:
        """Map (N, channels_in, H, W) to (N, channels_out, H, W)."""
        if len(self.unrolled) > 0:
            folded = self.unrolled[iteration]
            assert isinstance(folded, nn.ModuleList)
            for convolution in folded:
                x_NCHW = relu(convolution(x_NCHW))
            return x_NCHW
        for convolution, norm in self._layers(iteration):
            x_NCHW = relu(norm(convolution(x_NCHW)))
        return x_NCHW

    def _layers(self, iteration: int) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        norms = self.norms[iteration]
        assert isinstance(norms, nn.ModuleList)
        for convolution, norm in zip(self.convolutions, norms, strict=True):
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            yield convolution, norm
