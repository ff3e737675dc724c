"""Who works on what in a folder that several processes share, on one machine or over NFS.

A claim is flock(2) on a file: the kernel frees it when its process ends, by kill -9 too, so that no claim is ever
stale. Linux passes it on to the server of NFS 4. What the file says is for people: who holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from cinert.errors import BadInputError

CLAIM = "claim"
"""File in a run folder that a process works on."""


class CannotLockError(BadInputError):
    """A file system without locks, as some network file systems are."""


class Claim:
    """The claim of a file, not yet held; as a context manager it is given back.

    Args:
        path: file to lock, made if missing.

    Raises:
        BadInputError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._open()

    def _open(self) -> int:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise BadInputError(f"cannot write {self._path}: {error.strerror}.") from error

    def acquire(self, *, wait: bool = False) -> bool:
        """Take it if nobody has it, or once nobody has it.

        Raises:
            CannotLockError: the file system cannot lock.
        """
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return False
            except OSError as error:
                raise CannotLockError(
                    f"cannot lock {self._path}: {error.strerror}.", hint="choose a folder on a file system with locks."
                ) from error
            if self._is_in_place():
                return True
            # Whoever held it has removed the file, and somebody else may have made and locked another one.
            os.close(self._descriptor)
            self._descriptor = self._open()

    def _is_in_place(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        return False

    @property
    def words(self) -> str:
        """Who holds it or held it last, as far as the file says; empty where it does not."""
        return os.pread(self._descriptor, 1000, 0).decode("utf-8", "replace").partition("\n")[0]

    @words.setter
    def words(self, who: str) -> None:
        # Only people read it, so that a full disk stops nothing here.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{who}\n".encode() if who else b"", 0)

    def release(self) -> None:
        """Give it back."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@contextlib.contextmanager
def claimed(what: Path, claim_file: Path, command: str) -> Iterator[None]:
    """Have an output for this process alone while the block runs; nothing of the claim is left, folders included.

    A claim that a killed process left stays where the block fails, so that a command that is refused changes nothing.

    Args:
        what: that is written, for the message.
        claim_file: that stands for it.
        command: who asks.

    Raises:
        BadInputError: another process has it; naming that process.
        CannotLockError: the file system has no locks.
    """
    made = [folder for folder in claim_file.parents if not folder.exists()]
    was_there = claim_file.exists()
    with Claim(claim_file) as claim:
        before, done = claim.words, False
        try:
            taken = claim.acquire()
        except CannotLockError:
            if not was_there:
                _remove(claim_file, made)
            raise
        if not taken:
            raise BadInputError(
                f"{what} is being written by {before or 'another process'}.",
                hint="wait until it ends, or choose another output with -o.",
            )
        since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
        claim.words = f"{command} (pid {os.getpid()} on {socket.gethostname()}, since {since})"
        try:
            yield
            done = True
        finally:
            if done or not was_there:
                _remove(claim_file, made)
            else:
                claim.words = before


def _remove(claim_file: Path, made: list[Path]) -> None:
    """Remove a claim's file, and the folders made for it that are still empty: the command was refused."""
    claim_file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        for folder in made:
            folder.rmdir()
