"""What a step of training takes on a CPU with a network's own layers and with those of `search.training_layers`.

    python benchmarks/training_speed.py [--space small] [--networks 6] [--threads 1] [-o FILE.json]

Random networks of a space, and designed ones, each on its own grid: U-Net 3D (D3, 16), which has little to replace,
U-Net 2D (D3, 16), NAS-UNet and aniso-unet. A step is forward, Dice with cross-entropy, and backward on a batch of 4.
Times are those of the CPU, all threads together, so that other programs disturb little. Both ways take turns in one
process; a ratio is that of two times of the same round. Writes benchmarks/results/DATE-training-speed.json.
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

from cinert.architecture import Architecture
from cinert.backends.allocator import keep_memory
from cinert.baselines.kinds import KINDS, design
from cinert.environment import cpu_name, library_version
from cinert.files import check_output_file, write_json
from cinert.network import build_network
from cinert.sampling import random_arch
from cinert.segmenter import Segmenter
from cinert.space import CLASSES, Space
from cinert.spaces import load_space
from search.training_layers import use_training_layers

BATCH = 4


def networks(space: Space, count: int) -> dict[str, Segmenter]:
    """Networks to train, as `Training` lays them out."""
    archs: dict[str, Architecture] = {f"random {seed}": random_arch(space, seed, paths=2) for seed in range(count)}
    archs["unet3d (D3, 16)"] = design("unet3d", space, (16, 32, 64))
    archs["unet2d (D3, 16)"] = design("unet2d", space, (16, 32, 64))
    archs["nas-unet (D3)"] = design("nas-unet", space, KINDS["nas-unet"].default_widths(3))
    archs["aniso-unet"] = design("aniso-unet", space, KINDS["aniso-unet"].widths_in(space))
    return {name: build_network(arch).channels_last().train() for name, arch in archs.items()}


def step_s(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, loss: nn.Module) -> float:
    """CPU time of a step."""
    network.zero_grad()
    start = time.process_time()
    loss(network(images), labels).backward()
    return time.process_time() - start


def measure(network: Segmenter, rounds: int) -> dict[str, Any]:
    """Time both ways, after a round that does not count."""
    torch.manual_seed(0)
    shape = (BATCH, 1, *network.arch.grid.input_shape_DHW)
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
    # As training does: what is faulted in anew differs between the two ways.
    keep_memory()
    space = load_space(words.space)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    output = words.output or RESULTS / f"{date}-training-speed.json"
    check_output_file(output)
    found = {}
    for name, network in track(networks(space, words.networks).items(), "networks"):
        found[name] = measure(network, words.rounds)
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
