"""int8 in a LUT: ranges from noise, and the LUT says so."""

import dataclasses

import numpy as np
import pytest

from cinert.backends import get_backend
from cinert.onnx import network_model
from cinert.sampling import random_arch
from cinert.timing import Protocol
from latency.noise_ranges import with_noise_ranges
from latency.parts import PartCatalogue, part_model
from latency.profile import Setup


@pytest.fixture
def space(two_layers):
    return dataclasses.replace(two_layers, input_shape_DHW=(4, 8, 8), widths=(4, 8))


def make_setup(precision):
    return Setup(backend=get_backend("ort"), device="cpu", threads=1, precision=precision, protocol=Protocol())


def test_every_part_and_a_network_are_timed_in_int8(space):
    setup = make_setup("int8")
    models = [*map(part_model, PartCatalogue(space, "int8").all()), network_model(random_arch(space, 0))]
    for model in models:
        with setup.runner(model) as runner:
            assert runner.device_ms() > 0, model.name


def test_the_lut_says_what_the_ranges_are_from():
    plain = make_setup("fp32").protocol_record()
    assert make_setup("int8").protocol_record() == {**plain, "int8_ranges": "noise"}


def test_noise_is_the_same_every_time_and_fits_the_model(space):
    model = part_model(PartCatalogue(space).op("conv", 0))
    first, again = (with_noise_ranges(model).calibration for _ in range(2))
    assert {x_BCDHW.shape for x_BCDHW in first} == {model.input_shapes[0]}
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
