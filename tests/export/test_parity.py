"""The parity gate: engines of every back end give PyTorch's logits, and one that does not is refused."""

import numpy as np
import pytest
import torch

from cinert.backends import get_backend
from cinert.errors import ExitCode, VerdictError
from cinert.network import Network, random_weights
from cinert.onnx import network_model
from cinert.sampling import random_arch
from export.parity import TOLERANCE, check_parity, random_images, relative_difference


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1.0, -4.0], [1.0, -4.0], 0.0),
        ([1.1, -4.0], [1.0, -4.0], 0.025),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([1e-9, 0.0], [0.0, 0.0], np.inf),
        ([np.nan, 0.0], [1.0, 0.0], np.inf),
        ([1.0, 0.0], [np.inf, 0.0], np.inf),
    ],
)
def test_relative_difference_by_hand(a: list[float], b: list[float], expected: float) -> None:
    assert relative_difference(np.array(a), np.array(b)) == pytest.approx(expected)


def test_the_difference_is_relative_to_the_reference() -> None:
    assert relative_difference(np.array([2.0]), np.array([1.0])) == 1.0
    assert relative_difference(np.array([1.0]), np.array([2.0])) == 0.5


@pytest.fixture(scope="module", params=[0, 1, 2])
def network_and_model(request: pytest.FixtureRequest, tiny_space):
    arch = random_arch(tiny_space, seed=request.param)
    network = random_weights(Network(arch), seed=request.param)
    return network, network_model(arch, network)


@pytest.mark.parametrize("name", ["torch", "ort", "openvino"])
def test_every_back_end_gives_pytorchs_logits(network_and_model, name: str) -> None:
    network, model = network_and_model
    backend = get_backend(name)
    engine = backend.compile(model, threads=1)

    with backend.load(engine, threads=1) as runner:
        parity = check_parity(runner, network, {"random": random_images(model.input_shapes[0])})

    assert parity.status == "passed"
    assert parity.relative_logits is not None
    assert parity.relative_logits < TOLERANCE / 10
    assert parity.inputs == {"random": 4}


@pytest.mark.parametrize("factor", [1 + 3 * TOLERANCE, float("nan")])
def test_an_engine_that_computes_something_else_is_refused(network_and_model, factor: float) -> None:
    network, model = network_and_model
    runner = get_backend("ort").runner(model, threads=1)

    class Wrong:
        def run(self, image):
            return runner.run(image) * np.float32(factor)

    with pytest.raises(VerdictError, match=r"more than 0\.001") as caught:
        check_parity(Wrong(), network, {"random": random_images(model.input_shapes[0])})

    assert caught.value.exit_code == ExitCode.VERDICT_FAILED


def test_the_worst_input_decides(network_and_model) -> None:
    network, model = network_and_model
    runner = get_backend("ort").runner(model, threads=1)
    images = random_images(model.input_shapes[0])

    class WrongOnTheLast:
        def run(self, image):
            return runner.run(image) * np.float32(1.1 if image is images[-1] else 1)

    with pytest.raises(VerdictError, match="frames input 0"):
        check_parity(WrongOnTheLast(), network, {"random": images[:-1], "frames": images[-1:]})


def test_random_images_are_reproducible_and_one_has_an_empty_half() -> None:
    first, again = random_images((1, 1, 4, 8, 8)), random_images((1, 1, 4, 8, 8))

    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not first[-1][..., :4].any()
    assert torch.from_numpy(first[0]).std() == pytest.approx(1, abs=0.2)
