"""Rewrite an fp32 ONNX graph for fp16 or bf16, and name every node that stays in fp32.

ONNX Runtime's converter knows fp16 alone and keeps every Resize in fp32, and NVIDIA's AutoCast needs the whole Model
Optimizer: our graphs are a dozen ops, so the rewriting is here. Ops are taken by an allow-list: what is not known to be
safe in half precision stays in fp32, and is listed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cinert.typed.graph import KeptNode, TypedOnnx

Half = Literal["fp16", "bf16"]
ELEMENT: dict[Half, int] = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
_LARGEST: dict[Half, float] = {"fp16": 65504.0, "bf16": 3.3895e38}
# The first opset whose Conv and MaxPool take bfloat16.
_BF16_OPSET = 22

SAFE_OPS = frozenset(
    # Accumulated in fp32 inside the kernel.
    {"Conv", "ConvTranspose", "Gemm", "MatMul"}
    # Values no larger than their inputs, or sums and products of two.
    | {"Relu", "LeakyRelu", "Clip", "MaxPool", "Add", "Sub", "Mul", "Max", "Min", "Resize"}
    # Data movement.
    | {"Concat", "Identity", "Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Expand", "Split", "Pad"}
    | {"Flatten", "Gather", "Constant", "ConstantOfShape", "DepthToSpace", "SpaceToDepth"}
)
"""Ops that run in half precision. Norms, reductions, softmax, sigmoid and division are not among them."""

# Inputs that are float32 by the ONNX standard, whatever the others are.
_FLOAT_INPUTS = {"Resize": (1, 2)}


def to_half(data: bytes, precision: Half, *, also_safe: frozenset[str] = frozenset()) -> TypedOnnx:
    """Rewrite a graph for `precision`.

    Args:
        data: fp32 ONNX with static shapes; inputs and outputs keep their type.
        precision: fp16 or bf16.
        also_safe: ops that run in half precision beside `SAFE_OPS`.

    Raises:
        onnx.checker.ValidationError: the result is not valid ONNX.
    """
    model = onnx.load_from_string(data)
    if precision == "bf16" and model.opset_import[0].version < _BF16_OPSET:
        model = onnx.version_converter.convert_version(model, _BF16_OPSET)
    rewriting = _Rewriting(model, precision, SAFE_OPS | also_safe)
    rewriting.run()
    onnx.checker.check_model(model, full_check=True)
    return TypedOnnx(model.SerializeToString(deterministic=True), tuple(rewriting.kept))


class _Rewriting:
    """The state of one pass over a graph, node by node in topological order."""

    def __init__(self, model: ModelProto, precision: Half, safe: frozenset[str]) -> None:
        self.graph = model.graph
        self._safe = safe
        self.precision = precision
        self.kept: list[KeptNode] = []
        self._half = ELEMENT[precision]
        self._weights = {tensor.name: tensor for tensor in self.graph.initializer}
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        values = [*inferred.value_info, *inferred.input, *inferred.output]
        self._floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
        self._floats |= {name for name, tensor in self._weights.items() if tensor.data_type == TensorProto.FLOAT}
        # Element type that each float tensor has in the new graph.
        self._type: dict[str, int] = dict.fromkeys(self._floats, TensorProto.FLOAT)
        self._made: dict[tuple[str, int], str] = {}
        self._nodes: list[NodeProto] = []

    def run(self) -> None:
        """Rewrite the graph in place."""
        outputs = {value.name for value in self.graph.output}
        for node in self.graph.node:
            self._rewrite(node)
            for position, name in enumerate(node.output):
                if name in outputs and self._type.get(name) == self._half:
                    self._restore_output(node, position)
        del self.graph.node[:], self.graph.value_info[:]
        self.graph.node.extend(self._nodes)
        self._drop_unused_weights()

    def _rewrite(self, node: NodeProto) -> None:
        is_float = any(name in self._floats for name in node.output)
        reason = self._reason_for_fp32(node) if is_float else None
        if reason is not None:
            self.kept.append(KeptNode(node.name, node.op_type, reason))
        target: int = self._half if is_float and reason is None else TensorProto.FLOAT
        fixed = _FLOAT_INPUTS.get(node.op_type, ())
        for position, name in enumerate(node.input):
            if name in self._floats:
                node.input[position] = self._as(name, TensorProto.FLOAT if position in fixed else target)
        if target == self._half:
            self._retype_attributes(node)
        for name in node.output:
            if name in self._floats:
                self._type[name] = target
        self._nodes.append(node)

    def _reason_for_fp32(self, node: NodeProto) -> str | None:
        if node.op_type not in self._safe:
            return f"{node.op_type} is not on the list of ops that are safe in half precision"
        largest = _LARGEST[self.precision]
        for name in node.input:
            tensor = self._weights.get(name)
            if tensor is not None and tensor.data_type == TensorProto.FLOAT:
                peak = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0.0))
                if not peak <= largest:
                    return f"{name} reaches {peak:.3g}, beyond the {largest:g} of {self.precision}"
        return None

    def _as(self, name: str, element: int) -> str:
        """Name of the tensor in the wanted type; a weight is converted, anything else goes through a Cast."""
        if self._type[name] == element:
            return name
        if (name, element) not in self._made:
            made = f"{name}_{TensorProto.DataType.Name(element).lower()}"
            if name in self._weights:
                self.graph.initializer.append(_converted(self._weights[name], element, made))
            else:
                self._nodes.append(helper.make_node("Cast", [name], [made], name=f"cast_{made}", to=element))
            self._made[name, element] = made
        return self._made[name, element]

    def _retype_attributes(self, node: NodeProto) -> None:
        values = [attribute for attribute in node.attribute if attribute.name == "value"]
        for attribute in values:
            if attribute.t.data_type == TensorProto.FLOAT:
                attribute.t.CopyFrom(_converted(attribute.t, self._half, attribute.t.name))
        if node.op_type == "ConstantOfShape" and not values:
            # Without a value the standard means a zero in float32.
            zero = numpy_helper.from_array(np.zeros(1, np.float32))
            node.attribute.append(helper.make_attribute("value", _converted(zero, self._half, "")))

    def _restore_output(self, node: NodeProto, position: int) -> None:
        """Give a graph output back its type: the node writes a tensor of another name, and a Cast the output."""
        name = node.output[position]
        inner = f"{name}_{self.precision}"
        node.output[position] = inner
        self._type[inner] = self._half
        self._floats.add(inner)
        self._made[name, self._half] = inner
        self._type[name] = TensorProto.FLOAT
        self._nodes.append(helper.make_node("Cast", [inner], [name], name=f"cast_{name}", to=TensorProto.FLOAT))

    def _drop_unused_weights(self) -> None:
        used = {name for node in self.graph.node for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)


def _converted(tensor: TensorProto, element: int, name: str) -> TensorProto:
    values = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(element))
    return numpy_helper.from_array(values, name)
