"""The ONNX graph of a plain network, written from its modules: `torch.onnx.export` takes seconds for each.

A latency table is learned from a hundred networks, whose graphs hold six kinds of nodes. What is deployed is exported
by torch all the same (`cinert.onnx.export_onnx`); a test holds the two graphs against each other, node by node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from cinert.ops import Concatenate, Merge
from cinert.ushape.network import Level, UBody

OPSET, IR_VERSION = 20, 10
"""As `cinert.onnx.export_onnx` writes them."""


class GraphWriter:
    """Nodes and weights of a graph, in order."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append a node; returns the name of what it gives."""
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def module(self, x: str, module: nn.Module) -> str:
        """Append the nodes of a module in eval mode, batch norm folded; returns the name of what it gives.

        Raises:
            TypeError: a module that is not one of a plain network.
        """
        if isinstance(module, nn.Sequential):
            for child in module:
                x = self.module(x, child)
            return x
        if isinstance(module, nn.Identity):
            return x
        write = _WRITERS.get(type(module))
        if write is None:
            raise TypeError(f"{type(module).__name__} is not a module of a plain network")
        return write(self, x, module)

    def add(self, a: str, b: str) -> str:
        """Append a sum of two tensors."""
        return self.node("Add", (a, b))

    def concatenate(self, *parts: str) -> str:
        """Append a concatenation along the channels."""
        return self.node("Concat", parts, axis=1)

    def _weighted(self, op: str, x: str, module: nn.Conv3d | nn.ConvTranspose3d, **attributes: Any) -> str:
        inputs = [x]
        for tensor in (module.weight, module.bias):
            if tensor is not None:
                inputs.append(f"weight_{len(self.weights)}")
                self.weights.append(numpy_helper.from_array(tensor.detach().cpu().numpy(), inputs[-1]))
        return self.node(op, inputs, group=module.groups, **_window(module), **attributes)

    def convolution(self, x: str, module: nn.Conv3d) -> str:
        """Append a convolution."""
        return self._weighted("Conv", x, module)

    def enlarging(self, x: str, module: nn.ConvTranspose3d) -> str:
        """Append a transposed convolution."""
        return self._weighted("ConvTranspose", x, module, output_padding=list(module.output_padding))

    def pooling(self, x: str, module: nn.MaxPool3d) -> str:
        """Append a max-pooling."""
        return self.node("MaxPool", (x,), storage_order=0, ceil_mode=0, **_window(module))

    def relu(self, x: str, _: nn.ReLU) -> str:
        """Append a ReLU."""
        return self.node("Relu", (x,))

    def model(self, inputs: Sequence[tuple[str, Sequence[int]]], result: str) -> onnx.ModelProto:
        """Close the graph: `result` becomes the output `logits`."""
        for node in self.nodes:
            for position, name in enumerate(node.output):
                if name == result:
                    node.output[position] = "logits"
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs]
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "main_graph", values, [logits], self.weights)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="cinert")


def _triple(value: Any) -> list[int]:
    return [int(item) for item in value] if isinstance(value, tuple) else [int(value)] * 3


def _window(module: nn.Conv3d | nn.ConvTranspose3d | nn.MaxPool3d) -> dict[str, Any]:
    return {
        "kernel_shape": _triple(module.kernel_size),
        "strides": _triple(module.stride),
        "dilations": _triple(module.dilation),
        "pads": _triple(module.padding) * 2,
        "auto_pad": "NOTSET",
    }


_WRITERS: Mapping[type[nn.Module], Callable[[GraphWriter, str, Any], str]] = {
    nn.Conv3d: GraphWriter.convolution,
    nn.ConvTranspose3d: GraphWriter.enlarging,
    nn.MaxPool3d: GraphWriter.pooling,
    nn.ReLU: GraphWriter.relu,
}


def _write_level(graph: GraphWriter, x: str, level: Level) -> str:
    """Append the blocks of a level; returns the name of what it gives."""
    for block, added in zip(level.blocks, level.adds, strict=True):
        given = graph.module(x, block)
        x = graph.add(x, given) if added else given
    return x


def write_body(graph: GraphWriter, x: str, body: UBody) -> str:
    """Append a whole network, in the order in which `UBody.forward` runs; returns the name of its logits."""
    x = _write_level(graph, graph.module(x, body.stem), _level(body.encoder, 0))
    skipped = []
    for number, down in enumerate(body.down, start=1):
        skipped.append(x)
        x = _write_level(graph, graph.module(x, down), _level(body.encoder, number))
    for number in reversed(range(len(body.decoder))):
        up, fine = graph.module(x, body.enlarge[number]), skipped[number]
        joined = graph.concatenate(fine, up) if body.concatenate else graph.add(fine, up)
        x = _write_level(graph, joined, _level(body.decoder, number))
    return graph.module(x, body.head)


def _level(levels: nn.ModuleList, number: int) -> Level:
    level = levels[number]
    assert isinstance(level, Level)
    return level


def _finished(model: onnx.ModelProto) -> bytes:
    """Add every tensor's shape, check the model and serialise it."""
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def module_onnx(module: nn.Module, input_shapes: Sequence[Sequence[int]]) -> bytes:
    """The ONNX of a network, or of one of its parts.

    Args:
        module: a `UBody`, a plain module, a sum or a concatenation; in eval mode, batch norm folded.
        input_shapes: of its inputs, batch included, e.g. `[(1, 1, 10, 96, 96)]`.
    """
    graph = GraphWriter()
    names = ["image"] if len(input_shapes) == 1 else [f"input{number}" for number in range(len(input_shapes))]
    if isinstance(module, UBody):
        result = write_body(graph, names[0], module)
    elif isinstance(module, Concatenate):
        result = graph.concatenate(*names)
    elif isinstance(module, Merge):
        result = graph.add(*names)
    else:
        result = graph.module(names[0], module)
    return _finished(graph.model(list(zip(names, input_shapes, strict=True)), result))
