"""The weighted ops of a supernet's cell, wide: from one input to all later nodes at once.

Batch norm takes the batch's own statistics and has no parameters: its scale is the op's probability, since conv -
batch norm - ReLU weighted by p >= 0 is conv - batch norm scaled by p - ReLU.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cinert.op_spec import FastPath, OpSpec
from cinert.space import Shape3

WEIGHTED: tuple[FastPath, ...] = ("convolution", "separable")
"""Fast paths that run as a wide convolution."""
_EPS = nn.BatchNorm3d(1).eps


class WideOp(nn.Module):
    """One weighted op from one input to each of `copies` later nodes, as the kernel of one convolution."""

    def __init__(self, op: OpSpec, channels: int, copies: int) -> None:
        super().__init__()
        self.channels, self.copies = channels, copies
        self.kernel_DHW, self.dilation_DHW = op.kernel_DHW, op.dilation_DHW
        wide = channels * copies
        self.depthwise: nn.Conv3d | None = None
        if op.fast_path == "separable":
            self.depthwise = nn.Conv3d(wide, wide, op.kernel_DHW, groups=wide, bias=False)
            self.convolution = nn.Conv3d(wide, wide, 1, groups=copies, bias=False)
        else:
            self.convolution = nn.Conv3d(channels, wide, op.kernel_DHW, bias=False)

    @property
    def window(self) -> tuple[Shape3, Shape3]:
        """Dilation and kernel along D, H, W: ops that share both run as one convolution."""
        return self.dilation_DHW, self.kernel_DHW

    def kernel(self, copies: Sequence[int]) -> Tensor:
        """Weights (copies x channels, channels, *kernel_DHW) towards some of the nodes.

        Nothing comes between the two convolutions of `separable`, so that they are one, of rank one per pair of
        channels. At a few channels it costs less than a depthwise convolution and its gradient.
        """
        places = list(copies)
        shape = (self.copies, self.channels)
        weights = self.convolution.weight.view(*shape, -1, *self.convolution.kernel_size)[places]
        if self.depthwise is not None:
            depthwise = self.depthwise.weight.view(self.copies, 1, self.channels, *self.kernel_DHW)
            weights = weights * depthwise[places]
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
    in_order = sorted(ops, key=lambda one: one[0].window)
    for (dilation, size), group in itertools.groupby(in_order, key=lambda one: one[0].window):
        alike = list(group)
        kernel = torch.cat([op.kernel(copies) for op, _ in alike])
        padding = [step * (taps // 2) for step, taps in zip(dilation, size, strict=True)]
        outputs.append(functional.conv3d(x_BCDHW, kernel, padding=padding, dilation=dilation))
        scales.append(torch.cat([weight.repeat_interleave(op.channels) for op, weight in alike]))
    return _add_normalised(len(copies) * ops[0][0].channels, outputs, scales)


def _add_normalised(channels: int, outputs: Sequence[Tensor], scales: Sequence[Tensor]) -> Tensor:
    """Sum, over blocks of `channels`, of ReLU of the scaled batch norm of each output."""
    blocks: list[Tensor] = []
    for output, scale in zip(outputs, scales, strict=True):
        normalised = functional.batch_norm(output, None, None, weight=scale, training=True, eps=_EPS)
        blocks += torch.split(functional.relu(normalised), channels, dim=1)
    return sum(blocks[1:], start=blocks[0])
