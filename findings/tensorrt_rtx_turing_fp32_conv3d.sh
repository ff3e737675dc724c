#!/usr/bin/env bash
# Guess:      a GPU generation for which TensorRT-RTX builds engines takes a plain fp32 convolution; fp16 is the
#             precision that may be missing.
# Happens:    for compute capability 7.5 (Turing) it is the other way round, and for 3D alone: the fp32 3D convolution
#             is refused, the fp16 one builds, and fp32 builds in 2D. From 8.0 on all four build.
# Matters to: whoever ships a 3D network to workstations with Turing cards (T4, Quadro RTX, RTX 20): a model that builds
#             in fp32 for every newer card must be fp16 there, and its fp32 parity check can not be run on that card.
#             The build needs no GPU, so that CI can tell.
# Versions:   tensorrt_rtx 1.7.1.116 (CUDA 13), numpy 2.4.6; Python 3.11, no GPU
# Date:       2026-11-30
# Seen:       SM75 2D fp32: builds
#             SM75 3D fp32: refused
#             SM75 3D fp16: builds
#             SM80 3D fp32: builds
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorrt_rtx==1.7.1.116 tensorrt_rtx_cu13==1.7.1.116 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import tensorrt_rtx as trt

print(", ".join(f"{name} {version(name)}" for name in ("tensorrt_rtx", "numpy")))
TYPES = {"fp32": (trt.float32, np.float32), "fp16": (trt.float16, np.float16)}
LOGGER = trt.Logger(trt.Logger.INTERNAL_ERROR)  # the refusal itself is logged as an error; None stands for it below


def builds(capability, axes, precision):
    """Whether an engine of one 3x3(x3) convolution is built for that compute capability."""
    builder = trt.Builder(LOGGER)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    trt_type, numpy_type = TYPES[precision]
    x = network.add_input("x", trt_type, (1, 1) + (16,) * axes)
    kernel, bias = np.ones((8, 1) + (3,) * axes, numpy_type), np.zeros(8, numpy_type)
    layer = network.add_convolution_nd(x, 8, (3,) * axes, trt.Weights(kernel), trt.Weights(bias))
    layer.padding_nd = (1,) * axes
    network.mark_output(layer.get_output(0))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(capability, 0)
    return builder.build_serialized_network(network, config) is not None


refused = []
for name in ("SM75", "SM80", "SM86"):
    for axes in (2, 3):
        for precision in TYPES:
            built = builds(getattr(trt.ComputeCapability, name), axes, precision)
            print(f"{name} {axes}D {precision}: {'builds' if built else 'refused'}")
            if not built:
                refused.append((name, axes, precision))
print("expected: where fp16 builds and 2D fp32 builds, 3D fp32 builds")
sys.exit(refused != [("SM75", 3, "fp32")])
PY
