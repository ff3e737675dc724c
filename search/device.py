"""Where to compute: `auto`, `cpu` or `cuda:N`."""

from __future__ import annotations

import torch

from cinert.backends.allocator import keep_memory
from cinert.environment import default_threads
from cinert.errors import BackendUnavailableError, BadInputError


def resolve_device(name: str) -> torch.device:
    """Choose a device; `auto` takes the first GPU where there is one. On a CPU, set the number of threads.

    Raises:
        BadInputError: not one of `auto`, `cpu`, `cuda`, `cuda:N`.
        BackendUnavailableError: a GPU that this machine does not have.
    """
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        torch.set_num_threads(min(torch.get_num_threads(), default_threads()))
        # A step allocates the same blocks as the one before: faulted in anew, they take a tenth of its time.
        keep_memory()
        return torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind != "cuda" or not (index == "" or (index.isascii() and index.isdigit())):
        raise BadInputError(f"unknown device {name!r}.", hint="devices are auto, cpu and cuda:N.")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(index or 0)
    if number >= found:
        raise BackendUnavailableError(
            f"device {name} is not available because torch sees {found} NVIDIA GPUs here.", hint="use --device cpu."
        )
    return torch.device("cuda", number)
