"""Every op at every scale of every preset, and random networks of each, become real plans without a GPU."""

import re

import pytest
from onnx import helper

from cinert.baselines.kinds import KINDS
from cinert.errors import CineRTError
from cinert.localiser_net import LocaliserNet, localiser_model
from cinert.network import random_weights
from cinert.onnx import network_model
from cinert.sampling import random_arch
from cinert.space import PRESETS
from cinert.spaces import load_space
from latency.parts import part_model

PRECISIONS = ("fp32", "fp16")


def build_all(backend, models, precision):
    """Build every model; return what was refused."""
    refused = []
    for model in models:
        try:
            plan = backend.compile(model, precision=precision, threads=1).files["sm86.plan"]
        except CineRTError as error:
            refused.append(str(error))
        else:
            assert plan.startswith(b"vtrt")
    return refused


@pytest.mark.parametrize("full", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["full", "fewer"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_part_of_a_preset_builds(rtx, part_keys, preset, precision, full, record_property):
    space = load_space(preset)
    keys = part_keys(space, full=full)
    assert {key.kind for key in keys} >= ({*space.ops} - {"zero"} if full else {"pre.ct", "pre.ns", "pre.ep"})
    assert build_all(rtx(), map(part_model, keys), precision) == []
    record_property("tensorrt-rtx engines", len(keys))


@pytest.mark.parametrize(
    "seeds", [range(4), pytest.param(range(4, 20), marks=pytest.mark.slow)], ids=lambda seeds: f"{len(seeds)}networks"
)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("preset", PRESETS)
def test_random_networks_of_a_preset_build(rtx, preset, precision, seeds, record_property):
    space = load_space(preset)
    models = [network_model(random_arch(space, seed)) for seed in seeds]
    assert build_all(rtx(), models, precision) == []
    record_property("tensorrt-rtx engines", len(models))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_baseline_builds(rtx, kind, precision, record_property):
    baseline = KINDS[kind].for_space(load_space("demo"), (8, 16, 32), {})
    assert build_all(rtx(), [network_model(baseline)], precision) == []
    record_property("tensorrt-rtx engines", 1)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_localiser_builds(rtx, precision, record_property):
    network = random_weights(LocaliserNet(), 0)
    assert build_all(rtx(), [localiser_model(network)], precision) == []
    record_property("tensorrt-rtx engines", 1)


def test_what_is_refused_is_collected(rtx, make_model):
    bad = make_model([helper.make_node("Frobnicate", ["image"], ["logits"], name="frob")])
    (message,) = build_all(rtx(), [bad], "fp32")
    assert re.search("Frobnicate", message)
