"""Which TensorRT: finding it, and saying why it is not there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from cinert.errors import BackendUnavailableError


@dataclass(frozen=True, slots=True)
class Flavour:
    """One of NVIDIA's two libraries of the same interface."""

    backend: str
    module: str
    title: str
    oldest: tuple[int, int]
    packages: str
    """What pip is asked for: the packages of the extra in setup.cfg, because CineRT itself is on no index."""
    index_note: str
    """Where the package comes from, for people whose installation failed."""
    builds_without_gpu: bool
    compiles_on_load: bool
    """Whether the machine code for a GPU is made there, when an engine is first run."""


TENSORRT = Flavour(
    backend="trt",
    module="tensorrt",
    title="TensorRT",
    oldest=(10, 12),
    packages="tensorrt cuda-core cuda-bindings nvidia-ml-py",
    index_note="its libraries come from NVIDIA's own index (pypi.nvidia.com), which has to be reached",
    builds_without_gpu=False,
    compiles_on_load=False,
)
RTX = Flavour(
    backend="trt-rtx",
    module="tensorrt_rtx",
    title="TensorRT-RTX",
    oldest=(1, 2),
    packages="tensorrt-rtx cuda-core cuda-bindings nvidia-ml-py",
    index_note="its wheels are on PyPI",
    builds_without_gpu=True,
    compiles_on_load=True,
)


def is_installed(flavour: Flavour) -> bool:
    """Whether the module can be found; it may also lie on the path without the metadata of a distribution."""
    return find_spec(flavour.module) is not None


def load(flavour: Flavour) -> Any:
    """Import the library. Building needs no driver; `cinert.device_memory` looks for one before anything is run.

    Raises:
        BackendUnavailableError: not installed, cannot be loaded, or too old.
    """
    if not is_installed(flavour):
        raise BackendUnavailableError(
            f"the package {flavour.module.replace('_', '-')} is not installed (pip install {flavour.packages};"
            f" {flavour.index_note})"
        )
    try:
        module = import_module(flavour.module)
    except ModuleNotFoundError as error:
        # What is left where the package itself came from PyPI, and its libraries did not come.
        raise BackendUnavailableError(
            f"{flavour.title} is half installed ({error}; {flavour.index_note}; then pip install --force-reinstall"
            f" {flavour.module.replace('_', '-')})"
        ) from error
    # A TensorRT whose libraries do not load raises ImportError, OSError, or what its own loader thinks of.
    except Exception as error:
        raise BackendUnavailableError(f"{flavour.title} cannot be loaded ({error})") from error
    found = version(module)
    if _numbers(found)[:2] < flavour.oldest:
        oldest = ".".join(map(str, flavour.oldest))
        raise BackendUnavailableError(f"{flavour.title} {found} is too old, {oldest} or later is needed")
    return module


def version(module: Any) -> str:
    """Version of the loaded library."""
    return str(module.__version__)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def known_capabilities(module: Any) -> tuple[str, ...]:
    """Compute capabilities that the builder knows by name, e.g. `8.6`; none where it builds for its own GPU alone."""
    names = getattr(module, "ComputeCapability", None)
    if names is None:
        return ()
    numbers = [re.fullmatch(r"SM(\d+)(\d)", name) for name in names.__members__]
    return tuple(f"{match[1]}.{match[2]}" for match in numbers if match)
