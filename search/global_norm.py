"""Batch norm over the batches of all ranks, on a CPU too, where torch.nn.SyncBatchNorm does not run.

A function mode takes the place of `torch.nn.functional.batch_norm` while it is entered, so that neither modules nor
their names in checkpoints change. The arithmetic is that of SyncBatchNorm: mean and variance are merged from those of
the ranks (Chan et al. 1979), and so are the two sums of the gradient (Ioffe & Szegedy 2015).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from search.ranks import Ranks

_UNKNOWN = {torch.batch_norm, torch.native_batch_norm}
_ENTERED: ContextVar[GlobalBatchNorm | None] = ContextVar("_ENTERED", default=None)


@contextlib.contextmanager
def synchronised(ranks: Ranks) -> Iterator[None]:
    """Where a network runs forward and backward: with a `GlobalBatchNorm` if there are several ranks."""
    if ranks.size == 1:
        yield
        return
    # The mode is that of this thread, and a checkpointed cell runs forward again in the backward pass.
    with GlobalBatchNorm(ranks) as mode, torch.autograd.set_multithreading_enabled(False):
        token = _ENTERED.set(mode)
        try:
            yield
        finally:
            _ENTERED.reset(token)


def recomputed_alike() -> tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]:
    """Contexts of a checkpointed cell, forward and again in the backward pass, in which torch leaves all modes."""
    return contextlib.nullcontext(), _ENTERED.get() or contextlib.nullcontext()


class GlobalBatchNorm(TorchFunctionMode):
    """While entered, training batch norm uses the statistics of all ranks; every rank must run the same ones in order.

    Args:
        ranks: more than one.
    """

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self._ranks = ranks

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take over training batch norm, and pass on everything else."""
        if func is functional.batch_norm:
            return self._normalise(*args, **(kwargs or {}))
        if func in _UNKNOWN:
            raise TypeError(f"{func} would use the statistics of one rank alone; call functional.batch_norm")
        return func(*args, **(kwargs or {}))

    def _normalise(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
        mean, var, count = self._statistics(x)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean), momentum)
                running_var.lerp_((var * count / (count - 1)).to(running_var), momentum)
        normalised: Tensor = _Normalise.apply(  # type: ignore[no-untyped-call] # torch has no types for it
            x, weight, bias, mean.float(), var.float(), eps, count, self._ranks
        )
        return normalised

    @torch.no_grad()
    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, float]:
        """Mean and biased variance of each channel (C,), float64, and voxels per channel, over all ranks."""
        channels = x.shape[1]
        own = x.new_zeros(2 * channels + 1, dtype=torch.float64)
        # A share may be empty, whose mean is NaN.
        if x.numel():
            var, mean = torch.var_mean(x.float(), _axes(x), correction=0)
            own[:channels], own[channels:-1], own[-1] = mean, var, x.numel() / channels
        means, variances, counts = torch.split(
            torch.stack(self._ranks.gather_alike(own)), [channels, channels, 1], dim=1
        )
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        var = (counts * (variances + (means - mean).square())).sum(0) / count
        return mean, var, float(count)


class _Normalise(torch.autograd.Function):
    """(x - mean) / std * weight + bias, whose gradient knows that mean and std come from all ranks."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        eps: float,
        count: float,
        ranks: Ranks,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt())
        ctx.has_bias, ctx.count, ctx.ranks = bias is not None, count, ranks
        return functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        gradient, axes = gradients[0].float(), _axes(x)
        shape = [1, -1] + [1] * (x.dim() - 2)
        normalised = (x.float() - mean.view(shape)) * inverse_std.view(shape)
        # Of the weight and bias each rank has its own part: they are summed with all other gradients.
        own = torch.stack([gradient.sum(axes), (gradient * normalised).sum(axes)])
        mean_of, mean_of_product = (ctx.ranks.sum(own.clone()) / ctx.count).unbind()
        scale = inverse_std if weight is None else inverse_std * weight.float()
        for_x = scale.view(shape) * (gradient - mean_of.view(shape) - normalised * mean_of_product.view(shape))
        for_weight = None if weight is None else own[1].to(weight)
        return for_x.to(x), for_weight, own[0] if ctx.has_bias else None, None, None, None, None, None


def _axes(x: Tensor) -> list[int]:
    return [axis for axis in range(x.dim()) if axis != 1]
