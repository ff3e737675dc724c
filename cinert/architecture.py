"""What every architecture file has in common: searched networks (`cinert.arch`) and baselines (`cinert.baselines`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from cinert.space import Shape3


class InputGrid(Protocol):
    """The image that a network reads; a `Space` and a `Baseline` both say it."""

    @property
    def input_shape_DHW(self) -> Shape3:
        """Voxels of the network's input."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size of the input along D, H, W."""

    @property
    def in_channels(self) -> int:
        """Channels of the input image."""


class Architecture(Protocol):
    """A network that can be trained, exported and measured; only a searched one (`cinert.arch.Arch`) can be priced."""

    @property
    def kind(self) -> str:
        """`searched`, or the kind of a baseline."""

    @property
    def grid(self) -> InputGrid:
        """The image that the network reads."""

    @property
    def digest(self) -> str:
        """Short hash of what is deployed."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the architecture comes from, and `seen_patients` where data shaped it."""

    @property
    def source(self) -> str:
        """File that it was read from, for messages."""

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and words, ready for YAML."""
