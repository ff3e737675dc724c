"""Build, run and verify random architectures of every preset on every back end of this machine.

    python benchmarks/backend_status.py [--nets 2] [--device auto] [--backends trt-rtx]

Writes benchmarks/results/DATE-backends-KIND.json; `python benchmarks/readme_status.py` puts it into the README.
TensorRT-RTX builds where it cannot run: then its engines are built, for the GPUs in BUILT_FOR, and counted as built.
Latencies are medians within this one run; ratios between back ends mean more than the figures.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cinert.backends import BACKENDS, get_backend
from cinert.backends.base import Backend
from cinert.backends.tensorrt import TensorRtRtxBackend
from cinert.device_lock import hold_device
from cinert.environment import default_threads, fingerprint
from cinert.errors import CineRTError
from cinert.files import read_json, write_json
from cinert.network import Network, random_weights
from cinert.onnx import network_input_shape, network_model
from cinert.sampling import random_arch
from cinert.space import PRESETS
from cinert.spaces import load_space

RESULTS = Path(__file__).parent / "results"
TOLERANCE = 1e-3
BUILT_FOR = ("8.6", "8.9", "12.0")
REPEATS = 7


def try_network(backend: Backend, preset: str, seed: int, device: str) -> dict[str, Any]:
    """Build, run and verify one network; says how far it came."""
    record: dict[str, Any] = {"preset": preset, "seed": seed, "built": False, "run": False, "verified": False}
    arch = random_arch(load_space(preset), seed)
    threads = default_threads()
    try:
        engine = backend.compile(network_model(arch), device=device, threads=threads)
    except CineRTError as error:
        return {**record, "reason": error.message}
    record["built"] = True
    if not backend.available(device).ok:
        return record
    image = np.random.default_rng(seed).standard_normal(network_input_shape(arch), dtype=np.float32)
    with torch.no_grad():
        expected = random_weights(Network(arch), 0)(torch.from_numpy(image)).numpy()
    with backend.load(engine, device=device, threads=threads) as runner:
        logits = runner.run(image)
        record["run"] = True
        record["relative_logits"] = float(np.abs(logits - expected).max() / np.abs(expected).max())
        record["verified"] = record["relative_logits"] <= TOLERANCE
        record["device_ms"] = statistics.median(runner.device_ms() for _ in range(REPEATS))
    return record


def status_of(name: str, nets: int, device: str) -> dict[str, Any]:
    """All networks of one back end; where it does not run here, or does not even build, why."""
    try:
        backend = get_backend(name)
    except CineRTError as error:
        return {"available": False, "reason": error.message, "networks": []}
    runs = backend.available(device)
    status: dict[str, Any] = {"available": runs.ok, "reason": None if runs.ok else runs.reason, "networks": []}
    if not runs.ok:
        if not backend.buildable(device).ok:
            return status
        assert isinstance(backend, TensorRtRtxBackend)
        backend.capabilities = BUILT_FOR
        status["built_for"] = BUILT_FOR
    status["networks"] = [try_network(backend, preset, seed, device) for preset in PRESETS for seed in range(nets)]
    status["fingerprint"] = fingerprint(backend, device=device, threads=default_threads(), precision="fp32")
    return status


def main() -> None:
    """Run all back ends and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=int, default=2, help="random networks per preset")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N")
    parser.add_argument(
        "--backends", nargs="+", choices=BACKENDS, default=BACKENDS, help="of the others, the day's file keeps its word"
    )
    options = parser.parse_args()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    kind = "gpu" if options.device.startswith("cuda") else "cpu"
    device = options.device if options.device.startswith("cuda:") else {"cpu": "cpu", "gpu": "cuda:0"}[kind]
    command = f"python benchmarks/backend_status.py --nets {options.nets} --device {options.device}"
    path = RESULTS / f"{date}-backends-{kind}.json"
    backends = read_json(path, "the status")["backends"] if path.is_file() else {}
    with hold_device(device, "measure", "backend_status.py"):
        backends |= {name: status_of(name, options.nets, options.device) for name in options.backends}
    write_json(path, {"date": date, "command": command, "backends": backends})
    for name in options.backends:
        status = backends[name]
        counts = {step: sum(net[step] for net in status["networks"]) for step in ("built", "run", "verified")}
        print(f"{name:9s} {counts} {status['reason'] or ''}")
    print(f"Wrote {path}.")


if __name__ == "__main__":
    main()
