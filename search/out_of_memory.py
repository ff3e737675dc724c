"""One line and a hint where a search or a training does not fit into memory."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import torch

from cinert.errors import BadInputError


@contextlib.contextmanager
def fits_in_memory(device: torch.device, *, hint: str) -> Iterator[None]:
    """Say of what runs out of memory in the block on which device, how much was asked for, and what takes less.

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
        asked = re.search(r"tried to allocate ([\d.]+ \w+)", str(error), re.IGNORECASE)
        size = "" if asked is None else f": {asked[1]} were asked for"
        raise BadInputError(f"out of memory on {device}{size}.", hint=hint) from error
