"""Tiny trained networks in a folder, as train-arch leaves them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from cinert.arch import Arch, save_arch
from cinert.network import Network, random_weights
from cinert.sampling import random_arch
from cinert.space import CLASSES
from cinert.spaces import load_space


@pytest.fixture(scope="session")
def tiny_space():
    """The demo space on a grid that runs in milliseconds."""
    return dataclasses.replace(load_space("demo"), name="tiny", input_shape_DHW=(4, 16, 16))


def _save_trained(folder: Path, arch: Arch, *, seed: int = 0, metadata: dict[str, object] | None = None) -> Path:
    """Write arch.yaml and weights.safetensors; return arch.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    save_arch(folder / "arch.yaml", arch)
    record = {
        "schema": "cinert.weights",
        "version": 1,
        "arch_digest": arch.digest,
        "seen_patients": [{"id": "patient901", "digest": "ab"}],
        "classes": list(CLASSES),
        "provenance": {},
        **(metadata or {}),
    }
    state = random_weights(Network(arch), seed).state_dict()
    save_file(state, folder / "weights.safetensors", metadata={"cinert": json.dumps(record)})
    return folder / "arch.yaml"


@pytest.fixture
def arch(tiny_space) -> Arch:
    return random_arch(tiny_space, seed=3, paths=2)


@pytest.fixture(scope="session")
def save_trained():
    return _save_trained


@pytest.fixture
def arch_file(tmp_path: Path, arch: Arch) -> Path:
    return _save_trained(tmp_path / "run", arch)
