"""Multiply-adds of the supernet's forward pass: the whole grid against sampled paths with all ops.

    python benchmarks/mixture_flops.py [--draws 1000] [--seed 0]

Architecture parameters are undecided, as at the start of a search. Operations are counted in one pass over the grid, so
that no machine matters; a draw runs those of its edges. Prints the table of docs/search.md.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.compare.markdown import table
from cinert.network import edge_name
from cinert.paths import Edge
from cinert.space import Space
from cinert.spaces import load_space
from search.relaxation import ArchParameters
from search.sampled import draw_mixture
from search.supernet import Supernet

SPACES = ("small", "paper", "rtdnas")
PATHS = (1, 2, 4)


def flops_by_edge(supernet: Supernet, space: Space) -> tuple[dict[Edge, int], int]:
    """FLOPs of each cell edge, and of stem and head, in one forward pass of the whole grid."""
    image = torch.zeros((1, 1, *space.input_shape_DHW)).contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        supernet(image, ArchParameters(space).relax())
    counts = counter.get_flop_counts()
    cells = {
        edge: sum(counts[f"Supernet.cells.{edge_name(edge)}"].values())
        for edge in supernet.edges
        if edge.kind != "skip"
    }
    return cells, counter.get_total_flops() - sum(cells.values())


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = []
    for name in SPACES:
        space, rng = load_space(name), np.random.default_rng(options.seed)
        supernet = Supernet(space).to(memory_format=torch.channels_last_3d)
        cells, ends = flops_by_edge(supernet, space)
        row = [f"`{name}`"]
        for paths in PATHS:
            drawn = []
            for _ in range(options.draws):
                _, only = draw_mixture("sampled", ArchParameters(space).relax(), supernet.edges, paths, rng)
                drawn.append(ends + sum(cells.get(edge, 0) for edge in only))
            row.append(f"{(ends + sum(cells.values())) / np.mean(drawn):.1f}")
        rows.append(row)
    print("\n".join(table(["space", *(f"{paths} path{'s' * (paths > 1)}" for paths in PATHS)], rows)))


if __name__ == "__main__":
    main()
