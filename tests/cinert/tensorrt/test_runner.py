"""The runner on doubles: what goes where, in which order, and that nothing is left behind."""

import numpy as np
import onnxruntime
import pytest

from cinert.backends.tensorrt.runner import TensorRtRunner
from cinert.errors import BadInputError


@pytest.fixture
def image():
    return np.random.default_rng(1).standard_normal((1, 2, 3, 4, 4), dtype=np.float32)


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_a_frame_goes_through_the_engine(fake_trt, onnx_engine, conv_model, device, image, cuda_graph):
    expected = onnxruntime.InferenceSession(conv_model.onnx).run(None, {"image": image})[0]
    engine = onnx_engine(conv_model.onnx)
    with TensorRtRunner(fake_trt, engine, device, cuda_graph=cuda_graph) as runner:
        assert runner.input_shapes == ((1, 2, 3, 4, 4),)
        assert runner.output_shape == (1, 2, 3, 4, 4)
        np.testing.assert_allclose(runner.run(image), expected, rtol=1e-6)
        np.testing.assert_allclose(runner.run(2 * image), 2 * expected, rtol=1e-5)
        assert runner.device_ms() == 1.5
    assert device.graphs == int(cuda_graph)
    assert all(buffer.released for buffer in device.buffers)


def test_the_engine_is_warmed_up_before_it_is_captured(fake_trt, onnx_engine, conv_model, device):
    engine = onnx_engine(conv_model.onnx)
    TensorRtRunner(fake_trt, engine, device, cuda_graph=True)
    assert engine.contexts[0].runs == 2


def test_a_fork_has_buffers_stream_and_graph_of_its_own(fake_trt, onnx_engine, conv_model, device, image):
    first = TensorRtRunner(fake_trt, onnx_engine(conv_model.onnx), device, cuda_graph=True)
    second = first.fork()
    kept = first.run(image)
    before = kept.copy()
    second.run(3 * image)
    np.testing.assert_array_equal(kept, before)
    assert len(device.streams) == 2
    assert device.graphs == 2
    assert len({buffer.address for buffer in device.buffers}) == 4


def test_close_releases_once(fake_trt, onnx_engine, conv_model, device):
    runner = TensorRtRunner(fake_trt, onnx_engine(conv_model.onnx), device, cuda_graph=True)
    runner.close()
    runner.close()
    assert all(buffer.released for buffer in device.buffers)


def test_layers_are_timed_outside_the_graph(fake_trt, onnx_engine, conv_model, device):
    runner = TensorRtRunner(fake_trt, onnx_engine(conv_model.onnx), device, cuda_graph=True)
    assert runner.layer_times_ms(runs=3) == [("conv + relu", 0.25)]


def test_another_shape_is_refused(fake_trt, onnx_engine, conv_model, device):
    runner = TensorRtRunner(fake_trt, onnx_engine(conv_model.onnx), device, cuda_graph=False)
    with pytest.raises(BadInputError, match="takes inputs of shape"):
        runner.run(np.zeros((1, 2, 3, 4, 5), np.float32))


def test_an_engine_with_half_precision_inputs_is_refused(fake_trt, onnx_engine, conv_model, device):
    engine = onnx_engine(conv_model.onnx)
    engine.element = "HALF"
    with pytest.raises(BadInputError, match="tensor image of the engine is HALF, expected float32"):
        TensorRtRunner(fake_trt, engine, device, cuda_graph=False)


def test_a_gpu_without_memory_for_a_context_is_one_line(fake_trt, onnx_engine, conv_model, device):
    engine = onnx_engine(conv_model.onnx)
    engine.create_execution_context = lambda: None
    with pytest.raises(BadInputError, match="makes no execution context"):
        TensorRtRunner(fake_trt, engine, device, cuda_graph=False)
