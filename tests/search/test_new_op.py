"""An op that a package adds, without a fast path: the supernet runs its module, and all else knows it by its object."""

import dataclasses

import pytest
import torch
from click.testing import CliRunner

from bench.compare.suites import NETWORKS
from cinert.arch import Arch, NodeEdge
from cinert.errors import BadInputError
from cinert.network import Network
from cinert.onnx import network_model
from cinert.op_check import require_ops
from cinert.op_registry import BUILT_IN
from cinert.op_spec import (
    OpSpec,
    convolution_flops,
    convolution_weights,
    no_weights,
    pooling_flops,
    separable_flops,
    separable_weights,
)
from cinert.paths import CELL_KINDS
from cinert.sampling import random_arch
from cinert.typed import typed_onnx
from latency.calibration import group_of
from latency.lut import save_lut
from latency.parts import PartCatalogue, make_part
from latency.roofline import needed_flops
from search.cli import nas_search
from search.draw import draw_arch
from search.mixed_cell import MixedCell, live_weights
from search.relaxation import ArchParameters, cell_inputs
from search.supernet import Supernet
from search.sweep_cli import nas_sweep

GATE = OpSpec(
    name="gate",
    make=lambda _: torch.nn.Sigmoid(),
    kernel_DHW=(1, 1, 1),
    flops=pooling_flops,
    weights=no_weights,
    price_group="light",
    half_safe=frozenset({"Sigmoid"}),
    colour="#E69F00",
)


@pytest.fixture
def gated(tiny, add_ops):
    """The tiny space with an op that a package adds."""
    add_ops(GATE)
    return dataclasses.replace(tiny, ops=(*tiny.ops, "gate"))


def gates(space, *, path=("ns", "ns", "ns")):
    cell = ((NodeEdge(0, "gate"),),) + ((),) * (space.nodes - 1)
    return Arch(space=space, cells=dict.fromkeys(CELL_KINDS, cell), paths=(path,))


def flat_layers(channels, **depthwise):
    kernel = {"kernel_size": (1, 3, 3), "padding": (0, 2, 2), "dilation": (1, 2, 2), "bias": False}
    first = torch.nn.Conv3d(channels, channels, **kernel, **({"groups": channels} if depthwise else {}))
    second = [torch.nn.Conv3d(channels, channels, 1, bias=False)] if depthwise else []
    return torch.nn.Sequential(first, *second, torch.nn.BatchNorm3d(channels), torch.nn.ReLU())


FLAT = OpSpec(
    name="flat",
    make=flat_layers,
    kernel_DHW=(1, 3, 3),
    dilation_DHW=(1, 2, 2),
    flops=convolution_flops,
    weights=convolution_weights,
    price_group="convolution",
    fast_path="convolution",
    colour="#E69F00",
)
FLAT_SEPARABLE = dataclasses.replace(
    FLAT,
    name="flat_separable",
    make=lambda channels: flat_layers(channels, depthwise=True),
    depthwise=True,
    flops=separable_flops,
    weights=separable_weights,
    fast_path="separable",
)
FAST = [*BUILT_IN.values(), FLAT, FLAT_SEPARABLE]


@pytest.mark.parametrize("spec", FAST, ids=lambda spec: spec.name)
def test_the_fast_path_of_an_op_computes_what_its_module_does(tiny, spec, randomised):
    """One op from the input to the first node, weighted 0.7, by its fast path and without one, on the same weights."""
    outputs = []
    for one in (spec, dataclasses.replace(spec, fast_path=None)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(BUILT_IN, spec.name, one)
            space = dataclasses.replace(tiny, ops=(spec.name, "zero"))
            cell = MixedCell(space, "ns", 0)
        randomised(cell, 1)
        if one.fast_path is None and f"i0_{spec.name}" in outputs[0][0].wide:
            _copy(outputs[0][0].wide[f"i0_{spec.name}"], cell.own[f"i0_n0_{spec.name}"], cell.channels)
        if outputs:
            cell.preprocessing.load_state_dict(outputs[0][0].preprocessing.state_dict())
        weights = torch.zeros(len(cell_inputs(space.nodes)), 2)
        weights[0, 0] = 0.7
        x = torch.randn(2, space.vertex_channels(0), *space.shapes_DHW[0], generator=torch.Generator().manual_seed(2))
        live = live_weights({"ns": weights})["ns"]
        outputs.append((cell, cell(x.contiguous(memory_format=torch.channels_last_3d), weights, live, torch.ones(()))))
    torch.testing.assert_close(outputs[1][1], outputs[0][1], rtol=1e-4, atol=1e-5)


def _copy(wide, module, channels):
    """Give a module the weights that the wide op has towards the first node."""
    convolutions = [layer for layer in module.modules() if isinstance(layer, torch.nn.Conv3d)]
    theirs = [wide.convolution] if wide.depthwise is None else [wide.depthwise, wide.convolution]
    with torch.no_grad():
        for ours, their in zip(convolutions, theirs, strict=True):
            ours.weight.copy_(their.weight[:channels])
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm3d):
            torch.nn.init.ones_(layer.weight)
            torch.nn.init.zeros_(layer.bias)


def test_a_one_hot_supernet_computes_it(gated):
    """With all weight on the op, its gradient reaches alpha, and without any it is not run."""
    torch.manual_seed(0)
    supernet, parameters = Supernet(gated), ArchParameters(gated)
    image = torch.randn(1, 1, *gated.input_shape_DHW)
    relaxed = parameters.relax()
    gradients = torch.autograd.grad(supernet(image, relaxed).square().sum(), list(parameters.alpha.values()))
    column = gated.ops.index("gate")
    assert all(bool((gradient[:, column] != 0).all()) for gradient in gradients)
    calls = []
    for module in supernet.modules():
        if isinstance(module, torch.nn.Sigmoid):
            module.register_forward_hook(lambda *_: calls.append(1))
    without = {kind: weights.clone() for kind, weights in relaxed.cells.items()}
    for weights in without.values():
        weights[:, column] = 0
    supernet(image, dataclasses.replace(relaxed, cells=without))
    assert calls == []
    supernet(image, relaxed)
    assert calls


@pytest.mark.parametrize("words", [["--method", "zeng2020"], ["--method", "cinert", "--mixture", "sampled-ops"]])
def test_a_differentiable_search_finds_it(tmp_path, tiny, patients, lut_of, add_ops, words):
    add_ops(GATE)
    space = dataclasses.replace(tiny, ops=("gate", "zero"))
    save_lut(tmp_path / "lut.json", lut_of(space))
    arguments = ["--lut", tmp_path / "lut.json", "--data", patients, "--epochs", 2, "-o", tmp_path / "run", *words]
    result = CliRunner().invoke(nas_search, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "run" / "arch.yaml").read_text()
    assert "op: gate" in text
    # Whose op it is stands beside the versions of what searched.
    assert "cinert-test-ops: '1.0'" in text


@pytest.mark.parametrize(
    ("command", "words"), [(nas_search, []), (nas_search, ["--method", "random"]), (nas_sweep, ["--method", "cinert"])]
)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weights": lambda part: 3}, "holds 0 weights for 4 channels, and says 3"),
        ({"fast_path": "convolution"}, "has the fast path convolution, and its module is another: Sigmoid"),
        ({"make": lambda _: torch.nn.MaxPool3d(2)}, "expected the same shape"),
        ({"make": lambda channels: torch.nn.Conv3d(channels, channels, 1)}, "computes 6720 operations"),
        ({"make": lambda _: 1 / 0}, "fails for 4 channels: ZeroDivisionError: division by zero"),
    ],
)
def test_an_op_that_is_not_what_it_says_is_refused_before_anything_is_read(
    tmp_path, tiny, add_ops, lut_of, command, words, change, says
):
    add_ops(dataclasses.replace(GATE, **change))
    save_lut(tmp_path / "lut.json", lut_of(dataclasses.replace(tiny, ops=("gate", "conv"))))
    arguments = ["--lut", tmp_path / "lut.json", "--data", "nowhere", "-o", tmp_path / "run", *words]
    result = CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert "op gate of package cinert-test-ops 1.0" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("spec", [FLAT, FLAT_SEPARABLE], ids=lambda spec: spec.name)
def test_kernels_that_are_no_cubes_are_counted_along_each_axis(tiny, add_ops, spec):
    """4 x 16 x 16 voxels, 4 channels, dilation 2 in the plane: 9 taps, of which (3 - 4 / 16) / 3 an axis count."""
    add_ops(spec)
    space = dataclasses.replace(tiny, ops=(spec.name, "conv"))
    require_ops(space)
    key = PartCatalogue(space).op(spec.name, 0)
    mixing = 4 if spec.depthwise else 0
    taps = 9 * (1 if spec.depthwise else 4)
    assert key.flops == 2 * 1024 * 4 * (taps + mixing)
    assert key.weight_count == 4 * (taps + mixing) + 4
    assert needed_flops(key) == pytest.approx(2 * 1024 * 4 * (taps * (11 / 12) ** 2 + mixing))


def test_a_comparison_takes_it(gated):
    NETWORKS["zeng2020-n2"].require_fit(gated)


def test_a_network_with_it_is_drawn(tmp_path, gated):
    draw_arch(tmp_path / "arch.png", gates(gated), title="gated")
    assert (tmp_path / "arch.png").stat().st_size > 10_000


def test_it_is_priced_by_what_it_says(gated):
    key = PartCatalogue(gated).op("gate", 0)
    assert (key.kernel_DHW, key.flops, key.weight_count) == ((1, 1, 1), 4 * 4 * 16 * 16, 0)
    assert group_of("gate") == "light"
    assert isinstance(make_part(key), torch.nn.Sigmoid)


def test_it_runs_in_half_precision_where_it_says_so_and_in_no_other_network(gated, add_ops):
    arch = gates(gated)
    assert typed_onnx(network_model(arch), "fp16").kept_in_fp32 == ()
    network = Network(arch)
    assert typed_onnx(network_model(arch, network), "fp16").kept_in_fp32 == ()
    add_ops(dataclasses.replace(GATE, half_safe=frozenset()))
    assert {kept.op for kept in typed_onnx(network_model(arch), "fp16").kept_in_fp32} == {"Sigmoid"}


def test_an_op_that_is_not_there_has_no_group(tiny):
    with pytest.raises(BadInputError, match="no group for parts of kind 'gate'"):
        group_of("gate")


def test_random_networks_hold_it(gated):
    found = (random_arch(gated, seed, paths=1) for seed in range(100))
    assert any("gate" in {edge.op for cell in arch.cells.values() for e in cell for edge in e} for arch in found)
