"""Typed ONNX: TensorRT takes the precision of every layer from the graph, so the graph has to say it."""

from __future__ import annotations

from cinert.backends.base import Model, Precision
from cinert.typed.graph import KeptNode, TypedOnnx
from cinert.typed.half import to_half
from cinert.typed.quantised import to_int8


def typed_onnx(model: Model, precision: Precision) -> TypedOnnx:
    """Give a model's ONNX the element types of a precision; inputs and outputs stay float32.

    Args:
        model: its ONNX in fp32.
        precision: fp32 and tf32 leave the graph as it is (TF32 is a flag of the builder), fp16 and bf16 retype it, int8
            adds explicit quantisation with ranges from `model.calibration`.

    Raises:
        BadInputError: int8 without calibration.
    """
    if precision in {"fp16", "bf16"}:
        return to_half(model.onnx, precision, also_safe=model.half_safe)
    if precision == "int8":
        return to_int8(model)
    return TypedOnnx(model.onnx, ())


__all__ = ["KeptNode", "TypedOnnx", "typed_onnx"]
