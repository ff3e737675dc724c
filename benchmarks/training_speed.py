"""What a step of training takes on a CPU with a network's own layers and with those of `search.training_layers`.

    python benchmarks/training_speed.py [--space small] [--networks 6] [--threads 1] [-o FILE.json]

Random networks of a space, and the U-Net 3D (D3, 16), which has little to replace. A step is forward, Dice with
cross-entropy, and backward on a batch of 4. Both ways take turns in one process; a ratio is that of two times of the
same round. Writes benchmarks/results/DATE-training-speed.json.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from rich.progress import track
from search_speed import RESULTS, interval
from torch import nn

from cinert.baselines.kinds import design
from cinert.environment import cpu_name, library_version
from cinert.files import check_output_file, write_json
from cinert.network import build_network
from cinert.sampling import random_arch
from cinert.space import CLASSES, Space
from cinert.spaces import load_space
from search.training_layers import use_training_layers

BATCH = 4


def networks(space: Space, count: int) -> dict[str, nn.Module]:
    """Networks to train, as `Training` lays them out."""
    archs = {f"random {seed}": random_arch(space, seed, paths=2) for seed in range(count)}
    built = {name: build_network(arch).channels_last().train() for name, arch in archs.items()}
    return {**built, "unet3d (D3, 16)": build_network(design("unet3d", space, (16, 32, 64))).channels_last().train()}


def step_s(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, loss: nn.Module) -> float:
    """Time of a step."""
    network.zero_grad()
    start = time.perf_counter()
    loss(network(images), labels).backward()
    return time.perf_counter() - start


def measure(network: nn.Module, space: Space, rounds: int) -> dict[str, Any]:
    """Time both ways, after a round that does not count."""
    torch.manual_seed(0)
    shape = (BATCH, 1, *space.input_shape_DHW)
    images = torch.randn(shape).contiguous(memory_format=torch.channels_last_3d)
    labels = torch.randint(len(CLASSES), shape)
    loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)
    fast = copy.deepcopy(network)
    use_training_layers(fast)
    times = np.array([[step_s(way, images, labels, loss) for way in (network, fast)] for _ in range(rounds + 1)][1:])
    own, ours = np.median(times, axis=0)
    return {"own_s": float(own), "training_layers_s": float(ours), "times_as_fast": interval(times[:, 0] / times[:, 1])}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="small", help="of the networks")
    parser.add_argument("--networks", type=int, default=6, help="random ones")
    parser.add_argument("--rounds", type=int, default=7, help="of each network")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("-o", "--output", type=Path, help="JSON to write")
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    space = load_space(words.space)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    output = words.output or RESULTS / f"{date}-training-speed.json"
    check_output_file(output)
    found = {}
    for name, network in track(networks(space, words.networks).items(), "networks"):
        found[name] = measure(network, space, words.rounds)
    print("| network | own layers, s/step | training layers, s/step | times as fast |\n| --- | --: | --: | --: |")
    for name, result in found.items():
        ratio = result["times_as_fast"]
        print(
            f"| {name} | {result['own_s']:.3f} | {result['training_layers_s']:.3f}"
            f" | {ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}) |"
        )
    write_json(
        output,
        {
            "date": date,
            "device": cpu_name(),
            "threads": words.threads,
            "space": space.name,
            "batch": BATCH,
            "rounds": words.rounds,
            "versions": {name: library_version(name) for name in ("torch", "monai")},
            "networks": found,
        },
    )


if __name__ == "__main__":
    main()
