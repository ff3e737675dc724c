"""Who works on what in a folder that several processes share, on one machine or over NFS.

A claim is flock(2) on a file: the kernel frees it when its process ends, by kill -9 too, so that no claim is ever
stale. Linux passes it on to the server of NFS 4.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from cinert.errors import BadInputError


class Claim:
    """The claim of a file, not yet held; as a context manager it is given back.

    Args:
        path: file to lock, made if missing.

    Raises:
        BadInputError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise BadInputError(f"cannot write {path}: {error.strerror}.") from error

    def acquire(self, *, wait: bool = False) -> bool:
        """Take it if nobody has it, or once nobody has it.

        Raises:
            BadInputError: the file system cannot lock.
        """
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError as error:
            raise BadInputError(
                f"cannot lock {self._path}: {error.strerror}.", hint="choose a folder on a file system with locks."
            ) from error
        return True

    def release(self) -> None:
        """Give it back."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
