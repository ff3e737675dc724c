"""The timing cache: tactics that TensorRT has timed on a GPU, shared by all engines built there.

Ops of one space have many kernels in common, so a LUT is built several times faster with it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from cinert.backends.tensorrt.flavour import Flavour, load, version
from cinert.environment import cache_folder
from cinert.errors import BadInputError
from cinert.files import atomic_path


def timing_cache_path(flavour: Flavour, capability: str) -> Path:
    """Where the cache of a library's version and a GPU's compute capability lies."""
    number = capability.replace(".", "")
    return cache_folder() / f"{flavour.backend}-{version(load(flavour))}-sm{number}.timing-cache"


def read_timing_cache(flavour: Flavour, capability: str) -> bytes | None:
    """Read it; None where there is none. TensorRT checks that it fits."""
    path = timing_cache_path(flavour, capability)
    return path.read_bytes() if path.is_file() else None


def write_timing_cache(flavour: Flavour, capability: str, data: bytes) -> None:
    """Keep it for the next build. A cache that cannot be written is no reason to stop."""
    with contextlib.suppress(BadInputError), atomic_path(timing_cache_path(flavour, capability)) as partial:
        partial.write_bytes(data)
