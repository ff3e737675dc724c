"""Several processes that compute one search or training together (data parallel), each on its share of every batch.

The result is that of one process with the same batch, up to rounding: every rank draws the same random numbers and
paths, batch norm takes the statistics of the whole batch (`search.global_norm`), the loss is taken of all logits, and
gradients are summed. They are summed in one flat tensor after the backward pass, not by DistributedDataParallel: the
networks have at most some million weights, sampled paths leave most of the supernet without a gradient, and the
gradients of the architecture come from `torch.autograd.grad`, which that wrapper does not see.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from cinert.errors import CineRTError

T = TypeVar("T")


class RankLostError(CineRTError):
    """Another process of the run ended or cannot be reached."""


class Ranks:
    """The processes of a run; a process alone is a group of one, and then nothing is sent.

    Args:
        rank: of this process, counted from 0.
        size: number of processes; more than one needs torch.distributed to be set up.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files and talks."""
        return self.rank == 0

    def mine(self, batch: Sequence[T]) -> Sequence[T]:
        """This rank's share of a batch: a run of it, which may be empty; the first ranks have the odd ones."""
        start = sum(self.shares(len(batch))[: self.rank])
        return batch[start : start + self.shares(len(batch))[self.rank]]

    def shares(self, count: int) -> list[int]:
        """How many of `count` entries each rank has."""
        return [count // self.size + (rank < count % self.size) for rank in range(self.size)]

    def gather(self, share: Tensor, count: int) -> Tensor:
        """Join the shares of a batch along its first axis, in order; gradients flow into this rank's own.

        Args:
            share: (entries of this rank, ...).
            count: entries of all ranks together.

        Raises:
            RankLostError: another process ended.
        """
        if self.size == 1:
            return share
        counts = self.shares(count)
        # Shares differ by one entry, and all_gather wants them alike.
        padded = share.new_zeros(max(counts), *share.shape[1:])
        padded[: len(share)] = share.detach()
        found = self.gather_alike(padded)
        found[self.rank] = share
        return torch.cat([each[:length] for each, length in zip(found, counts, strict=True)])

    def gather_alike(self, tensor: Tensor) -> list[Tensor]:
        """A tensor of the same shape of every rank, without gradients; raises as `gather`."""
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        with self._talking():
            distributed.all_gather(found, tensor)
        return found

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the ranks, in place; the same bits on each. Raises as `gather`."""
        if self.size > 1:
            with self._talking():
                distributed.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sum the gradients over the ranks, which must agree on which parameters have one. Raises as `gather`."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        summed = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, torch.split(summed, [each.numel() for each in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def counted_once(self, value: Tensor) -> Tensor:
        """A value that each rank computes alike, whose gradient counts once when all are summed."""
        return value if self.size == 1 else value.detach() + (value - value.detach()) / self.size

    def together(self, value: T) -> list[T]:
        """The values of all ranks, in order; anything that can be pickled. Raises as `gather`."""
        found: list[Any] = [None] * self.size
        if self.size == 1:
            return [value]
        with self._talking():
            distributed.all_gather_object(found, value)
        return found

    def from_main(self, make: Callable[[], T]) -> T:
        """What `make` returns in the first process, in all of them. Raises as `gather`."""
        found: list[Any] = [make() if self.is_main else None]
        if self.size > 1:
            with self._talking():
                distributed.broadcast_object_list(found)
        value: T = found[0]
        return value

    def require_same(self, tensors: Iterable[Tensor]) -> None:
        """Stop when weights differ between ranks, which nothing but a fault can bring about.

        Raises:
            CineRTError: they differ.
            RankLostError: another process ended.
        """
        if self.size == 1:
            return
        # As text, since NaN is not equal to itself: a run that diverged did so on all ranks alike.
        digest = [float(tensor.detach().double().abs().sum()).hex() for tensor in tensors]
        differing = [rank for rank, other in enumerate(self.together(digest)) if other != digest]
        if differing:
            raise CineRTError(
                f"rank {self.rank} has other weights than rank {differing[0]}.",
                hint="are all GPUs of one kind, with the same versions of torch?",
            )

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            # gloo begins with its own source line in brackets, and goes on about bugs.
            reason = re.sub(r"^\[[^]]*\]\s*", "", str(error)).partition(". ")[0].splitlines()[0]
            raise RankLostError(
                f"rank {self.rank} of {self.size} lost another one: {reason}.",
                hint="give the same command again, it continues after the last epoch that was written.",
            ) from error


ALONE = Ranks()
"""This process and no other."""
