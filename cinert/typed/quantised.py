"""Explicit int8 quantisation: QuantizeLinear and DequantizeLinear around every convolution, ranges from real frames.

By ONNX Runtime's static quantiser. NVIDIA's Model Optimizer writes the same pairs, but brings a large tool set of its
own, and calibrates by ONNX Runtime too; ONNX Runtime is here already. TensorRT asks for symmetric ranges, weights per
channel, and biases that are left alone.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from cinert.backends.base import Array, Model
from cinert.errors import BadInputError
from cinert.typed.graph import KeptNode, TypedOnnx

QUANTISED_OPS = ("Conv", "ConvTranspose")
_NO_ARITHMETIC = {"QuantizeLinear", "DequantizeLinear", "Constant", "ConstantOfShape"}
_OPTIONS = {"ActivationSymmetric": True, "WeightSymmetric": True, "AddQDQPairToWeight": True, "QuantizeBias": False}


class _Reader(CalibrationDataReader):
    def __init__(self, name: str, inputs: tuple[Array, ...]) -> None:
        self._batches = iter({name: x_BCDHW} for x_BCDHW in inputs)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)


def to_int8(model: Model) -> TypedOnnx:
    """Quantise the convolutions; everything else stays in fp32. A graph without one stays as it is.

    Raises:
        BadInputError: no calibration inputs, or they do not fit the model.
    """
    graph = onnx.load_from_string(model.onnx)
    if not any(node.op_type in QUANTISED_OPS for node in graph.graph.node):
        return TypedOnnx(model.onnx, _kept(graph))
    if not model.calibration:
        raise BadInputError(
            f"int8 needs real frames to calibrate {model.name}, and there are none.", hint="give --calibration DIR."
        )
    if len(model.input_shapes) != 1:
        raise BadInputError(f"int8 is for models with one input, {model.name} has {len(model.input_shapes)}.")
    for x_BCDHW in model.calibration:
        if tuple(x_BCDHW.shape) != tuple(model.input_shapes[0]):
            raise BadInputError(f"{model.name} takes {model.input_shapes[0]}, a calibration input is {x_BCDHW.shape}.")
    with tempfile.TemporaryDirectory() as folder, _QuietRoot():
        target = Path(folder) / "int8.onnx"
        quantize_static(
            graph,
            str(target),
            _Reader(graph.graph.input[0].name, model.calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED_OPS),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=_OPTIONS,
        )
        quantised = onnx.load(target)
    del quantised.metadata_props[:]
    onnx.checker.check_model(quantised, full_check=True)
    return TypedOnnx(quantised.SerializeToString(deterministic=True), _kept(quantised))


def _kept(model: onnx.ModelProto) -> tuple[KeptNode, ...]:
    """Nodes that compute in fp32: not fed by a DequantizeLinear."""
    dequantised = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return tuple(
        KeptNode(node.name, node.op_type, f"{node.op_type} is not quantised")
        for node in model.graph.node
        if node.op_type not in _NO_ARITHMETIC
        and not (node.op_type in QUANTISED_OPS and set(node.input[:2]) <= dequantised)
    )


class _QuietRoot:
    """ONNX Runtime's quantiser warns through the root logger that the model was not pre-processed; ours is slimmed."""

    def __enter__(self) -> None:
        self._level = logging.root.level
        logging.root.setLevel(logging.ERROR)

    def __exit__(self, *_: Any) -> None:
        logging.root.setLevel(self._level)
