"""Every part that bench-ops times in int8 becomes a real plan, with ranges from noise."""

from cinert.space import load_space
from latency.noise_ranges import with_noise_ranges
from latency.parts import PartCatalogue, part_model


def test_every_part_of_the_demo_space_builds_in_int8(rtx, record_property):
    keys = PartCatalogue(load_space("demo"), "int8").all()
    backend = rtx()
    quantised = set()
    for key in keys:
        engine = backend.compile(with_noise_ranges(part_model(key)), precision="int8", threads=1)
        assert engine.files["sm86.plan"].startswith(b"vtrt"), key.label
        if b"QuantizeLinear" in engine.onnx:
            quantised.add(key.kind)
    # Whatever holds a convolution, and nothing else.
    assert quantised == {"stem", "head", "conv", "dilated", "separable", "pre.ct", "pre.ns", "pre.ep"}
    record_property("tensorrt-rtx engines", len(keys))
