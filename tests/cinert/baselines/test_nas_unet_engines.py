"""Every op of NAS-UNet, in every place that it may stand in, on the engines."""

import numpy as np
import pytest
import torch

from cinert.backends import get_backend
from cinert.backends.tensorrt import TensorRtRtxBackend
from cinert.baselines.nas_unet import DOWN_OPS, UP_OPS, CellOp
from cinert.network import build_network, random_weights
from cinert.onnx import network_model

# Notes of third parties while a program is exported or loaded; they concern their own code.


@pytest.fixture
def arch(make):
    # The ops on input 1 go through the table backwards, so that the two of a node differ.
    down = tuple(((0, op), (1, DOWN_OPS[-1 - place])) for place, op in enumerate(DOWN_OPS))
    ops = CellOp.__args__
    up = tuple(((0, op), (1, UP_OPS[-1 - place % len(UP_OPS)])) for place, op in enumerate(ops[1:]))
    first, *others = up
    arch = make("nas-unet", widths=(2, 3, 4), down_cell=down, up_cell=((*first, (0, ops[0])), *others))
    for cell, source, expected in ((down, 0, DOWN_OPS), (down, 1, DOWN_OPS), (up, 1, UP_OPS)):
        assert {op for node in cell for place, op in node if place == source} == set(expected)
    return arch


@pytest.mark.parametrize("name", ["torch", "ort", "openvino"])
def test_every_back_end_agrees_with_pytorch(arch, name):
    image = np.random.default_rng(0).standard_normal((1, 2, 6, 12, 20), dtype=np.float32)
    with torch.no_grad():
        expected = random_weights(build_network(arch), 0)(torch.from_numpy(image)).numpy()
    assert expected.std() > 0.05
    with get_backend(name).runner(network_model(arch), device="cpu", threads=1) as runner:
        assert np.abs(runner.run(image) - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_rtx_builds_it(arch, precision, record_property):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (pip install tensorrt-rtx)")
    backend = TensorRtRtxBackend(capabilities=("8.6",))
    plan = backend.compile(network_model(arch), precision=precision, threads=1).files["sm86.plan"]
    assert plan.startswith(b"vtrt")
    record_property("tensorrt-rtx engines", 1)
