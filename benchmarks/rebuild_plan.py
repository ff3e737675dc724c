"""Build every TensorRT-RTX plan of a bundle again, from the ONNX beside it, and compare byte by byte.

    pip install tensorrt-rtx==VERSION     # as in the bundle's manifest.json; no GPU, no driver, and nothing of CineRT
    python benchmarks/rebuild_plan.py BUNDLE

It shows that the plans hold what the ONNX says, and nothing else. Exit code 0: all are the same; 1: one differs; 2: the
bundle was built by another library or version, and nothing can be compared.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import tensorrt_rtx as trt

ONNX = {"network": "model.onnx", "localiser": "localiser.onnx"}


def build(onnx: Path, capability: str, *, tf32: bool, options: dict[str, Any]) -> bytes:
    """Build the plan of an ONNX file for a compute capability, e.g. `86`."""
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if not trt.OnnxParser(network, log).parse_from_file(str(onnx)):
        return b""
    config = builder.create_builder_config()
    # The one precision that does not stand in the ONNX.
    (config.set_flag if tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = options["optimisation_level"]
    if options["workspace_mib"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options["workspace_mib"] << 20)
    if options["aux_streams"] is not None:
        config.max_aux_streams = options["aux_streams"]
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability}"), 0)
    return bytes(builder.build_serialized_network(network, config) or b"")


def main() -> int:
    """Compare all plans of a bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    folder = parser.parse_args().bundle
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    made_by = manifest["build"].get("network", {"library": manifest["backend"], "version": ""})
    if (made_by["library"], made_by["version"]) != ("TensorRT-RTX", trt.__version__):
        words = f"{made_by['library']} {made_by['version']}".strip()
        print(f"{folder} was built by {words}, here is TensorRT-RTX {trt.__version__}: nothing can be compared.")
        return 2
    differing = 0
    for part, record in manifest["build"].items():
        for name in manifest["engine" if part == "network" else part]:
            capability = re.search(r"-sm(\d+)\.plan$", name)[1]
            tf32 = manifest["precision"] == "tf32"
            rebuilt = build(folder / ONNX[part], capability, tf32=tf32, options=record["options"])
            same = rebuilt == (folder / name).read_bytes()
            print(f"{name}: {'the same, byte by byte' if same else 'ANOTHER PLAN'}")
            differing += not same
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
