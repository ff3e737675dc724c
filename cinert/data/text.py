"""Small text files that come with data sets, in whatever encoding an editor left them."""

from __future__ import annotations

import codecs
from pathlib import Path

from cinert.errors import BadInputError

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> str:
    """Read UTF-8 with or without a byte order mark, UTF-16 with one, else Latin-1.

    Raises:
        BadInputError: the file cannot be read, or is no text.
    """
    try:
        data = path.read_bytes()
        if data.startswith(_UTF_16):
            return data.decode("utf-16")
        text = _utf_8_or_latin_1(data)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BadInputError(f"cannot read {path}: {reason}.") from error
    if "\0" in text:
        raise BadInputError(f"cannot read {path}: it is not text.")
    return text


def _utf_8_or_latin_1(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
