"""glibc's allocator, told to keep what it has.

PyTorch allocates every output anew. glibc gives large blocks back to the system as they are freed, and the next ones
are faulted in again: 9000 page faults a run in a network of the space `small`, more or less as its blocks happen to
fall (`benchmarks/torch_on_cpu.py`). No sum of parts can know that.
"""

from __future__ import annotations

import ctypes
import functools

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_OPTIONS = {
    _M_MMAP_MAX: 0,  # large blocks from the heap too
    _M_TRIM_THRESHOLD: 2**31 - 1,  # the heap never shrinks
    _M_TOP_PAD: 64 * 2**20,  # and grows in large steps
    _M_ARENA_MAX: 1,  # one for all threads: the others have heaps of 64 MiB, which do shrink
}


@functools.cache
def keep_memory() -> bool:
    """Keep freed memory for the rest of the process; False where the C library is another."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) == 1 for option, value in _OPTIONS.items())
