"""Programs that run beside a measurement, and that end with it, whatever happens to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import IO, Any

import psutil

_PATIENCE_S = 10.0


@contextlib.contextmanager
def program_beside(
    command: Sequence[str], *, stdout: int | IO[Any], stderr: int | IO[Any]
) -> Iterator[subprocess.Popen[str]]:
    """Run a program while the block runs; at its end, also by an error, an interrupt or SIGTERM, end all of it.

    The program leads a session of its own, so that its children are found after it has left them behind. A kill -9 of
    this process is the one end that it survives.

    Raises:
        OSError: it cannot be started.
    """
    with _sigterm_unwinds():
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True, start_new_session=True
        )
        try:
            yield process
        finally:
            end_group(process)


def end_group(process: subprocess.Popen[str]) -> None:
    """Ask a program and all that it started to end, and kill what is still there after some seconds."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        # A child that has left the session is still a child.
        family = psutil.Process(process.pid).children(recursive=True)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        for each in family:
            with contextlib.suppress(psutil.Error):
                each.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
        _, family = psutil.wait_procs(family, timeout=_PATIENCE_S)
        if process.returncode is not None and not family and not _group_lives(process.pid):
            return


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """Let SIGTERM end this process by an exception, so that what it started is ended too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
