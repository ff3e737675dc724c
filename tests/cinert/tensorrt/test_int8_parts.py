"""Every part that bench-ops times in int8 becomes a real plan, with ranges from noise."""

import pytest

from cinert.spaces import load_space
from latency.noise_ranges import with_noise_ranges
from latency.parts import part_model

CONVOLUTIONS = {"stem", "head", "conv", "dilated", "separable", "pre.ct", "pre.ns", "pre.ep"}


@pytest.mark.parametrize("full", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["full", "fewer"])
def test_every_part_of_the_demo_space_builds_in_int8(rtx, part_keys, full, record_property):
    keys = part_keys(load_space("demo"), "int8", full=full)
    backend = rtx()
    quantised = set()
    for key in keys:
        engine = backend.compile(with_noise_ranges(part_model(key)), precision="int8", threads=1)
        assert engine.files["sm86.plan"].startswith(b"vtrt"), key.label
        if b"QuantizeLinear" in engine.onnx:
            quantised.add(key.kind)
    # Whatever holds a convolution, and nothing else.
    assert quantised == CONVOLUTIONS & {key.kind for key in keys}
    assert quantised >= (CONVOLUTIONS if full else {"pre.ct", "pre.ns", "pre.ep"})
    record_property("tensorrt-rtx engines", len(keys))
