"""What all tests share: one thread per worker, a cache of ONNX exports, locks of their own, the folder of real data."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    # Exports are the slow part of the tests; they are cached between runs, away from the user's own cache.
    os.environ["CINERT_CACHE"] = str(config.rootpath / ".pytest_cache" / "onnx")
    # Tests neither wait for each other's devices nor for the user's: each worker has locks of its own.
    locks = tempfile.TemporaryDirectory(prefix="cinert-locks-")
    config.add_cleanup(locks.cleanup)
    os.environ["CINERT_LOCK_DIR"] = locks.name
    os.environ.pop("CINERT_DATA", None)
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU here"))


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real patients, beside the repository or named by CINERT_SHARED."""
    folder = Path(os.environ.get("CINERT_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "acdc").is_dir():
        pytest.skip(f"no real patients at {folder / 'acdc'}; set CINERT_SHARED")
    return folder
