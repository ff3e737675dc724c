"""The runtime cache: kernels that TensorRT-RTX compiled on a GPU when it first ran an engine there.

A plan of TensorRT-RTX holds no machine code of its GPU. Without the cache every load compiles again.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from cinert.backends.tensorrt.flavour import Flavour, load, version
from cinert.environment import cache_folder
from cinert.errors import BadInputError
from cinert.files import atomic_path, sha256_of

_DIGEST_BYTES = hashlib.sha256().digest_size


def runtime_cache_path(flavour: Flavour, uuid: str, plan: bytes) -> Path:
    """Where the cache of a library's version, a GPU and a plan lies."""
    return cache_folder() / f"{flavour.backend}-{version(load(flavour))}-{uuid}-{sha256_of(plan)[:16]}.runtime-cache"


class RuntimeCache:
    """The cache of one engine, shared by its contexts.

    Args:
        engine: deserialised; its device is current.
        path: where the cache is kept. A file that is damaged, or that TensorRT-RTX does not take (it checks version,
            GPU and driver), is as good as none, and is written anew.
    """

    def __init__(self, engine: Any, path: Path) -> None:
        self._engine, self._path = engine, path
        self._stored = _read(path)
        self._config = engine.create_runtime_config()
        self._cache = self._config.create_runtime_cache()
        if self._stored is not None and not self._cache.deserialize(self._stored):
            self._stored = None
        self._config.set_runtime_cache(self._cache)

    def create_execution_context(self) -> Any:
        """An execution context that takes its kernels from the cache, and adds what is missing; None if refused."""
        return self._engine.create_execution_context(self._config)

    def keep(self) -> None:
        """Write the cache if something was added. One that cannot be written is no reason to stop."""
        data = bytes(self._cache.serialize())
        if data == self._stored:
            return
        with contextlib.suppress(BadInputError), atomic_path(self._path) as partial:
            partial.write_bytes(hashlib.sha256(data).digest() + data)
        self._stored = data


def _read(path: Path) -> bytes | None:
    """What was kept; None if nothing was, or if it is not what was written: kernels are code."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return data if hashlib.sha256(data).digest() == digest else None
