import onnx
import pytest
import torch
from safetensors.torch import save_file

from cinert.baselines.unet3d import UNet3d
from cinert.errors import BadInputError
from cinert.network import build_network, load_weights, random_weights
from cinert.onnx import network_model
from cinert.sampling import random_arch
from cinert.spaces import load_space

WIDTHS = (12, 24, 48, 96)


def test_parameters_by_hand():
    network = build_network(UNet3d.for_space(load_space("small"), WIDTHS, {}))
    found = sum(parameter.numel() for parameter in network.parameters())
    down = sum(27 * (a * b + b * b) for a, b in zip((1, *WIDTHS), WIDTHS, strict=False))
    up = sum(27 * (2 * width * width + width * width) for width in WIDTHS[:-1])
    enlarge = 12 + 24 * 12 * 8 + sum(fine + 2 * fine * fine * 4 for fine in (24, 48))
    norms = 2 * 2 * sum(WIDTHS) + 2 * 2 * sum(WIDTHS[:-1])
    head = 12 * 4 + 4
    assert found == down + up + enlarge + norms + head == 765_580


def test_two_levels_by_hand():
    """The skipped level comes first in the concatenation, what was enlarged second."""
    arch = UNet3d(
        input_shape_DHW=(3, 4, 6),
        spacing_mm=(1.0, 1.0, 1.0),
        in_channels=2,
        strides=((3, 2, 2),),
        widths=(3, 5),
        convs_per_level=1,
        norm="batch",
    )
    network = random_weights(build_network(arch), 0)
    image = torch.randn(1, 2, 3, 4, 6)
    with torch.no_grad():
        body = network.body
        fine = body.down[0](image)
        coarse = body.down[1](torch.nn.functional.max_pool3d(fine, (3, 2, 2)))
        assert coarse.shape == (1, 5, 1, 2, 3)
        joined = torch.cat((fine, body.enlarge[0](coarse)), dim=1)
        torch.testing.assert_close(network(image), network.head(body.up[0](joined)))


# Notes of third parties while a program is exported or loaded; they concern their own code.
def test_the_onnx_holds_no_batch_norm(unet):
    operators = {node.op_type for node in onnx.load_from_string(network_model(unet).onnx).graph.node}
    assert {"Conv", "ConvTranspose", "MaxPool", "Concat"} <= operators
    assert "BatchNormalization" not in operators


def test_weights_read_back_and_do_not_fit_another_network(tmp_path, unet):
    path = tmp_path / "weights.safetensors"
    network = random_weights(build_network(unet), 0)
    save_file(network.state_dict(), path)
    again = build_network(unet)
    load_weights(again, path)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in again.state_dict().items())
    with pytest.raises(BadInputError, match=r"weights\.safetensors do not fit"):
        load_weights(build_network(random_arch(load_space("demo"), 1)), path)


def test_what_is_no_architecture_is_refused():
    with pytest.raises(TypeError, match="Space is neither a searched architecture nor a baseline"):
        build_network(load_space("demo"))
