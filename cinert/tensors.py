"""Tensors and the notes beside them in a .safetensors file."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from torch import Tensor


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors by name, and the file's metadata.

    Raises:
        OSError: the file cannot be opened.
        safetensors.SafetensorError: it is not such a file, or is cut short.
    """
    with safe_open(path, framework="pt") as stream:
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dict
        return tensors, dict(stream.metadata() or {})
