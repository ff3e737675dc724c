"""From a baseline to its torch module, by kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cinert.baselines.base import Baseline
from cinert.baselines.unet3d import UNet3d
from cinert.baselines.unet3d_network import UNet3dNetwork
from cinert.segmenter import Segmenter

NETWORKS: Mapping[str, Callable[[Any], Segmenter]] = {UNet3d.kind: UNet3dNetwork}


def build_baseline(baseline: Baseline) -> Segmenter:
    """Build the module of a baseline, with fresh weights."""
    return NETWORKS[baseline.kind](baseline)
