"""A cell of the supernet: all ops on all inputs, through one channel in k (Zeng 2020, Eq. 1 and 4).

What keeps it cheap changes nothing in what is computed: the convolutions that leave an input for several nodes run as
one wide one for each kernel and dilation (`search.wide_op`), max-pooling runs once per input, 1x1x1 convolutions are
matrix products and so is all that weighs, adds and shuffles channels, and what has a weight of exactly zero is not run.
An op without a fast path runs as the module that it is (`cinert.op_spec.OpSpec.fast_path`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from cinert.cells import cell_preprocessing
from cinert.op_registry import known_ops, specs_of
from cinert.op_spec import FastPath
from cinert.paths import SCALE_STEP, CellKind
from cinert.space import OpName, Space
from search.max_pool import max_pool
from search.pointwise import Product, run_layers, sum_of_products
from search.relaxation import cell_inputs
from search.scaled import scaled_concatenation
from search.wide_op import WEIGHTED, WideOp, run_wide

Live = Sequence[Sequence[bool]]
"""For each cell edge and op, as rows and columns of `Relaxed.cells`: whether its weight is not zero."""


class MixedCell(nn.Module):
    """Maps a vertex (B, M x width_source, D, H, W) to the next one (B, M x width_target, D', H', W')."""

    places: Tensor
    """(width, width): 1 where an output channel takes an input channel."""

    def __init__(self, space: Space, kind: CellKind, source: int) -> None:
        super().__init__()
        self.nodes = space.nodes
        self.ops = space.ops
        self.parts = space.partial_channels
        self.width = space.widths[source + SCALE_STEP[kind]]
        self.channels = self.width // self.parts
        self.row = {pair: row for row, pair in enumerate(cell_inputs(space.nodes))}
        self.preprocessing = cell_preprocessing(space, kind, source)
        specs = specs_of(space.ops)
        self._by_path: dict[FastPath | None, list[OpName]] = {}
        for op, spec in specs.items():
            self._by_path.setdefault(spec.fast_path, []).append(op)
        weighted = [op for op, spec in specs.items() if spec.fast_path in WEIGHTED]
        # In an order that does not depend on that of the space, so that neither does the order of the sums.
        self._weighted = sorted(weighted, key=known_ops().index)
        self.wide = nn.ModuleDict(
            {
                f"i{input_}_{op}": WideOp(specs[op], self.channels, self.nodes - input_)
                for input_ in range(self.nodes)
                for op in weighted
            }
        )
        self.own = nn.ModuleDict(
            {
                f"i{input_}_n{node}_{op}": specs[op].make(self.channels)
                for input_ in range(self.nodes)
                for node in range(input_, self.nodes)
                for op in self._by_path.get(None, [])
            }
        )
        # Channels are shuffled after a node, so that all get their turn in the part that the ops compute.
        order = torch.arange(self.width).view(self.parts, self.channels).t().flatten()
        self.register_buffer("places", torch.eye(self.width)[order], persistent=False)

    def forward(self, x_BCDHW: Tensor, weights: Tensor, live: Live, scale: Tensor) -> Tensor:
        """Run all nodes.

        Args:
            x_BCDHW: (B, M x width_source, D, H, W).
            weights: (cell edges, ops), `Relaxed.cells` of this kind.
            live: which of the weights are not zero.
            scale: what the cell counts, (), the probability of its edge.
        """
        state = run_layers(self.preprocessing, x_BCDHW)
        arriving: list[list[Product]] = [[] for _ in range(self.nodes)]
        states: list[Tensor] = []
        for input_ in range(self.nodes):
            # Eq. 4 needs an input's outputs only for later nodes, so one pass over the inputs serves all of them.
            self._mix(state, input_, weights, live, arriving)
            self._pass(state, input_, weights, live, arriving)
            state = sum_of_products(arriving[input_], like=state)
            states.append(state)
        return scaled_concatenation(states, scale)

    def _readers(self, input_: int, live: Live) -> dict[OpName, list[int]]:
        """Nodes that an input reaches through each op, those without any left out."""
        nodes = range(input_, self.nodes)
        readers = {op: [n for n in nodes if live[self.row[n, input_]][c]] for c, op in enumerate(self.ops)}
        return {op: met for op, met in readers.items() if met}

    def _weights(self, weights: Tensor, nodes: Sequence[int], input_: int, op: OpName) -> Tensor:
        return weights[[self.row[node, input_] for node in nodes], self.ops.index(op)]

    def _mix(self, state: Tensor, input_: int, weights: Tensor, live: Live, arriving: list[list[Product]]) -> None:
        """Add what an input gives to every later node through an op, in the channels that the ops compute."""
        readers = self._readers(input_, live)
        part = state[:, : self.channels].contiguous(memory_format=torch.channels_last_3d)
        alike: dict[tuple[int, ...], list[OpName]] = {}
        for op in self._weighted:
            if op in readers:
                alike.setdefault(tuple(readers[op]), []).append(op)
        computed = self.places[:, : self.channels]
        for nodes, ops in alike.items():
            wide = [cast("WideOp", self.wide[f"i{input_}_{op}"]) for op in ops]
            chosen = [(op, self._weights(weights, nodes, input_, name)) for op, name in zip(wide, ops, strict=True)]
            output = run_wide(part, chosen, [node - input_ for node in nodes])
            for node, block in zip(nodes, torch.split(output, self.channels, dim=1), strict=True):
                arriving[node].append((block, computed))
        for op in self._by_path.get("max-pool", []):
            if op in readers:
                pooled, reached = max_pool(part), readers[op]
                for node, weight in zip(reached, self._weights(weights, reached, input_, op), strict=True):
                    arriving[node].append((pooled, computed * weight))
        for op in self._by_path.get(None, []):
            reached = readers.get(op, [])
            for node, weight in zip(reached, self._weights(weights, reached, input_, op), strict=True):
                arriving[node].append((self.own[f"i{input_}_n{node}_{op}"](part), computed * weight))

    def _pass(self, state: Tensor, input_: int, weights: Tensor, live: Live, arriving: list[list[Product]]) -> None:
        """Add what an input gives to every later node as it is.

        That is identity in the channels that the ops compute, and the edge's weight (gamma, or the sum over its
        pairs) in the others.
        """
        for node in range(input_, self.nodes):
            row = self.row[node, input_]
            if any(live[row]):
                arriving[node].append((state, self.places * self._passing(weights[row])))

    def _passing(self, weights: Tensor) -> Tensor:
        """Weight of each channel that is passed on, (width,)."""
        copies = [weights[self.ops.index(op)] for op in self._by_path.get("copy", [])]
        through = sum(copies[1:], start=copies[0]) if copies else torch.zeros_like(weights[0])
        rest = self.width - self.channels
        return torch.cat([through.expand(self.channels), weights.sum().expand(rest)])


def live_weights(cells: Mapping[CellKind, Tensor]) -> dict[CellKind, Live]:
    """Which weights of the relaxed cells are not zero: read once a step, because a GPU has to be waited for."""
    nonzero = torch.stack([weights.detach() != 0 for weights in cells.values()]).tolist()
    return dict(zip(cells, nonzero, strict=True))
