"""The same network, run by us and by others: what our runner costs over the bare engine, and what TensorRT gains.

    python benchmarks/gpu/peers.py --space paper -o peers.json [--device cuda:0] [--seeds 0 1 2]

Host to host, rows interleaved in random order over several passes. What is not installed is named with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from cinert.backends import get_backend
from cinert.backends.base import Array, Model, Precision, Runner
from cinert.backends.pytorch import TorchBackend
from cinert.backends.tensorrt import TensorRtBackend, TensorRtRtxBackend
from cinert.backends.tensorrt.runner import TensorRtRunner
from cinert.device_memory.driver import gpu_facts
from cinert.environment import default_threads
from cinert.errors import CineRTError
from cinert.files import write_json
from cinert.onnx import network_model
from cinert.quiet import BUSY, MachineWatch
from cinert.sampling import random_arch
from cinert.spaces import load_space
from cinert.timing import Clock, Protocol, anchor_floor, measure_interleaved, summarise

_TENSORRT = {"trt": TensorRtBackend, "trt-rtx": TensorRtRtxBackend}
Peer = Callable[[Model, str, contextlib.ExitStack], Clock]


def ours(name: str, precision: Precision = "fp32", **options: Any) -> Peer:
    """One of our back ends, through its runner, from host memory to host memory."""

    def make(model: Model, device: str, stack: contextlib.ExitStack) -> Clock:
        backend = {"torch": TorchBackend, **_TENSORRT}.get(name, lambda: get_backend(name))(**options)
        runner = backend.runner(model, precision=precision, device=device, threads=default_threads())
        return _host_clock(stack.enter_context(runner))

    return make


def bare_engine(name: str) -> Peer:
    """TensorRT's execution alone, by device events: what our runner adds is the difference."""

    def make(model: Model, device: str, stack: contextlib.ExitStack) -> Clock:
        runner = _TENSORRT[name]().runner(model, precision="fp16", device=device, threads=default_threads())
        assert isinstance(runner, TensorRtRunner)
        return stack.enter_context(runner).device_ms

    return make


def torch_compile(model: Model, device: str, stack: contextlib.ExitStack) -> Clock:
    """PyTorch's own compiler, with CUDA graphs."""
    del stack
    if device == "cpu" or model.make_module is None:
        raise CineRTError("torch.compile is compared on GPUs")
    module = torch.compile(model.make_module().eval().to(device), mode="reduce-overhead")
    image = np.zeros(model.input_shapes[0], np.float32)

    def run() -> float:
        start = time.perf_counter_ns()
        with torch.inference_mode():
            module(torch.from_numpy(image).to(device)).cpu()
        return (time.perf_counter_ns() - start) / 1e6

    return run


def onnxruntime_cuda(model: Model, device: str, stack: contextlib.ExitStack) -> Clock:
    """ONNX Runtime's CUDA provider."""
    del device, stack
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise CineRTError("this ONNX Runtime has no CUDA provider (onnxruntime-gpu has)")
    session = onnxruntime.InferenceSession(model.onnx, providers=["CUDAExecutionProvider"])
    return _call_clock(model, lambda image: session.run(None, {"image": image}))


def polygraphy(model: Model, device: str, stack: contextlib.ExitStack) -> Clock:
    """TensorRT through NVIDIA's own runner."""
    del device
    try:
        from polygraphy.backend.trt import EngineFromNetwork, NetworkFromOnnxBytes, TrtRunner  # noqa: PLC0415 - an optional peer
    except ImportError as error:
        raise CineRTError("polygraphy is not installed") from error
    network = NetworkFromOnnxBytes(model.onnx, strongly_typed=True)
    runner = stack.enter_context(TrtRunner(EngineFromNetwork(network)))
    return _call_clock(model, lambda image: runner.infer({"image": image}))


PEERS: dict[str, Peer] = {
    "PyTorch, eager": ours("torch", cuda_graph=False),
    "PyTorch, CUDA graph": ours("torch", cuda_graph=True),
    "torch.compile": torch_compile,
    "ONNX Runtime, CPU": ours("ort"),
    "ONNX Runtime, CUDA": onnxruntime_cuda,
    "OpenVINO": ours("openvino"),
    "TensorRT by Polygraphy, fp32": polygraphy,
    "TensorRT, fp32": ours("trt"),
    "TensorRT, fp16": ours("trt", "fp16"),
    "TensorRT, fp16, without CUDA graph": ours("trt", "fp16", cuda_graph=False),
    "TensorRT, fp16, bare engine": bare_engine("trt"),
    "TensorRT-RTX, fp32": ours("trt-rtx"),
    "TensorRT-RTX, fp16": ours("trt-rtx", "fp16"),
    "TensorRT-RTX, fp16, bare engine": bare_engine("trt-rtx"),
}


def _host_clock(runner: Runner) -> Clock:
    return _call_clock_of(runner.input_shapes[0], runner.run)


def _call_clock(model: Model, call: Callable[[Array], object]) -> Clock:
    return _call_clock_of(model.input_shapes[0], call)


def _call_clock_of(shape: tuple[int, ...], call: Callable[[Array], object]) -> Clock:
    image = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)

    def run() -> float:
        start = time.perf_counter_ns()
        call(image)
        return (time.perf_counter_ns() - start) / 1e6

    return run


def watch(device: str) -> MachineWatch:
    """What tells whether the machine, and on a GPU the GPU, is left alone."""
    gpu = None if device == "cpu" else gpu_facts(int(device.split(":")[1])).uuid
    return MachineWatch(threads=default_threads(), gpu=gpu)


def measure(model: Model, device: str, protocol: Protocol) -> Iterator[tuple[str, dict[str, Any]]]:
    """Time every peer on one network; yields (name, figures or the reason why not)."""
    with contextlib.ExitStack() as stack:
        clocks: dict[str, Clock] = {}
        for name, peer in PEERS.items():
            where = "cpu" if name in {"OpenVINO", "ONNX Runtime, CPU"} else device
            try:
                clock = peer(model, where, stack)
                # Some compile when they are first run.
                clock()
            # Others' libraries fail in any way; the peers that work are still to be compared.
            except Exception as error:
                yield name, {"reason": str(error).strip().splitlines()[0] if str(error).strip() else repr(error)}
            else:
                clocks[name] = clock
        timed = measure_interleaved(clocks, protocol, seed=0, watch=watch(device))
        for name, visits in timed.items():
            yield name, summarise(visits, protocol, anchor_floor(timed)).to_dict()


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="paper")
    parser.add_argument("--device", default="cuda:0", help="cpu or cuda:N")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="random networks")
    parser.add_argument("--passes", type=int, default=12, help="visits to every row")
    parser.add_argument("--allow-busy", action="store_true", help="measure although others use the machine")
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()
    protocol = Protocol(min_passes=words.passes, max_passes=words.passes, tolerant=words.allow_busy)
    rows = []
    for seed in words.seeds:
        arch = random_arch(load_space(words.space), seed)
        found = dict(measure(network_model(arch), words.device, protocol))
        rows.append({"seed": seed, "architecture": arch.digest, "peers": found})
        for name, figures in found.items():
            told = f"{figures['p50_ms']:9.3f} ms" if "p50_ms" in figures else f"not run: {figures['reason']}"
            print(f"{seed}  {name:36s} {told}{f' {BUSY}' if words.allow_busy else ''}")
    told = {"space": words.space, "device": words.device, "busy": words.allow_busy, "networks": rows}
    write_json(words.output, told)


if __name__ == "__main__":
    main()
