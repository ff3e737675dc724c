"""Checkpoints that a kill cannot break: one safetensors file, replaced whole, never pickle.

Tensors and the JSON that belongs to them are in the same file, so that they cannot come from different epochs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from cinert.errors import BadInputError
from cinert.files import atomic_path
from cinert.tensors import read_tensors

KEY = "cinert"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and plain values."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with `prefix.`, without it."""
        start = f"{prefix}."
        return {name.removeprefix(start): tensor for name, tensor in self.tensors.items() if name.startswith(start)}


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put `prefix.` before each name."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write tensors and values, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    with atomic_path(path) as partial:
        # Not `save_file`: it reports a full disk by an error of its own that says neither file nor errno.
        partial.write_bytes(save(tensors, metadata={KEY: json.dumps(checkpoint.values, allow_nan=False)}))


def load_checkpoint(path: Path, *, schema: str, version: int | tuple[int, ...]) -> Checkpoint:
    """Read what `save_checkpoint` wrote; where several versions are given, each of them will do.

    Raises:
        BadInputError: the file cannot be read, or is of another schema or version.
    """
    try:
        tensors, metadata = read_tensors(path)
        values = json.loads(metadata.get(KEY, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInputError(f"checkpoint {path} cannot be read: {error}.", hint="start anew with --restart.") from error
    versions = version if isinstance(version, tuple) else (version,)
    if values.get("schema") != schema or values.get("version") not in versions:
        raise BadInputError(
            f"checkpoint {path} is {values.get('schema')!r} version {values.get('version')!r},"
            f" expected {schema!r} version {' or '.join(map(str, versions))}.",
            hint="start anew with --restart, or choose another output.",
        )
    return Checkpoint(tensors, values)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """State of an optimizer as named tensors, e.g. `3.exp_avg`; learning rates follow from the step and stay out."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, entries in state.items()
        for name, value in entries.items()
        if value is not None
    }


def load_optimizer_tensors(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; the optimizer must have the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, entry = name.partition(".")
        state.setdefault(int(index), {})[entry] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
