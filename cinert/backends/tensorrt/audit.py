"""Which layer runs in which precision, held against what was declared: fp32 by accident is an error, not a warning."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from cinert.backends.base import Precision
from cinert.backends.tensorrt.build import Layer
from cinert.errors import VerdictError

# Layers that hold or change types by their nature.
_NO_ARITHMETIC = {"CAST", "CONSTANT", "SHAPE", "QUANTIZE", "DEQUANTIZE"}
_HALF = {"fp16": "HALF", "bf16": "BF16"}


def count_elements(layers: Iterable[Layer], precision: Precision, declared: Collection[str]) -> dict[str, int]:
    """Count the layers that compute, by element type, e.g. `{"HALF": 71, "FLOAT": 2}`.

    In int8 a convolution gives fp32 to the QuantizeLinear that it is fused with, so that its own type is no guide:
    there everything counts as INT8 that was not declared to stay in fp32.
    """
    computing = [layer for layer in layers if layer.kind not in _NO_ARITHMETIC]
    if precision == "int8":
        return dict(Counter("FLOAT" if layer.node in declared else "INT8" for layer in computing))
    return dict(Counter(layer.element for layer in computing))


def audit_network(layers: Iterable[Layer], precision: Precision, declared: Collection[str]) -> None:
    """Check the layers of a strongly typed network: their types bind the builder.

    Args:
        layers: of the network that the plan is built from.
        precision: fp16 and bf16 are checked; in the others fp32 is nothing to be sought for.
        declared: ONNX nodes that may stay in fp32.

    Raises:
        VerdictError: a layer in fp32 that was not declared.
    """
    if precision not in _HALF:
        return
    undeclared = [
        layer
        for layer in layers
        if layer.element == "FLOAT"
        and layer.kind not in _NO_ARITHMETIC
        and layer.node not in declared
        and not _reshapes_constants(layer)
    ]
    if undeclared:
        raise _undeclared(undeclared[0].name, undeclared[0].node, len(undeclared), precision)


def _reshapes_constants(layer: Layer) -> bool:
    """Whether the parser put it there to bring a norm's scale and shift to the rank of what they scale."""
    return layer.kind in {"SHUFFLE", "UNSQUEEZE"} and not layer.node


def audit_plan(information: str, precision: Precision, declared: Collection[str]) -> None:
    """Check the layers of a built plan, as the engine inspector shows them.

    Args:
        information: the inspector's JSON; without detail (a plan of another build) there is nothing to check.
        precision: as `audit_network`.
        declared: as `audit_network`.

    Raises:
        VerdictError: a layer that gives fp32 to another layer, and was not declared; or layers without detail.
    """
    if precision not in _HALF:
        return
    layers = json.loads(information)["Layers"]
    if any(isinstance(layer, str) for layer in layers):
        raise VerdictError("the plan cannot be audited: it was built without detailed layer information.")
    # What a layer gives to nobody is an output of the engine, which is float32 by contract.
    read = {tensor["Name"] for layer in layers for tensor in layer.get("Inputs", [])}
    undeclared = [layer for layer in layers if _gives_fp32(layer, read) and not _nodes(layer) & set(declared)]
    # A layer without an ONNX node is TensorRT's own, e.g. the change of layout of an input.
    undeclared = [layer for layer in undeclared if _nodes(layer)]
    if undeclared:
        name = str(undeclared[0].get("Name", "?"))
        raise _undeclared(name, ", ".join(sorted(_nodes(undeclared[0]))), len(undeclared), precision)


def _gives_fp32(layer: dict[str, Any], read: set[str]) -> bool:
    formats = [str(tensor.get("Format/Datatype", "")) for tensor in layer.get("Outputs", []) if tensor["Name"] in read]
    return any("FP32" in text or "Float" in text for text in formats)


def _nodes(layer: dict[str, Any]) -> set[str]:
    parts = str(layer.get("Metadata", "")).split("[ONNX Layer: ")[1:]
    return {part.split("]")[0] for part in parts}


def _undeclared(layer: str, node: str, count: int, precision: Precision) -> VerdictError:
    return VerdictError(
        f"layer {layer} (ONNX node {node or 'unknown'}) runs in fp32 in an engine of {precision} and was not declared"
        f" ({count} such layers).",
        hint="report the architecture; --precision fp32 is the way until then.",
    )
