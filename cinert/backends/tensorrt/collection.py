"""Why Python must not collect garbage while TensorRT may log.

TensorRT logs while it holds a lock that a builder takes as well when it goes. The logger is Python: what it allocates
may begin a collection, and if that finds a builder in a cycle, as an exception leaves one behind, the thread waits for
ever for the lock that it holds. It was seen while a builder was made; a plan is loaded under the same guard.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_inside = 0
_was_enabled = True


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """For a while nothing collects garbage, in any thread; blocks may lie within and beside each other.

    As a decorator it also covers the moment in which a function's own objects go.
    """
    global _inside, _was_enabled  # noqa: PLW0603 - the collector is one for the process
    with _lock:
        if _inside == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _was_enabled:
                gc.enable()
