"""Time and memory of a training step: features laid out plainly or with their channels last, in every precision.

    python benchmarks/gpu/training_step.py --space paper --batch 4          # writes benchmarks/results/DATE-...json
    python benchmarks/gpu/training_step.py --space demo --device cpu --steps 2 --batch 1 -o /tmp/step.json

Forward, loss, backward and optimizer of one random network, and of the supernet in full and by sampled paths; without
augmentation. Layouts and precisions take turns, so that a busy spell of the machine hits all alike; the median counts.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cinert.environment import cpu_name, library_version
from cinert.files import check_output_file, write_json
from cinert.network import build_network
from cinert.paths import legal_edges, union
from cinert.sampling import random_arch
from cinert.space import Space
from cinert.spaces import load_space
from search.device import resolve_device
from search.precision import MixedPrecision
from search.relaxation import ArchParameters
from search.sampled import draw_paths, straight_through
from search.settings import Amp
from search.supernet import Supernet

LAYOUTS = {"plain": torch.contiguous_format, "channels last": torch.channels_last_3d}
PRECISIONS: tuple[Amp, ...] = ("off", "bf16", "fp16")
Step = Callable[[], None]


def make_step(what: str, space: Space, layout: str, amp: Amp, batch: int, device: torch.device) -> Step:
    """One step of a training; `what` is network, supernet or sampled."""
    torch.manual_seed(0)
    module: nn.Module
    if what == "network":
        module = build_network(random_arch(space, 0, paths=4))
    else:
        module = Supernet(space, checkpoints=what == "supernet")
    module.to(device).to(memory_format=LAYOUTS[layout])
    architecture = ArchParameters(space).to(device)
    relaxed = architecture.relax()
    only = None
    if what == "sampled":
        edges = legal_edges(space.layers, space.scales)
        only = frozenset(union(draw_paths(edges, relaxed.edges, 2, np.random.default_rng(0))))
        relaxed = straight_through(relaxed)
    optimizer = torch.optim.AdamW(module.parameters())
    precision = MixedPrecision(amp, device)
    images = torch.randn(batch, space.in_channels, *space.input_shape_DHW, device=device)
    images = images.contiguous(memory_format=LAYOUTS[layout])
    labels = torch.randint(4, (batch, *space.input_shape_DHW), device=device)

    def forward() -> Tensor:
        logits: Tensor = module(images) if what == "network" else module(images, relaxed, only)
        return logits

    def step() -> None:
        optimizer.zero_grad()
        with precision.autocast():
            logits = forward()
        loss = precision.scaled(functional.cross_entropy(logits.float(), labels))
        loss.backward(retain_graph=what != "network")
        precision.step(optimizer, largest_norm=12.0)

    return step


def measure(step: Step, device: torch.device) -> tuple[float, float | None]:
    """Milliseconds of a step, and the most memory that it held in MiB on a GPU."""
    if device.type == "cpu":
        start = time.perf_counter()
        step()
        return 1e3 * (time.perf_counter() - start), None
    torch.cuda.reset_peak_memory_stats(device)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    step()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end), torch.cuda.max_memory_allocated(device) / 2**20


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="paper")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N")
    parser.add_argument("--batch", type=int, default=4, help="volumes in a step")
    parser.add_argument("--steps", type=int, default=20, help="measured, after 3 that are not")
    parser.add_argument("-o", "--output", type=Path)
    words = parser.parse_args()
    device, today = resolve_device(words.device), datetime.datetime.now(datetime.UTC).date()
    output = words.output or Path(__file__).parents[1] / "results" / f"{today}-training-step-{device.type}.json"
    check_output_file(output)
    space = load_space(words.space)
    rows = []
    for what in ("network", "supernet", "sampled"):
        # fp16 on a CPU is not what anybody trains in, and takes minutes.
        cases = [(layout, amp) for layout in LAYOUTS for amp in PRECISIONS if device.type == "cuda" or amp == "off"]
        times: dict[tuple[str, Amp], list[float]] = {case: [] for case in cases}
        peaks: dict[tuple[str, Amp], float | None] = {}
        steps = {case: make_step(what, space, *case, words.batch, device) for case in cases}
        for turn in range(3 + words.steps):
            for case, step in steps.items():
                ms, peaks[case] = measure(step, device)
                if turn >= 3:
                    times[case].append(ms)
        for case in cases:
            row = {
                "what": what,
                "layout": case[0],
                "mixed_precision": case[1],
                "p50_ms": round(statistics.median(times[case]), 2),
                "peak_mib": peaks[case] and round(peaks[case] or 0.0, 1),
            }
            rows.append(row)
            print(row, flush=True)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    write_json(
        output,
        {
            "date": today.isoformat(),
            "device": name,
            "torch": library_version("torch"),
            "space": space.name,
            "batch": words.batch,
            "steps": words.steps,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
