"""What every kind of network has to do: keep the grid, learn, fold, and run the same on every back end."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.modules.batchnorm import _BatchNorm

from cinert.backends import get_backend
from cinert.baselines.kinds import KINDS, PUBLISHED, design
from cinert.network import build_network, fold_batch_norm, random_weights
from cinert.onnx import network_model
from cinert.space import PRESETS
from cinert.spaces import load_space
from cinert.typed.half import to_half

PUBLISHED_ONES = ("published nas-unet", "published nas-unet batch", "published bix-nas")
ALL = (*KINDS, *PUBLISHED_ONES)
IN_PLANE = ("unet2d", "nas-unet", "bix-nas", "msu-net", *PUBLISHED_ONES)
UNFOLDED = ("nnunet", "nnunet-resenc", "published nas-unet")
"""Kinds whose norm depends on the image, so that it stays in the engine."""
# Notes of third parties while a program is exported or loaded; they concern their own code.


def image_of(arch, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, arch.in_channels, *arch.input_shape_DHW, generator=generator)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", KINDS)
def test_logits_have_the_input_grid(kind, preset):
    space = load_space(preset)
    arch = KINDS[kind].for_space(space, KINDS[kind].widths_in(space), {})
    with torch.device("meta"):
        image = torch.zeros(2, 1, *arch.input_shape_DHW)
    assert build_network(arch).to("meta")(image).shape == (2, 4, *arch.input_shape_DHW)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", PUBLISHED)
def test_logits_of_published_networks_have_the_input_grid(kind, preset):
    space = load_space(preset)
    arch = design(kind, space, PUBLISHED[kind].widths_in(space), cells="published")
    with torch.device("meta"):
        image = torch.zeros(2, 1, *arch.input_shape_DHW)
        network = build_network(arch)
    assert network(image).shape == (2, 4, *arch.input_shape_DHW)


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 8, 20), (10, 28, 12)])
@pytest.mark.parametrize("kind", ALL)
def test_other_grids(make, kind, shape):
    arch = make(kind, input_shape_DHW=shape)
    with torch.no_grad():
        assert build_network(arch).eval()(image_of(arch, batch=2)).shape == (2, 4, *arch.input_shape_DHW)


@pytest.mark.parametrize("kind", ALL)
def test_training_lowers_the_loss_and_reaches_every_parameter(make, kind):
    torch.manual_seed(0)
    arch = make(kind, in_channels=1)
    network = build_network(arch)
    image = image_of(arch, batch=2)
    # Where a voxel and its neighbours in the slice are bright: to be learned from the image alone.
    # In a wider neighbourhood for the network that sees nothing finer than two pixels.
    window = 9 if kind == "published bix-nas" else 3
    bright = torch.nn.functional.avg_pool3d(image, (1, window, window), 1, (0, window // 2, window // 2))[:, 0]
    labels = torch.bucketize(bright * window, torch.tensor([-0.9, 0.0, 0.9]))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(image), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("kind", IN_PLANE)
def test_the_slices_of_a_volume_are_a_batch(make, kind):
    arch = make(kind)
    network, image = random_weights(build_network(arch), 0), image_of(arch, batch=2)
    with torch.no_grad():
        logits = network(image)
        for volume, place in ((0, 0), (1, arch.input_shape_DHW[0] - 1)):
            alone = network(image[volume : volume + 1, :, place : place + 1])
            torch.testing.assert_close(logits[volume : volume + 1, :, place : place + 1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["unet3d", "nnunet", "nnunet-resenc", "aniso-unet", "ica-unet"])
def test_a_3d_network_sees_the_slices_beside(make, kind):
    arch = make(kind)
    network, image = random_weights(build_network(arch), 0), image_of(arch)
    changed = image.clone()
    changed[:, :, 0] += 1
    with torch.no_grad():
        assert (network(changed) - network(image))[:, :, 1].abs().max() > 1e-3


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in UNFOLDED])
def test_folding_batch_norm_keeps_the_function(make, kind):
    arch = make(kind)
    network, image = random_weights(build_network(arch), 0), image_of(arch)
    folded = fold_batch_norm(copy.deepcopy(network))
    with torch.no_grad():
        before, after = network(image), folded(image)
    assert any(isinstance(module, _BatchNorm) for module in network.modules())
    assert not any(isinstance(module, _BatchNorm) for module in folded.modules())
    assert (before - after).abs().max() <= 1e-5 * before.abs().max()


@pytest.mark.parametrize("kind", ALL)
def test_channels_last_is_a_layout_and_nothing_else(make, kind):
    arch = make(kind)
    network, image = random_weights(build_network(arch), 0), image_of(arch)
    laid_out = copy.deepcopy(network).channels_last()
    wide = [parameter for parameter in laid_out.parameters() if parameter.dim() > 3 and parameter.shape[1] > 1]
    assert wide
    assert all(parameter.stride(1) == 1 for parameter in wide)
    with torch.no_grad():
        torch.testing.assert_close(laid_out(image), network(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ALL)
def test_weights_are_stored_once_and_read_back(tmp_path, make, kind):
    network = random_weights(build_network(make(kind)), 0)
    # Refuses tensors that share memory.
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    again = build_network(make(kind))
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in again.state_dict().items())


@pytest.mark.parametrize("name", ["torch", "ort", "openvino"])
@pytest.mark.parametrize("kind", ALL)
def test_every_back_end_agrees_with_pytorch(make, kind, name):
    arch = make(kind)
    image = image_of(arch)
    with torch.no_grad():
        expected = random_weights(build_network(arch), 0)(image).numpy()
    # Logits that hardly depend on the image would agree by themselves.
    assert expected.std() > 0.05
    with get_backend(name).runner(network_model(arch), device="cpu", threads=1) as runner:
        assert runner.output_shape == (1, 4, *arch.input_shape_DHW)
        assert np.abs(runner.run(image.numpy()) - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ALL)
def test_half_precision_stays_close(make, kind):
    arch = make(kind)
    # Brighter and flatter than a z-scored image, so that differences of large numbers would show.
    image = 3 + 0.3 * image_of(arch).numpy()
    data = network_model(arch).onnx
    expected, found = (
        onnxruntime.InferenceSession(each).run(None, {"image": image})[0] for each in (data, to_half(data, "fp16").data)
    )
    assert 0 < np.abs(found - expected).max() <= 1e-2 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ALL)
def test_the_onnx_takes_the_volume_and_holds_no_batch_norm(make, kind):
    arch = make(kind)
    graph = onnx.load_from_string(network_model(arch).onnx).graph
    shapes = [[size.dim_value for size in value.type.tensor_type.shape.dim] for value in (*graph.input, *graph.output)]
    assert shapes == [[1, 2, *arch.input_shape_DHW], [1, 4, *arch.input_shape_DHW]]
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    kernels = {
        len(a.ints) for node in graph.node if node.op_type == "Conv" for a in node.attribute if a.name == "strides"
    }
    assert kernels == {2 if kind in IN_PLANE else 3}
    assert (kind in UNFOLDED) == ("InstanceNormalization" in {node.op_type for node in graph.node})
