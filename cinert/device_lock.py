"""Keeps measuring and computing on one device apart: a latency is wrong while something else computes there.

One lock file per user and device. Measuring takes it alone, computing shares it. It is held with flock(2), which the
kernel frees when the process ends, by kill -9 too, so that a lock is never stale. What the file says is for people:
who holds it. Other users of the machine, and containers with a runtime folder of their own, are not seen.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from cinert.errors import BadInputError

if TYPE_CHECKING:
    from cinert.backends.base import Backend

Use = Literal["measure", "compute"]
_FLAGS: dict[Use, int] = {"measure": fcntl.LOCK_EX, "compute": fcntl.LOCK_SH}
_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """A process that holds a device."""

    command: str
    use: Use
    pid: int
    since: float
    """Seconds since 1970."""
    started: float
    """When the process began, in seconds since 1970: tells it from a later one with the same pid."""

    def __str__(self) -> str:
        since, now = datetime.fromtimestamp(self.since).astimezone(), datetime.now().astimezone()
        moment = since.strftime("%H:%M" if since.date() == now.date() else "%Y-%m-%d %H:%M")
        return f"{self.command} (pid {self.pid}, since {moment})"

    @property
    def alive(self) -> bool:
        """Whether the process still runs, as far as this one can see."""
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) < 1
        except psutil.Error:
            return False


class DeviceLock:
    """The lock of one device, not yet held.

    Args:
        device: `cpu` or `cuda:N`.
        use: what for.
        command: named to those who find the device taken.

    Raises:
        OSError: the lock file cannot be opened.
    """

    def __init__(self, device: str, use: Use, command: str) -> None:
        self.device, self.use, self._command = device, use, command
        folder = lock_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            # Its name among temporary files can be guessed, and what lies in it could be a link to anything.
            raise PermissionError(errno.EPERM, f"{folder} belongs to another user")
        self._path = folder / f"{_physical(device).replace(':', '-')}.lock"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)

    def acquire(self) -> bool:
        """Take the device if it is free for this use; returns at once.

        Raises:
            OSError: the file system cannot lock.
        """
        try:
            fcntl.flock(self._descriptor, _FLAGS[self.use] | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # Held from here on; a full disk costs the record, which is for people, and not the lock.
        with contextlib.suppress(OSError):
            self._record()
        return True

    def _record(self) -> None:
        if self.use == "measure":
            os.ftruncate(self._descriptor, 0)  # alone: the records are of processes that ended
        process = psutil.Process()
        holder = Holder(
            command=self._command, use=self.use, pid=process.pid, since=time.time(), started=process.create_time()
        )
        os.write(self._descriptor, (json.dumps(asdict(holder)) + "\n").encode())

    def others(self) -> list[Holder]:
        """Processes that hold the device, without this one; those that ended are left out."""
        found = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            # A line can be half written: its process is just taking the lock.
            with contextlib.suppress(ValueError, TypeError):
                found.append(Holder(**json.loads(line)))
        return [holder for holder in found if holder.pid != os.getpid() and holder.alive]

    def taken(self) -> str:
        """Say who has the device, and why that matters."""
        who = ", ".join(map(str, self.others())) or "another process"
        if self.use == "measure":
            return f"{self.device} is being used by {who}: a latency measured now would be wrong."
        return f"{self.device} is being measured by {who}: computing now would spoil its latencies."

    def release(self) -> None:
        """Give the device back."""
        os.close(self._descriptor)


@contextlib.contextmanager
def hold_device(
    device: str, use: Use, command: str, *, on_wait: Callable[[str], object] | None = None
) -> Iterator[None]:
    """Hold a device while the block runs.

    Args:
        device: `cpu` or `cuda:N`.
        use: `measure` wants it alone, `compute` shares it with other computing.
        command: who asks.
        on_wait: called again and again with who has the device, until it is free; None refuses at once.

    Raises:
        BadInputError: the device is taken.
        OSError: it cannot be locked here, for example on some network file systems.
    """
    lock = DeviceLock(device, use, command)
    try:
        while not lock.acquire():
            if on_wait is None:
                raise BadInputError(lock.taken(), hint="wait with --wait, or stop it.")
            on_wait(lock.taken())
            time.sleep(_POLL_S)
        yield
    finally:
        lock.release()


def device_of(backend: Backend, device: str) -> str:
    """The device that a back end means by `auto`, `cpu` or `cuda:N`: `cpu` or `cuda:N`."""
    if backend.fingerprint(device)["device"]["kind"] == "cpu":
        return "cpu"
    return device if ":" in device else "cuda:0"


def lock_folder() -> Path:
    """Where lock files lie: CINERT_LOCK_DIR, or this user's runtime folder, or one of theirs among temporary files."""
    if chosen := os.environ.get("CINERT_LOCK_DIR"):
        return Path(chosen)
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "cinert"
    return Path(tempfile.gettempdir()) / f"cinert-{os.getuid()}"


def _physical(device: str) -> str:
    """`cuda:0` is another card for every CUDA_VISIBLE_DEVICES."""
    kind, _, index = device.partition(":")
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    number = int(index or 0)
    if kind == "cuda" and number < len(visible) and visible[number]:
        return f"cuda:{visible[number].replace('/', '-')}"
    return device
