import dataclasses

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cinert.arch import Arch, NodeEdge
from cinert.errors import BadInputError
from cinert.network import Network, fold_batch_norm, load_weights, random_weights
from cinert.sampling import random_arch
from cinert.space import PRESETS
from cinert.spaces import load_space
from cinert.vertices import vertex_values


@pytest.mark.parametrize("preset", PRESETS)
def test_logits_have_the_input_grid(preset):
    space = load_space(preset)
    network = Network(random_arch(space, 1)).eval()
    with torch.device("meta"):
        image = torch.zeros(2, 1, *space.input_shape_DHW)
    assert network.to("meta")(image).shape == (2, 4, *space.input_shape_DHW)


def test_union_of_two_paths_by_hand():
    """Two paths that meet at the end: their outputs are summed before the head."""
    space = dataclasses.replace(load_space("demo"), layers=2)
    cell = ((NodeEdge(0, "conv"),), (), (NodeEdge(1, "maxpool"),))
    arch = Arch(space=space, cells=dict.fromkeys(("ct", "ns", "ep"), cell), paths=(("ct", "ep"), ("ns", "skip")))
    network = random_weights(Network(arch), 0)
    image = torch.randn(1, 1, *space.input_shape_DHW)
    with torch.no_grad():
        stem = network.stem(image)
        down = network.cells["l0_s0_ct"](stem)
        # The empty second node is neither computed nor read.
        assert sorted(down) == [0, 2]
        back = network.cells["l1_s1_ep"](torch.cat([down[0], down[2]], dim=1))
        flat = network.cells["l0_s0_ns"](stem)
        met = torch.cat([back[0] + flat[0], back[2] + flat[2]], dim=1)
        torch.testing.assert_close(network(image), network.head(met))


def test_empty_nodes_give_what_zeros_would_give():
    """The network without its empty nodes equals the textbook one: zeros joined, summed and read like any node."""
    space = dataclasses.replace(load_space("demo"), layers=3)
    cells = {
        "ct": ((NodeEdge(0, "conv"),), (), (NodeEdge(2, "conv"),)),
        "ns": ((), (NodeEdge(0, "separable"),), (NodeEdge(0, "identity"),)),
        "ep": ((NodeEdge(0, "maxpool"),), (), ()),
    }
    paths = (("ct", "ns", "ep"), ("ns", "ct", "ep"), ("skip", "skip", "ns"))
    arch = Arch(space=space, cells=cells, paths=paths)
    network = random_weights(Network(arch), 0)
    held = {vertex: tuple(values) for vertex, values in vertex_values(arch).items()}
    assert (held[1, 1], held[1, 0], held[2, 1], held[3, 0]) == ((0,), (0, 1, 2), (0, 1, 2), (0, 1, 2))
    image = torch.randn(1, 1, *space.input_shape_DHW)

    def padded(cell, vertex, nodes):
        width = cell.preprocessing[0 if not isinstance(cell.preprocessing[0], torch.nn.MaxPool3d) else 1].in_channels
        width //= len(nodes)
        outputs = cell(torch.cat([vertex[:, node * width : (node + 1) * width] for node in nodes], dim=1))
        zeros = torch.zeros_like(next(iter(outputs.values())))
        return torch.cat([outputs.get(node, zeros) for node in range(space.nodes)], dim=1)

    with torch.no_grad():
        vertices = {(0, 0): network.stem(image)}
        for edge in arch.edges:
            source = vertices[edge.layer, edge.source]
            if edge.kind != "skip":
                name = f"l{edge.layer}_s{edge.source}_{edge.kind}"
                source = padded(network.cells[name], source, held[edge.layer, edge.source])
            target = (edge.layer + 1, edge.target)
            vertices[target] = vertices[target] + source if target in vertices else source
        torch.testing.assert_close(network(image), network.head(vertices[3, 0]), rtol=1e-4, atol=1e-5)


def test_folding_batch_norm_keeps_the_function():
    network = random_weights(Network(random_arch(load_space("demo"), 5)), 0)
    image = torch.randn(1, 1, 10, 64, 56)
    with torch.no_grad():
        before = network(image)
        after = fold_batch_norm(network)(image)
    assert not any(isinstance(module, torch.nn.BatchNorm3d) for module in network.modules())
    assert (before - after).abs().max() <= 1e-5 * before.abs().max()


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv3d(3, 5, (1, 3, 3), dilation=(1, 2, 2), padding=(0, 2, 2)), nn.BatchNorm3d(5), (2, 4, 4)),
        (nn.Conv3d(3, 3, 3, groups=3, padding=1, bias=False), nn.BatchNorm3d(3), (2, 4, 4)),
        (nn.ConvTranspose3d(3, 5, (1, 2, 2), stride=(1, 2, 2)), nn.BatchNorm3d(5), (2, 4, 4)),
        (nn.ConvTranspose3d(3, 5, 2, stride=2, bias=False), nn.BatchNorm3d(5), (2, 4, 4)),
        (nn.ConvTranspose2d(3, 5, 2, stride=2), nn.BatchNorm2d(5), (4, 4)),
    ],
    ids=["dilated", "depthwise", "enlarging", "enlarging without bias", "enlarging in 2D"],
)
def test_every_kind_of_convolution_is_folded_with_the_norm_behind_it(layer, norm, shape):
    module = random_weights(nn.Sequential(layer, norm, nn.ReLU()), 1)
    x = torch.randn(1, 3, *shape)
    with torch.no_grad():
        before = module(x)
        after = fold_batch_norm(module)(x)
    assert not any(isinstance(each, type(norm)) for each in module.modules())
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    space = load_space("demo")
    path = tmp_path / "weights.safetensors"
    network = Network(random_arch(space, 1))
    save_file(network.state_dict(), path, metadata={"cinert": "{}"})
    assert load_weights(Network(random_arch(space, 1)), path) == {"cinert": "{}"}
    wider = dataclasses.replace(space, widths=(12, 16, 32))
    for other in (random_arch(space, 2), random_arch(wider, 1)):
        with pytest.raises(BadInputError, match=r"weights\.safetensors do not fit") as error:
            load_weights(Network(other), path)
        assert "tensors differ" in str(error.value)
    with pytest.raises(BadInputError, match="do not exist"):
        load_weights(network, tmp_path / "none.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInputError, match="cannot be read"):
        load_weights(network, path)
