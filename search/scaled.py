"""Features joined and weighted by one probability, whose gradient takes no features-sized tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from search.pointwise import rows, volume


def scaled_concatenation(features: Sequence[Tensor], scale: Tensor) -> Tensor:
    """Concatenate features (B, C, D, H, W) along channels, and multiply them with a scalar ()."""
    joined: Tensor = _ScaledConcatenation.apply(scale, *features)  # type: ignore[no-untyped-call] # torch has no types for it
    return joined


class _ScaledConcatenation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scale: Tensor, *features: Tensor) -> Tensor:
        learnt = ctx.needs_input_grad[0]
        ctx.save_for_backward(scale, *(features if learnt else ()))
        ctx.widths = [part.shape[1] for part in features]
        first = rows(features[0])
        joined = first.new_empty(len(first), sum(ctx.widths))
        for part, place in zip(features, torch.split(joined, ctx.widths, dim=1), strict=True):
            torch.mul(rows(part), scale, out=place)
        return volume(joined, features[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        scale, *features = ctx.saved_tensors
        parts = torch.split(rows(gradient), ctx.widths, dim=1)
        for_scale = None
        if features:
            # The trace of a small product: a sum of products without a tensor of them.
            shares = [(rows(x).t() @ part).trace() for x, part in zip(features, parts, strict=True)]
            for_scale = torch.stack(shares).sum()
        return for_scale, *(volume(part * scale, gradient) for part in parts)
