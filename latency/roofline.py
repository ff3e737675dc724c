"""The roofline of a device: no part can be faster than its bytes through memory, or its operations in the units.

Williams, Waterman and Patterson 2009. Both rates are measured here, with the engine's threads, so that the bound is
one of this device and not of its data sheet.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from cinert.backends.base import Precision
from cinert.errors import BadInputError
from cinert.op_registry import find_op
from cinert.schema import check_keys
from latency.parts import PartKey

_DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
COPY_MIB = 256
"""Size of the buffer that is copied: several times the last-level cache of the machines that we know."""
MATRIX_SIZE = {"cpu": 1536, "cuda": 8192}
"""Side of the square matrices: large enough to reach the units' rate, small enough for a few hundred ms."""
REPEATS = 12

_UNPADDED = ("pool", "strided")
"""Parts whose kernel is their stride."""

Limit = Literal["memory", "compute"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Roofline:
    """What a device can do at best."""

    copy_gb_s: float
    """Main memory, bytes read and bytes written together, in 10^9 bytes/s."""
    matrix_gflop_s: float
    """Matrix product in the LUT's precision, a multiply-add counted as two, in 10^9 operations/s."""
    protocol: Mapping[str, Any]
    """copy_mib, matrix_size, repeats, threads: the best of `repeats` counts."""

    def bound(self, key: PartKey) -> tuple[float, Limit]:
        """The time in ms that a part takes at least, and what limits it.

        The memory limit is that of main memory: a part whose tensors stay in the cache can be faster.
        """
        memory_ms = key.bytes_moved / self.copy_gb_s / 1e6
        compute_ms = needed_flops(key) / self.matrix_gflop_s / 1e6
        return (memory_ms, "memory") if memory_ms >= compute_ms else (compute_ms, "compute")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "copy_gb_s": self.copy_gb_s,
            "matrix_gflop_s": self.matrix_gflop_s,
            "protocol": dict(self.protocol),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> Roofline:
        """Read what `to_dict` wrote.

        Raises:
            BadInputError: an unknown or missing key, a rate that is no positive number.
        """
        check_keys(document, required=["copy_gb_s", "matrix_gflop_s", "protocol"], source=source)
        for name in ("copy_gb_s", "matrix_gflop_s"):
            value = document[name]
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise BadInputError(f"{source}.{name} is {value!r}, expected a finite number > 0.")
        return cls(**document)


def needed_flops(key: PartKey) -> float:
    """Operations of a part without those on padding, which an engine may skip; `PartKey.flops` counts them.

    At 5 x 8 x 7 voxels half the taps of a convolution with dilation 2 lie in the padding.
    """
    share = needed_share(key)
    spec = find_op(key.kind)
    # Of an op that mixes channels beside, such as a separable one, only what its kernel computes is less.
    return key.flops * share if spec is None else spec.flops(key, key.taps * share)


def needed_share(key: PartKey) -> float:
    """Share of a part's taps that read voxels and not padding."""
    if key.transposed or key.kind in _UNPADDED:
        return 1.0
    axes = zip(key.shape_in, key.shape_out, key.kernel_DHW, key.stride, key.dilation_DHW, strict=True)
    return math.prod(_inside(*axis) for axis in axes)


@functools.cache
def _inside(size_in: int, size_out: int, kernel: int, stride: int, dilation: int) -> float:
    """Share of the taps along one axis that read voxels."""
    if kernel == 1:
        return 1.0
    taps = range(-(kernel // 2) * dilation, kernel // 2 * dilation + 1, dilation)
    inside = sum(0 <= voxel * stride + tap < size_in for voxel in range(size_out) for tap in taps)
    return inside / (size_out * kernel)


def measure_roofline(*, device: str, threads: int, precision: Precision) -> Roofline | None:
    """Measure copy bandwidth and matrix rate in a few hundred ms; the best of several runs counts.

    Args:
        device: `cpu` or `cuda:N`.
        threads: of the engine, on a CPU.
        precision: of the matrices; None is returned where PyTorch multiplies no matrices in it (int8).
    """
    dtype = _DTYPES.get(precision)
    if dtype is None:
        return None
    where = torch.device(device)
    size = MATRIX_SIZE[where.type]
    with _settings(threads, tf32=precision == "tf32"):
        copy_s = _copy_s(where)
        matrix_s = _matrix_s(where, size, dtype)
    return Roofline(
        copy_gb_s=round(2 * COPY_MIB * 2**20 / copy_s / 1e9, 3),
        matrix_gflop_s=round(2 * size**3 / matrix_s / 1e9, 3),
        protocol={"copy_mib": COPY_MIB, "matrix_size": size, "repeats": REPEATS, "threads": threads},
    )


def _copy_s(where: torch.device) -> float:
    source = torch.ones(COPY_MIB * 2**18, device=where)
    target = torch.ones_like(source)
    return _best_s(lambda: target.copy_(source), where)


def _matrix_s(where: torch.device, size: int, dtype: torch.dtype) -> float:
    a, b, product = (torch.ones(size, size, device=where, dtype=dtype) for _ in range(3))
    return _best_s(lambda: torch.mm(a, b, out=product), where)


def _best_s(work: Callable[[], object], where: torch.device) -> float:
    def once() -> float:
        start = time.perf_counter()
        work()
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        return time.perf_counter() - start

    return min(once() for _ in range(REPEATS))


@contextlib.contextmanager
def _settings(threads: int, *, tf32: bool) -> Iterator[None]:
    before = torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cuda.matmul.allow_tf32 = before[1]
