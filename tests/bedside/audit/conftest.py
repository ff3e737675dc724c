"""Logs as a service leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.audit.log import AuditLog
from bedside.frames import Answer

IDENTITY = {"bundle": "b" * 64, "engine": "e" * 64}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def open_log(path: Path, said: list[str]):
    def open_log(max_bytes: int = 2**30, opened: Mapping[str, Any] = {"service": "test"}) -> AuditLog:
        return AuditLog(path, max_bytes=max_bytes, opened=opened, identity=IDENTITY, tell=said.append)

    return open_log


@pytest.fixture
def answer():
    """An answer with a mask that its seed tells from others."""

    def answer(seed: int = 0, **more) -> Answer:
        mask = np.random.default_rng(seed).integers(0, 4, (3, 4, 2)).astype(np.uint8)
        return Answer(**{"state": "live", "mask": mask, "total_ms": 31.25, **more})

    return answer


@pytest.fixture
def written(path: Path, open_log, answer) -> Path:
    """Ten frames between an opening and a closing line."""
    with open_log() as log:
        for seed in range(10):
            log.note(1 + seed % 2, answer(seed))
    return path
