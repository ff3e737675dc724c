"""The option that says how often the localiser looks in spare time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from bedside.follow import LOOK_FRAMES


def look_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--look-frames`."""
    return click.option(
        "--look-frames",
        default=LOOK_FRAMES,
        show_default=True,
        type=click.IntRange(min=0),
        help="Frames from one look of the localiser, once the mask is out and before the next frame, to the next: it"
        " finds a heart that the crop has left without a mask that says so. 0 never looks.",
    )
