"""What a user may say about building TensorRT engines, checked before any work. Free of torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import click

from cinert.backends.base import Backend
from cinert.backends.tensorrt import TensorRtBackend
from cinert.backends.tensorrt.build import BuildOptions
from cinert.errors import BadInputError

_NAMES = ("compute_capability", "workspace_mib", "optimisation_level", "aux_streams")


def builder_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the options of TensorRT's builder."""
    options = (
        click.option(
            "--workspace-mib",
            type=click.IntRange(min=1),
            help="TensorRT's limit of scratch memory. [default: what the GPU has]",
        ),
        click.option(
            "--optimisation-level",
            type=click.IntRange(0, 5),
            help="TensorRT's builder: 0 is quick, 5 searches long. [default: 3]",
        ),
        click.option(
            "--aux-streams",
            type=click.IntRange(min=0),
            help="Streams that TensorRT may use beside its own; 0 forbids them. [default: TensorRT decides]",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def configure(backend: Backend, options: dict[str, Any]) -> None:
    """Give a TensorRT back end what the user said; `options` by parameter name, None where nothing was said.

    Raises:
        BadInputError: an option for TensorRT with another back end, or something that is no compute capability.
    """
    given = {name: options[name] for name in _NAMES if options.get(name) is not None}
    if not given:
        return
    if not backend.name.startswith("trt"):
        name = next(iter(given)).replace("_", "-")
        raise BadInputError(f"--{name} is for TensorRT, and the back end is {backend.name}.", hint="--backend trt-rtx.")
    tensorrt = cast(TensorRtBackend, backend)
    tensorrt.capabilities = read_capabilities(given.pop("compute_capability", ""))
    tensorrt.options = BuildOptions(**given)


def read_capabilities(text: str) -> tuple[str, ...]:
    """Read `8.6,8.9,12.0`; the same one twice counts once.

    Raises:
        BadInputError: something that is no compute capability.
    """
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for capability in found:
        if not re.fullmatch(r"\d+\.\d", capability):
            raise BadInputError(
                f"{capability!r} is no compute capability.", hint="write it as major.minor, e.g. 8.6,8.9,12.0."
            )
    return found
