"""The weighted ops of a supernet's cell, wide: from one input to all later nodes at once.

Batch norm takes the batch's own statistics and has no parameters: its scale is the op's probability, since conv -
batch norm - ReLU weighted by p >= 0 is conv - batch norm scaled by p - ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cinert.space import OpName

WEIGHTED: tuple[OpName, ...] = ("conv", "dilated", "separable")
_EPS = nn.BatchNorm3d(1).eps


class WideOp(nn.Module):
    """One weighted op from one input to each of `copies` later nodes, as the kernel of one convolution."""

    def __init__(self, op: OpName, channels: int, copies: int) -> None:
        super().__init__()
        self.channels, self.copies = channels, copies
        self.dilation = 2 if op == "dilated" else 1
        wide = channels * copies
        self.depthwise: nn.Conv3d | None = None
        if op == "separable":
            self.depthwise = nn.Conv3d(wide, wide, 3, groups=wide, bias=False)
            self.convolution = nn.Conv3d(wide, wide, 1, groups=copies, bias=False)
        else:
            self.convolution = nn.Conv3d(channels, wide, 3, bias=False)

    def kernel(self, copies: Sequence[int]) -> Tensor:
        """Weights (copies x channels, channels, 3, 3, 3) towards some of the nodes.

        Nothing comes between the two convolutions of `separable`, so that they are one, of rank one per pair of
        channels. At a few channels it costs less than a depthwise convolution and its gradient.
        """
        places = list(copies)
        shape = (self.copies, self.channels)
        weights = self.convolution.weight.view(*shape, -1, *self.convolution.kernel_size)[places]
        if self.depthwise is not None:
            weights = weights * self.depthwise.weight.view(self.copies, 1, self.channels, 3, 3, 3)[places]
        return weights.flatten(0, 1)


def run_wide(x_BCDHW: Tensor, ops: Sequence[tuple[WideOp, Tensor]], copies: Sequence[int]) -> Tensor:
    """Sum of some ops, each weighted, from one input to some nodes.

    Args:
        x_BCDHW: (B, channels, D, H, W).
        ops: with their probabilities, (len(copies),).
        copies: nodes to compute, as places among those that read the input.

    Returns:
        (B, len(copies) x channels, D, H, W), node by node.
    """
    outputs, scales = [], []
    for dilation in (1, 2):
        alike = [(op, weight) for op, weight in ops if op.dilation == dilation]
        if alike:
            kernel = torch.cat([op.kernel(copies) for op, _ in alike])
            outputs.append(functional.conv3d(x_BCDHW, kernel, padding=dilation, dilation=dilation))
            scales.append(torch.cat([weight.repeat_interleave(op.channels) for op, weight in alike]))
    return _add_normalised(len(copies) * ops[0][0].channels, outputs, scales)


def _add_normalised(channels: int, outputs: Sequence[Tensor], scales: Sequence[Tensor]) -> Tensor:
    """Sum, over blocks of `channels`, of ReLU of the scaled batch norm of each output."""
    blocks: list[Tensor] = []
    for output, scale in zip(outputs, scales, strict=True):
        normalised = functional.batch_norm(output, None, None, weight=scale, training=True, eps=_EPS)
        blocks += torch.split(functional.relu(normalised), channels, dim=1)
    return sum(blocks[1:], start=blocks[0])
