"""One line and a hint where a search or a training does not fit into memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from cinert.errors import BadInputError


@contextlib.contextmanager
def fits_in_memory(device: torch.device, *, hint: str) -> Iterator[None]:
    """Say of what runs out of memory in the block which device that was, and what takes less.

    Args:
        device: where the block computes.
        hint: to the user.

    Raises:
        BadInputError: an allocation failed; what was written before stays.
    """
    try:
        yield
    except RuntimeError as error:
        # On a CPU torch has no type of its own for it.
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        raise BadInputError(f"out of memory on {device}.", hint=hint) from error
