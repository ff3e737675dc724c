#!/usr/bin/env bash
# Guess:      a NaN voxel that enters a convolutional network comes out as NaN, so that a check of the output finds it.
# Happens:    on OpenVINO's CPU, Relu and Clip turn NaN into a finite number (LeakyRelu and Sigmoid keep it). One NaN
#             voxel makes InstanceNormalization's whole output NaN, and the Relu behind it makes that a clean volume of
#             zeros. ONNX Runtime keeps every one of these NaNs, as numpy.maximum and torch.relu do.
# Matters to: whoever watches a network's output for NaN to catch a broken reconstruction or a bad input: with OpenVINO
#             the check must be on the input. Also whoever compares two runtimes on damaged frames.
# Versions:   openvino 2026.4.1, onnxruntime 1.31.1, onnx 1.23.2, numpy 2.4.6; Python 3.11, x86-64 with AVX-512
# Date:       2026-11-30
# Seen:       Relu: NaN voxels of 64: onnxruntime 1, openvino 0
#             InstanceNormalization, Relu: NaN voxels of 64: onnxruntime 64, openvino 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

print(", ".join(f"{name} {version(name)}" for name in ("openvino", "onnxruntime", "onnx", "numpy")))
SHAPE = (1, 1, 4, 4, 4)
CONSTANTS = {
    "scale": np.ones(1, np.float32),
    "bias": np.zeros(1, np.float32),
    "low": np.float32(0),
    "high": np.float32(6),
}
NETWORKS = {
    "Relu": [("Relu", ["x"], "y")],
    "Clip": [("Clip", ["x", "low", "high"], "y")],
    "LeakyRelu": [("LeakyRelu", ["x"], "y")],
    "Sigmoid": [("Sigmoid", ["x"], "y")],
    "InstanceNormalization": [("InstanceNormalization", ["x", "scale", "bias"], "y")],
    "InstanceNormalization, Relu": [("InstanceNormalization", ["x", "scale", "bias"], "n"), ("Relu", ["n"], "y")],
}


def serialized(steps):
    nodes = [helper.make_node(kind, inputs, [output]) for kind, inputs, output in steps]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


x_NCDHW = np.linspace(0, 1, 64, dtype=np.float32).reshape(SHAPE)
x_NCDHW[0, 0, 1, 1, 1] = np.nan
counts = {}
for name, steps in NETWORKS.items():
    data = serialized(steps)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = (session.run(None, {"x": x_NCDHW})[0], compiled({"x": x_NCDHW})[0])
    counts[name] = tuple(int(np.isnan(result).sum()) for result in results)
    print(f"{name}: NaN voxels of 64: onnxruntime {counts[name][0]}, openvino {counts[name][1]}")
print("expected: as many NaN voxels on both")
seen = [(1, 0), (1, 0), (1, 1), (1, 1), (64, 64), (64, 0)]
sys.exit(list(counts.values()) != seen)
PY
