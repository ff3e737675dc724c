"""The journal that a sweep's trials are recorded in: a line of JSON for each record, of which a kill may leave a half.

optuna passes over a half line at the end when it reads, and joins the next record to it when it writes: from then on
the whole journal is refused (optuna issue 5138). So what stands after the last newline is cut off before anything is
written behind it, under the lock that every writer takes. A trial whose last record is lost this way is taken up again.
"""

from __future__ import annotations

import json
from pathlib import Path

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from cinert.cli import errors

_RECORD = b'{"op_code":'
"""What every line of optuna's begins with; a file that begins otherwise is not ours to cut."""


def open_journal(path: Path) -> JournalFileBackend:
    """Open a journal, or begin one, and cut off what a kill or a full disk left of its last line.

    A last line that a record had run into before, so that it is no JSON, is cut off too.

    Raises:
        OSError: it cannot be read or written.
        ValueError: the file holds something else.
    """
    if path.exists():
        content = path.read_bytes()
        # A file without a single whole record may still be the beginning of one.
        if not content.startswith(_RECORD[: len(content)]):
            raise ValueError("it is no record of trials")
        if not _is_json(_last_line(content)):
            # Looked at again under the lock, whose holder may just have written the other half.
            lock = _MendingLock(path)
            lock.acquire()
            try:
                content = path.read_bytes()
                if not _is_json(_last_line(content)):
                    _cut(path, len(content) - len(_last_line(content)))
            finally:
                lock.release()
    return JournalFileBackend(str(path), lock_obj=_MendingLock(path))


class _MendingLock(JournalFileSymlinkLock):
    """The lock of a journal, whose last line its holder finds ended."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def acquire(self) -> bool:
        """Wait for the lock, and cut off what stands after the last newline."""
        taken = super().acquire()
        try:
            if self._path.exists() and not self._is_ended():
                _cut(self._path, self._path.read_bytes().rfind(b"\n") + 1)
        except BaseException:
            self.release()
            raise
        return taken

    def _is_ended(self) -> bool:
        """Asked before every record, so the file is not read for it."""
        with self._path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - 1))
            return stream.read() in {b"", b"\n"}


def _last_line(content: bytes) -> bytes:
    """With its newline, where it has one; empty where there is no line."""
    return content[content.rfind(b"\n", 0, max(0, len(content) - 1)) + 1 :]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line or b"{}")
    except ValueError:
        return False
    return line.endswith(b"\n") or not line


def _cut(path: Path, length: int) -> None:
    """Shorten a journal, and say so."""
    with path.open("r+b") as stream:
        lost = stream.seek(0, 2) - length
        stream.truncate(length)
    errors.print(
        f"Note: the last line of {path} is not whole, as a kill or a full disk leaves it; it is cut off ({lost} B).",
        markup=False,
    )
