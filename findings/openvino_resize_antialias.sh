#!/usr/bin/env bash
# Guess:      a runtime that reads ONNX either filters a Resize that has antialias=1 or refuses it.
# Happens:    OpenVINO drops the attribute without a word when it reads the model: linear Resize to half the size gives
#             the unfiltered result, while ONNX Runtime and the reference evaluator of onnx give the filtered one.
# Matters to: whoever puts the downsampling of a volume into the network's graph (torch's interpolate(antialias=True)
#             exports so): the network sees aliased voxels on one runtime alone, with no error and no warning.
# Versions:   openvino 2026.4.1, onnxruntime 1.31.1, onnx 1.23.2, numpy 2.4.6; Python 3.11
# Date:       2026-11-30
# Seen:       antialias=1 onnxruntime    [0.0, 1.0, 3.0, 0.0, 0.0, 0.0]
#             antialias=1 openvino       [0.0, 0.0, 4.0, 0.0, 0.0, 0.0]
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
from onnx.reference import ReferenceEvaluator

print(", ".join(f"{name} {version(name)}" for name in ("openvino", "onnxruntime", "onnx", "numpy")))


def halving(antialias):
    """A model of one linear Resize of the last axis of (N, C, H, W) to half its size."""
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear", antialias=antialias)
    graph = helper.make_graph(
        [node],
        "halving",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, 1, 12))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 1, 1, 6))],
        [numpy_helper.from_array(np.array([1, 1, 1, 0.5], np.float32), "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


# A bright line of one voxel: filtered, its neighbours get a share of it; unfiltered, they get none.
x_NCHW = np.zeros((1, 1, 1, 12), np.float32)
x_NCHW[..., 4] = 8
y = {}
for antialias in (0, 1):
    model = halving(antialias)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    y[antialias] = {
        "onnx reference": ReferenceEvaluator(model).run(None, {"x": x_NCHW})[0],
        "onnxruntime": session.run(None, {"x": x_NCHW})[0],
        "openvino": compiled({"x": x_NCHW})[0],
    }
    for name, value in y[antialias].items():
        print(f"antialias={antialias} {name:14}", value.ravel().round(3).tolist())
print("expected: the three agree for antialias=1 as they do for antialias=0, or OpenVINO refuses the model")
plain, filtered = y[0], y[1]
as_seen = (
    all(np.allclose(value, plain["onnxruntime"]) for value in plain.values())
    and np.allclose(filtered["onnxruntime"], filtered["onnx reference"], atol=1e-5)
    and not np.allclose(filtered["onnxruntime"], plain["onnxruntime"], atol=0.1)
    and np.allclose(filtered["openvino"], plain["openvino"])
)
sys.exit(not as_seen)
PY
