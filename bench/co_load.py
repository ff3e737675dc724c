"""Another program that uses the device while a bundle is measured, as a reconstruction does at the scanner."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import IO

import psutil

from bench.processes import program_beside
from cinert.errors import BadInputError

_SETTLE_S = 2.0
"""Before the first frame beside it: a program begins by loading itself."""
_LASTING = "it has to run for as long as it takes to measure; sh -c 'while :; do ...; done' repeats what is shorter."


class CoLoad:
    """A running program.

    Args:
        process: of the program.
        log: its standard error.
    """

    def __init__(self, process: subprocess.Popen[str], log: IO[str]) -> None:
        self._process, self._log = process, log
        self._began_s, self._cpu_s = time.monotonic(), self._used_s()

    def check(self) -> None:
        """Refuse to go on without it.

        Raises:
            BadInputError: it has ended; with what it said last.
        """
        if (code := self._process.poll()) is None:
            return
        self._log.seek(0)
        said = self._log.read().strip().splitlines()
        raise BadInputError(
            f"--co-load ended with exit code {code} before the measurement did{': ' + said[-1] if said else ''}.",
            hint=_LASTING,
        )

    def cpu_cores(self) -> float:
        """CPU cores that it and its children have used on average so far; work on a GPU does not show in it."""
        return max(0.0, self._used_s() - self._cpu_s) / max(time.monotonic() - self._began_s, 1e-9)

    def _used_s(self) -> float:
        total = 0.0
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(self._process.pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    total += sum(process.cpu_times()[:4])  # user and system time, own and of children that ended
        return total


def check_command(command: str) -> list[str]:
    """Split a command as a shell would, and see that its program is there, before anything is measured.

    Raises:
        BadInputError: it cannot be split, is empty, or names no program.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise BadInputError(f"--co-load {command!r} cannot be read: {error}.") from error
    if not words or shutil.which(words[0]) is None:
        raise BadInputError(
            f"--co-load: no program {words[0] if words else command!r}.",
            hint="it is started without a shell; sh -c '...' gives it one.",
        )
    return words


@contextlib.contextmanager
def co_load(words: list[str], *, settle_s: float = _SETTLE_S) -> Iterator[CoLoad]:
    """Start a program, give it time to settle, and end it with its children at the end of the block.

    Args:
        words: the command.
        settle_s: seconds before the block begins.

    Raises:
        BadInputError: it cannot be started, or ends before the block begins.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log, contextlib.ExitStack() as stack:
        try:
            process = stack.enter_context(program_beside(words, stdout=subprocess.DEVNULL, stderr=log))
        except OSError as error:
            raise BadInputError(f"--co-load cannot be started: {error.strerror or error}.") from error
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(settle_s)
        load = CoLoad(process, log)
        load.check()
        yield load
