"""Joining the processes that torchrun started, and leaving them: by one line, whichever of them fails."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from cinert.cli import console
from cinert.data import remarks
from cinert.errors import BadInputError, CineRTError
from search.device import resolve_device
from search.ranks import ALONE, Ranks

# As long as one rank may keep the others waiting, e.g. while it reads patients or trains the localiser.
_TIMEOUT = timedelta(hours=2)


def started_by_torchrun() -> bool:
    """Whether this process is one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextlib.contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """Be one of torchrun's processes while the block runs; without torchrun, alone.

    An error in one rank ends all. The first that fails says why; the others, who lose it, end in silence.

    Args:
        device: as the user named it; each of several ranks takes the GPU of its own number.

    Yields:
        The ranks, and the device of this one.

    Raises:
        BadInputError: a device that several ranks cannot take.
        BackendUnavailableError: a GPU that is not here.
    """
    if not started_by_torchrun():
        yield ALONE, resolve_device(device)
        return
    store, rank, size = next(rendezvous("env://", timeout=_TIMEOUT))
    store.set_timeout(_TIMEOUT)
    console.quiet = rank != 0
    remarks.begin(silent=rank != 0)
    try:
        where = resolve_device(_own(device))
        backend = "gloo" if where.type == "cpu" else "cpu:gloo,cuda:nccl"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_TIMEOUT)
        if where.type == "cuda":
            torch.cuda.set_device(where)
        yield Ranks(rank, size), where
    except BaseException as error:
        if not _first_to_fail(store):
            sys.exit(int(error.exit_code) if isinstance(error, CineRTError) else 1)
        raise
    finally:
        console.quiet = False
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _own(device: str) -> str:
    kind, _, index = device.partition(":")
    if index:
        raise BadInputError(
            f"device {device} is one GPU, and several processes were started.",
            hint="give --device cuda or cpu; CUDA_VISIBLE_DEVICES chooses among the GPUs.",
        )
    if kind == "cuda" or (kind == "auto" and torch.cuda.is_available()):
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return kind


def _first_to_fail(store: Store) -> bool:
    try:
        return bool(store.add("failed", 1) == 1)
    except RuntimeError:
        # The store ended with the process that held it.
        return True
