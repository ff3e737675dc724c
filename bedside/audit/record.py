"""A line of the audit log: a JSON object that carries the hash of the line before and its own.

    {"number":7,"at":"2026-11-21T13:00:00.045454Z","monotonic_ns":...,"kind":"frame",...,"previous":"<64>","hash":"<64>"}

`hash` is the SHA-256 of the line without it, that is, of `{... "previous":"<64>"}`; `previous` is the `hash` of the
line before, zeros in the first. Whoever changes, removes or moves a line has to write every later line anew.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinert.files import sha256_of

FIRST = "0" * 64
"""`previous` of line number 1."""
BEGINS = b'{"number":'
"""Of every line."""
MAX_LINE = 2**16
_MAX_REASON = 500
_TAIL = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_TAIL_BYTES = len(',"hash":"') + 64 + len('"}')


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened: a clock that people read, and one that nobody can set."""

    utc_ns: int
    monotonic_ns: int

    @classmethod
    def now(cls) -> Moment:
        """This moment."""
        return cls(time.time_ns(), time.monotonic_ns())

    def to_dict(self) -> dict[str, Any]:
        """{at, monotonic_ns}."""
        whole, rest = divmod(self.utc_ns, 10**9)
        text = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return {"at": f"{text}.{rest // 1000:06d}Z", "monotonic_ns": self.monotonic_ns}


@dataclass(frozen=True, slots=True)
class Link:
    """A line's place in the chain."""

    number: int
    hash: str


START = Link(0, FIRST)
"""Before the first line."""


def seal(kind: str, moment: Moment, content: Mapping[str, Any], after: Link) -> tuple[bytes, Link]:
    """Write a line that follows another.

    Args:
        kind: `opened`, `frame`, `lost`, `torn`, `removed` or `closed`.
        moment: when.
        content: what the line says; plain values.
        after: the line before.

    Returns:
        The line with its line end, and its place in the chain.
    """
    document = {
        "number": after.number + 1,
        **moment.to_dict(),
        "kind": kind,
        **{key: _finite(value) for key, value in content.items()},
        "previous": after.hash,
    }
    body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    digest = sha256_of(body)
    return body[:-1] + f',"hash":"{digest}"}}\n'.encode(), Link(after.number + 1, digest)


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it was read."""

    content: Mapping[str, Any]
    link: Link
    holds: bool
    """Whether its hash is that of its content."""


def read_line(line: bytes) -> Line | None:
    """Read a line, with its line end or without; None where it is no line of an audit log."""
    line = line.removesuffix(b"\n")
    tail = _TAIL.fullmatch(line[-_TAIL_BYTES:])
    if tail is None:
        return None
    body, digest = line[:-_TAIL_BYTES] + b"}", tail[1].decode()
    try:
        content = json.loads(body)
        number = content["number"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(number, int):
        return None
    return Line(content, Link(number, digest), sha256_of(body) == digest)


def is_piece(data: bytes) -> bool:
    """Whether this may be the beginning of a line that was not finished."""
    return data[: len(BEGINS)] == BEGINS[: len(data)] and not _TAIL.fullmatch(data[-_TAIL_BYTES:])


def mask_digest(mask: NDArray[np.uint8]) -> str:
    """SHA-256 of a mask's values in C order; its shape stands beside it."""
    return hashlib.sha256(np.ascontiguousarray(mask).data).hexdigest()


def short(reason: str) -> str:
    """A reason that cannot fill the log: an engine's message may be of any length."""
    return reason[:_MAX_REASON]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
