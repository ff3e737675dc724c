"""int8 for timing: ranges from noise, since how long an engine takes does not depend on its scales."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cinert.backends.base import Model

ORIGIN = "noise"
"""What `protocol.int8_ranges` of a LUT says."""
_INPUTS = 2


def with_noise_ranges(model: Model) -> Model:
    """Give a model normal noise to calibrate with, the same every time, as its inputs are when it is timed.

    Its logits are of no use then; `export-engine` calibrates on real frames. A model with several inputs has no
    convolution (`concat`, `merge`), and needs no ranges.
    """
    if len(model.input_shapes) != 1:
        return model
    rng = np.random.default_rng(0)
    noise = tuple(rng.standard_normal(model.input_shapes[0], dtype=np.float32) for _ in range(_INPUTS))
    return replace(model, calibration=noise)
