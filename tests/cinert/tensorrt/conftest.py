"""Doubles for what needs a GPU: device memory that lies on the host, and a TensorRT whose plans are ONNX.

They show that names, copies, streams, graphs and refusals are right. That the real libraries behave as the doubles do
is shown by the tests marked `gpu` alone.
"""

from __future__ import annotations

import ctypes
import json
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from cinert.backends.base import Model
from cinert.backends.tensorrt import TensorRtRtxBackend
from cinert.device_memory.base import Device, Stream
from cinert.device_memory.driver import GpuFacts
from latency.parts import PartCatalogue

SHAPE = (1, 2, 3, 4, 4)


class HostBuffer:
    def __init__(self, size):
        self.size = size
        self._bytes = ctypes.create_string_buffer(size)
        self.address = ctypes.addressof(self._bytes)
        self.released = False

    def release(self):
        assert not self.released, "released twice"
        self.released = True


class HostStream(Stream):
    """Does its work at once, or notes it while capturing."""

    def __init__(self, device):
        self._device, self._captured = device, None
        self.handle = len(device.streams) + 1
        device.streams[self.handle] = self

    def do(self, work):
        assert self._device.is_current, "called while the device is not current"
        if self._captured is not None:
            self._captured.append(work)
        else:
            work()

    def upload(self, source, target):
        assert source.nbytes == target.size
        self.do(lambda: ctypes.memmove(target.address, source.ctypes.data, source.nbytes))

    def download(self, source, target):
        assert target.nbytes == source.size
        self.do(lambda: ctypes.memmove(target.ctypes.data, source.address, target.nbytes))

    def record(self):
        assert self._device.is_current
        self._device.clock_ms += 1.5
        now = self._device.clock_ms
        return SimpleNamespace(now=now, ms_since=lambda start: now - start.now)

    def capture(self, work):
        self._captured = []
        work()
        captured, self._captured = self._captured, None
        self._device.graphs += 1
        return SimpleNamespace(launch=lambda: [self.do(step) for step in captured], release=lambda: None)

    def synchronise(self):
        assert self._device.is_current


class HostDevice(Device):
    implementation = "double"

    def __init__(self):
        self.index, self.graphs, self.clock_ms = 0, 0, 0.0
        self.streams, self.buffers = {}, []
        # As CUDA's contexts are: current in one thread says nothing about another.
        self._thread = threading.local()

    @property
    def is_current(self):
        return getattr(self._thread, "current", False)

    @contextmanager
    def current(self):
        self._thread.current = True
        yield
        self._thread.current = False

    def allocate(self, size):
        assert self.is_current
        self.buffers.append(HostBuffer(size))
        return self.buffers[-1]

    def pinned(self, shape, dtype):
        return np.zeros(shape, dtype)

    def stream(self):
        return HostStream(self)


class OnnxContext:
    def __init__(self, engine):
        self._engine, self._addresses, self.profiler, self.runs = engine, {}, None, 0

    def set_tensor_address(self, name, address):
        self._addresses[name] = address

    def execute_async_v3(self, handle):
        self._engine.device.streams[handle].do(self._run)
        return True

    def _run(self):
        session = self._engine.session
        arrays = {node.name: self._array(node) for node in session.get_inputs()}
        self._array(session.get_outputs()[0])[...] = session.run(None, arrays)[0]
        self.runs += 1
        if self.profiler is not None:
            self.profiler.report_layer_time("conv + relu", 0.25)

    def _array(self, node):
        size = int(np.prod(node.shape))
        memory = (ctypes.c_float * size).from_address(self._addresses[node.name])
        return np.ctypeslib.as_array(memory).reshape(node.shape)


class OnnxEngine:
    """A deserialised plan of the double: an ONNX Runtime session on the double's memory."""

    element = "FLOAT"

    def __init__(self, plan, device):
        self.session, self.device = onnxruntime.InferenceSession(plan), device
        self._nodes = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.num_io_tensors = len(self._nodes)
        self.contexts = []

    def get_tensor_name(self, number):
        return self._nodes[number].name

    def _node(self, name):
        return next(node for node in self._nodes if node.name == name)

    def get_tensor_dtype(self, name):
        return self.element

    def get_tensor_mode(self, name):
        return "INPUT" if self._node(name) in self._nodes[:-1] else "OUTPUT"

    def get_tensor_shape(self, name):
        return self._node(name).shape

    def create_engine_inspector(self):
        layers = {"Layers": [{"Name": "conv + relu", "Inputs": [], "Outputs": []}]}
        return SimpleNamespace(get_engine_information=lambda kind: json.dumps(layers))

    def create_execution_context(self):
        self.contexts.append(OnnxContext(self))
        return self.contexts[-1]


@pytest.fixture
def device():
    return HostDevice()


@pytest.fixture
def onnx_engine(device):
    return lambda plan: OnnxEngine(plan, device)


@pytest.fixture
def fake_trt():
    """What the runner asks of the library itself."""
    return SimpleNamespace(
        DataType=SimpleNamespace(FLOAT="FLOAT"),
        TensorIOMode=SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"),
        IProfiler=object,
        LayerInformationFormat=SimpleNamespace(JSON="JSON"),
    )


def _model(nodes, *, weights=(), shape=SHAPE, name="test model", calibration=()):
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    # A graph that is refused has no shapes to infer.
    data = onnx.shape_inference.infer_shapes(model).SerializeToString()
    return Model(name=name, input_shapes=(shape,), make_onnx=lambda: data, calibration=calibration)


@pytest.fixture(scope="session")
def make_model():
    """A model of a few nodes that maps `image` (1, 2, 3, 4, 4) to `logits`."""
    return _model


@pytest.fixture(scope="session")
def conv_model(make_model):
    """A convolution with ReLU."""
    weight = np.random.default_rng(0).standard_normal((2, 2, 3, 3, 3), dtype=np.float32) / 7
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["features"], name="conv", pads=[1] * 6),
        helper.make_node("Relu", ["features"], ["logits"], name="relu"),
    ]
    return make_model(nodes, weights=[numpy_helper.from_array(weight, "w")])


@pytest.fixture
def gpu_of(monkeypatch):
    """Pretends that the driver shows a GPU of a compute capability."""

    def pretend(capability):
        where = "cinert.backends.tensorrt.backend."
        monkeypatch.setattr(where + "driver_problem", lambda index: None)
        monkeypatch.setattr(where + "gpu_facts", lambda index: GpuFacts("Pretended RTX", "GPU-0", capability, 8192))
        monkeypatch.setattr(where + "installed", lambda: ("cuda-core",))

    return pretend


@pytest.fixture
def rtx():
    """The real TensorRT-RTX back end, which builds without a GPU."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (pip install tensorrt-rtx)")
    return lambda *capabilities, **options: TensorRtRtxBackend(capabilities=capabilities or ("8.6",), **options)


def _reads_a_full_vertex(key, space):
    full = space.vertex_channels(space.shapes_DHW.index(key.shape_in))
    if key.kind.startswith("pre.") or key.kind == "head":
        return key.channels_in == full
    return key.kind != "concat" or key.channels_out == full


@pytest.fixture(scope="session")
def part_keys():
    """Parts of a space that read every node of a vertex, or the others.

    Parts that read fewer nodes run the same kernels on fewer channels, and each takes seconds to export.
    """

    def part_keys(space, precision="fp32", *, full):
        keys = PartCatalogue(space, precision).all()
        return [key for key in keys if _reads_a_full_vertex(key, space) == full]

    return part_keys
