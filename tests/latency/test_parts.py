import dataclasses
from collections import Counter

import onnx
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cinert.arch import Arch, NodeEdge
from cinert.network import Network, fold_batch_norm
from cinert.onnx import network_model
from cinert.paths import legal_edges
from cinert.sampling import random_arch
from cinert.space import PRESETS
from cinert.spaces import load_space
from latency.breakdown import arch_parts
from latency.design import count_matrix, designed_networks
from latency.parts import PartCatalogue, input_shapes, make_part

# Convolutions are what torch counts; the rest is arithmetic that it leaves out.
CONVOLUTIONS = {"conv", "dilated", "separable", "stem", "head", "pre.ns"}


def counted_flops(module, inputs):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return counter.get_total_flops()


@pytest.mark.parametrize("key", PartCatalogue(load_space("demo")).all(), ids=lambda key: key.label)
def test_each_part_has_the_shapes_flops_and_weights_of_its_key(key):
    module = fold_batch_norm(make_part(key).eval())
    inputs = [torch.zeros(shape) for shape in input_shapes(key)]
    assert module(*inputs).shape == (1, key.channels_out, *key.shape_out)
    assert sum(parameter.numel() for parameter in module.parameters()) == key.weight_count
    if key.kind in CONVOLUTIONS:
        assert counted_flops(module, inputs) == key.flops
    else:
        assert counted_flops(module, inputs) <= key.flops


@pytest.mark.parametrize("preset", PRESETS)
def test_keys_are_unique_and_cover_random_networks(preset):
    space = load_space(preset)
    keys = PartCatalogue(space).all()
    assert len({key.label for key in keys}) == len(keys)
    for seed in range(50):
        assert set(arch_parts(random_arch(space, seed))) <= set(keys)


@pytest.mark.parametrize("seed", range(5))
def test_parts_add_up_to_the_network(seed):
    """Weights of the parts are the weights of the network: nothing is left out or counted twice."""
    arch = random_arch(load_space("demo"), seed)
    network = fold_batch_norm(Network(arch).eval())
    parts = arch_parts(arch)
    assert sum(key.weight_count * count for key, count in parts.items()) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("preset", PRESETS)
def test_the_design_identifies_every_price(preset):
    space = load_space(preset)
    keys = PartCatalogue(space).all()
    archs = designed_networks(space, 2 * len(keys), precision="fp32")
    assert len({arch.digest for arch in archs}) == len(archs)
    counts = count_matrix(archs, keys, "fp32")
    held = dict(zip(keys, (counts > 0).sum(axis=0), strict=True))
    # Where edges never meet in a vertex, random cells, which have one edge per node, hold no addition.
    arriving = Counter((edge.layer, edge.target) for edge in legal_edges(space.layers, space.scales))
    meeting = {scale for (_, scale), number in arriving.items() if number > 1}
    lonely = {PartCatalogue(space).merge(scale) for scale in range(space.scales) if scale not in meeting}
    assert min(number for key, number in held.items() if key not in lonely) >= 2


def test_the_design_of_a_space_is_always_the_same():
    first, again = (designed_networks(load_space("demo"), 20, precision="fp32") for _ in range(2))
    assert [arch.digest for arch in again] == [arch.digest for arch in first]


@pytest.mark.parametrize("seed", range(12))
def test_parts_are_what_the_exported_network_runs(seed):
    """Concatenations, additions, poolings and resizings of the ONNX graph are those that are priced."""
    space = load_space("demo")
    arch = random_arch(space, seed, paths=4)
    nodes = Counter(node.op_type for node in onnx.load_from_string(network_model(arch).onnx).graph.node)
    parts = Counter(dict.fromkeys(("concat", "merge", "maxpool", "pre.ct", "pre.ep"), 0))
    for key, count in arch_parts(arch).items():
        parts[key.kind] += count
    assert nodes["Concat"] == parts["concat"]
    assert nodes["Add"] == parts["merge"]
    assert nodes["MaxPool"] == parts["maxpool"] + parts["pre.ct"]
    assert nodes["Resize"] == parts["pre.ep"]


def test_a_space_without_identity_prices_repeated_nodes_at_nothing():
    space = dataclasses.replace(load_space("demo"), ops=("maxpool", "conv", "zero"), layers=2)
    twice = ((NodeEdge(0, "maxpool"),), (NodeEdge(0, "maxpool"),), (NodeEdge(0, "conv"),))
    arch = Arch(space=space, cells=dict.fromkeys(("ct", "ns", "ep"), twice), paths=(("ct", "ep"),))
    parts = arch_parts(arch)
    assert set(parts) <= set(PartCatalogue(space).all())
    assert sum(count for key, count in parts.items() if key.kind == "maxpool") == 2
