"""A report as one HTML file that needs nothing else: style inside, pictures as data, no scripts."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from bench.report_document import Picture, Report, Span, Words

_MIME = {".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4"}
_MARKS = {"passed": "\N{CHECK MARK}", "failed": "\N{BALLOT X}", "not judged": "?"}
"""Beside the colour, for those who do not see it."""


def to_html(report: Report, *, folder: Path, embed_mib: float) -> str:
    """Write a report as HTML.

    Args:
        report: to write.
        folder: that the file will lie in.
        embed_mib: a picture larger than this, in MiB, is linked and not embedded.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["words"] = _words
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["media"] = lambda picture: _media(picture, folder, embed_mib)
    return environment.get_template("report.html").render(report=report)


def _words(words: Words) -> Markup:
    if isinstance(words, str):
        return Markup.escape(words)
    if not isinstance(words, Span):
        return Markup().join(_words(each) for each in words)
    if words.look in {"code", "strong"}:
        tag = Markup(words.look)
        return Markup("<{}>{}</{}>").format(tag, words.text, tag)
    mark = _MARKS.get(words.look)
    name = words.look.replace(" ", "-")
    return Markup('<span class="outcome {}">{}{}</span>').format(name, f"{mark} " if mark else "", words.text)


def _media(picture: Picture, folder: Path, embed_mib: float) -> dict[str, Any]:
    """What the template asks of a picture: {uri, video, link, mib}; `uri` is None where it is too large to embed."""
    data = picture.path.read_bytes()
    mime = _MIME[picture.path.suffix]
    mib = len(data) / 2**20
    encoded = f"data:{mime};base64,{base64.b64encode(data).decode()}" if mib <= embed_mib else None
    link = Path(os.path.relpath(picture.path, folder)).as_posix()
    return {"uri": encoded, "video": mime.startswith("video"), "link": link, "mib": mib}
