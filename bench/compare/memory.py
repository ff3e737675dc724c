"""What an engine takes of memory, measured in a process of its own.

The process that compares networks holds PyTorch and the data of a fold, beside which an engine does not show, and its
peak is that of the training. So a fresh process loads the engine and runs it; on a CPU it is free of PyTorch unless the
back end is PyTorch, and its peak of resident memory counts, less what it held with the back end's library loaded. On a
GPU the memory counts that the whole device gave away between then and after the runs.
"""

from __future__ import annotations

import contextlib
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import psutil

from cinert.backends import resolve_backend
from cinert.bundle import open_bundle

RUNS = 10
_MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineMemory:
    """Memory of one engine, without the localiser's."""

    of: Literal["process", "device"]
    """Whose memory: a CPU process's resident memory, or the GPU's."""
    before_mib: float
    """With the back end's library loaded."""
    peak_mib: float
    """Highest while the engine was loaded and run."""

    @property
    def engine_mib(self) -> float:
        """What the engine added."""
        return self.peak_mib - self.before_mib

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "engine_mib": self.engine_mib}


def engine_memory(bundle: Path, *, device: str, threads: int) -> EngineMemory:
    """Measure a bundle's engine in a process of its own.

    Raises:
        BackendUnavailableError: the engine cannot run here.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, bundle, device, threads).result()


def _measure(folder: Path, device: str, threads: int) -> EngineMemory:
    bundle = open_bundle(folder)
    backend = resolve_backend(bundle.backend, device, bundle.precision)
    on_gpu = backend.fingerprint(device)["device"]["kind"] == "cuda"
    index = int(device.partition(":")[2] or 0)
    before = _device_mib(index) if on_gpu else _resident_mib()
    with bundle.load_runner(device, threads) as runner:
        for seed in range(RUNS):
            runner.fill(seed)
        peak = _device_mib(index) if on_gpu else _peak_mib()
    return EngineMemory(of="device" if on_gpu else "process", before_mib=before, peak_mib=peak)


def _resident_mib() -> float:
    # From here on the kernel counts the peak anew; where it cannot, that of loading the library counts too.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return float(psutil.Process().memory_info().rss) / _MIB


def _peak_mib() -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) / 1024


def _device_mib(index: int) -> float:
    # Opens a context first, so that the engine is not charged for it.
    import torch  # noqa: PLC0415 - only here, where its memory on the host does not count

    free, total = torch.cuda.mem_get_info(index)
    return (total - free) / _MIB
