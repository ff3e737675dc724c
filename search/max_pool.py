"""Max-pool 3x3x3 with stride 1, axis after axis: 6 comparisons a voxel instead of 27, and nothing kept but the input.

`torch.nn.functional.max_pool3d` keeps an int64 index per voxel. Here backward finds the place of each maximum again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

AXES = (4, 3, 2)


def max_pool(x_BCDHW: Tensor) -> Tensor:
    """Largest value of the 27 around each voxel; what lies outside does not count. Shape as the input."""
    pooled: Tensor = _MaxPool.apply(x_BCDHW)  # type: ignore[no-untyped-call] # torch has no types for it
    return pooled


def _along(x: Tensor, axis: int) -> Tensor:
    """Largest of the three neighbours along an axis."""
    last = x.shape[axis] - 1
    pooled = x.clone()
    for here, there in ((0, 1), (1, 0)):
        window = pooled.narrow(axis, here, last)
        torch.maximum(window, x.narrow(axis, there, last), out=window)
    return pooled


def _gradient_along(gradient: Tensor, x: Tensor, pooled: Tensor, axis: int) -> Tensor:
    """Gradient of `_along`: all of it goes to the first of the three that has the maximum, as in torch."""
    last = x.shape[axis] - 1
    left_open = gradient.clone()
    before = left_open.narrow(axis, 1, last) * (x.narrow(axis, 0, last) == pooled.narrow(axis, 1, last))
    left_open.narrow(axis, 1, last).sub_(before)
    result = left_open * (x == pooled)
    left_open.sub_(result)
    result.narrow(axis, 0, last).add_(before)
    result.narrow(axis, 1, last).add_(left_open.narrow(axis, 0, last))
    return result


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        for axis in AXES:
            x = _along(x, axis)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        steps = [ctx.saved_tensors[0]]
        for axis in AXES:
            steps.append(_along(steps[-1], axis))
        (gradient,) = gradients
        for axis, x, pooled in reversed(list(zip(AXES, steps[:-1], steps[1:], strict=True))):
            gradient = _gradient_along(gradient, x, pooled, axis)
        return gradient
