"""TensorRT (10.12 and later, 11.x) and TensorRT-RTX: one code path, because all three take typed ONNX alone.

`flavour` finds the library, `build` makes plans, `audit` holds their layers against what was declared, `runner` runs
them, `inspection` looks inside, and `backend` ties them to the interface of all back ends.
"""

from cinert.backends.tensorrt.backend import TensorRtBackend, TensorRtRtxBackend

__all__ = ["TensorRtBackend", "TensorRtRtxBackend"]
