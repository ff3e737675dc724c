"""Build, run and verify random architectures of every preset on every back end of this machine.

    python benchmarks/backend_status.py [--nets 2] [--device auto]

Writes benchmarks/results/DATE-backends-KIND.json; `python benchmarks/readme_status.py` puts it into the README.
Latencies are medians within this one run; ratios between back ends mean more than the figures.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cinert.backends import BACKENDS, get_backend
from cinert.device_lock import hold_device
from cinert.environment import default_threads, fingerprint
from cinert.errors import CineRTError
from cinert.network import Network, random_weights
from cinert.onnx import network_input_shape, network_model
from cinert.sampling import random_arch
from cinert.space import PRESETS, load_space

RESULTS = Path(__file__).parent / "results"
TOLERANCE = 1e-3
REPEATS = 7


def try_network(name: str, preset: str, seed: int, device: str) -> dict[str, Any]:
    """Build, run and verify one network; says how far it came."""
    record: dict[str, Any] = {"preset": preset, "seed": seed, "built": False, "run": False, "verified": False}
    arch = random_arch(load_space(preset), seed)
    image = np.random.default_rng(seed).standard_normal(network_input_shape(arch), dtype=np.float32)
    with torch.no_grad():
        expected = random_weights(Network(arch), 0)(torch.from_numpy(image)).numpy()
    backend = get_backend(name)
    backend.require(device)
    threads = default_threads()
    engine = backend.compile(network_model(arch), device=device, threads=threads)
    record["built"] = True
    with backend.load(engine, device=device, threads=threads) as runner:
        logits = runner.run(image)
        record["run"] = True
        record["relative_logits"] = float(np.abs(logits - expected).max() / np.abs(expected).max())
        record["verified"] = record["relative_logits"] <= TOLERANCE
        record["device_ms"] = statistics.median(runner.device_ms() for _ in range(REPEATS))
    return record


def status_of(name: str, nets: int, device: str) -> dict[str, Any]:
    """All networks of one back end, or why it is not available."""
    try:
        backend = get_backend(name)
        backend.require(device)
    except CineRTError as error:
        return {"available": False, "reason": error.message, "networks": []}
    networks = [try_network(name, preset, seed, device) for preset in PRESETS for seed in range(nets)]
    print_ = fingerprint(backend, device=device, threads=default_threads(), precision="fp32")
    return {"available": True, "fingerprint": print_, "networks": networks}


def main() -> None:
    """Run all back ends and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=int, default=2, help="random networks per preset")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N")
    options = parser.parse_args()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    kind = "gpu" if options.device.startswith("cuda") else "cpu"
    device = options.device if options.device.startswith("cuda:") else {"cpu": "cpu", "gpu": "cuda:0"}[kind]
    with hold_device(device, "measure", "backend_status.py"):
        backends = {name: status_of(name, options.nets, options.device) for name in BACKENDS}
    result = {
        "date": date,
        "command": f"python benchmarks/backend_status.py --nets {options.nets} --device {options.device}",
        "backends": backends,
    }
    path = RESULTS / f"{date}-backends-{kind}.json"
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    for name, status in backends.items():
        counts = {step: sum(net[step] for net in status["networks"]) for step in ("built", "run", "verified")}
        print(f"{name:9s} {counts if status['available'] else status['reason']}")
    print(f"Wrote {path}.")


if __name__ == "__main__":
    main()
