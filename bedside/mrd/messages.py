"""What peers say to each other, and how a session may end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class PeerError(Exception):
    """What the peer sent or did not send ends its session. The message is told to the peer and written to the log."""


class DisconnectedError(Exception):
    """The peer is gone."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the client asks to be done, by name; `text` says whether it came as config text."""

    name: str
    text: bool


@dataclass(frozen=True, slots=True)
class Header:
    """What is used of the XML header: slices of a frame by the first encoding's limits; None where it has none."""

    slices: int | None


@dataclass(frozen=True, slots=True)
class Text:
    """Words for the other side."""

    text: str


@dataclass(frozen=True, slots=True)
class Waveform:
    """A waveform (ECG, say) that was read and is not used."""


@dataclass(frozen=True, slots=True)
class Close:
    """The peer will send no more."""


Message = Config | Header | Text | Waveform | Close | Any
"""`Any` is an `ismrmrd.Image`, which is untyped."""


_LONGEST_QUOTE = 80


def quoted(text: str) -> str:
    """A peer's words in a line of ours: short, on one line, and nothing in them that is not printed."""
    shown = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return f"'{shown if len(shown) <= _LONGEST_QUOTE else f'{shown[:_LONGEST_QUOTE]}...'}'"
