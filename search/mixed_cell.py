"""A cell of the supernet: all ops on all inputs, through one channel in k (Zeng 2020, Eq. 1 and 4).

Three identities keep it cheap, and change nothing in what is computed:

- the ops that leave an input for several nodes run as one wide op, and ops without weights run once per input;
- conv - batch norm - ReLU weighted by p >= 0 is conv - batch norm scaled by p - ReLU, so weighting costs no pass
  over the features;
- `zero` is not run: its probability only takes weight away from the others.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cinert.cells import cell_preprocessing
from cinert.ops import Concatenate
from cinert.paths import SCALE_STEP, CellKind
from cinert.space import OpName, Space
from search.relaxation import cell_inputs

WEIGHTED: tuple[OpName, ...] = ("conv", "dilated", "separable")


def max_pool(x_BCDHW: Tensor) -> Tensor:
    """Max-pool 3x3x3 with stride 1, one axis after the other: 9 comparisons a voxel instead of 27."""
    for kernel in ((1, 1, 3), (1, 3, 1), (3, 1, 1)):
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        x_BCDHW = functional.max_pool3d(x_BCDHW, kernel, stride=1, padding=padding)
    return x_BCDHW


class WideOp(nn.Module):
    """One weighted op from one input to each of `copies` later nodes, each scaled by its probability.

    Batch norm has no parameters of its own (as in PC-DARTS): its scale is the probability.
    """

    def __init__(self, op: OpName, channels: int, copies: int) -> None:
        super().__init__()
        self.op = op
        self.channels, self.copies = channels, copies
        wide = channels * copies
        if op == "separable":
            self.depthwise = nn.Conv3d(wide, wide, 3, padding=1, groups=wide, bias=False)
            self.convolution = nn.Conv3d(wide, wide, 1, groups=copies, bias=False)
        else:
            dilation = 2 if op == "dilated" else 1
            self.convolution = nn.Conv3d(channels, wide, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm3d(wide, affine=False)

    def forward(self, x_BCDHW: Tensor, weight: Tensor) -> Tensor:
        """Apply the op.

        Args:
            x_BCDHW: (B, channels, D, H, W).
            weight: (copies,) probabilities.

        Returns:
            (B, copies x channels, D, H, W), node by node.
        """
        if self.op == "separable":
            x_BCDHW = self.depthwise(torch.cat([x_BCDHW] * self.copies, dim=1))
        x_BCDHW = self.convolution(x_BCDHW)
        norm = self.norm
        if norm.training and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        scaled = functional.batch_norm(
            x_BCDHW,
            norm.running_mean,
            norm.running_var,
            weight=weight.repeat_interleave(self.channels).to(norm.running_mean),
            training=norm.training,
            momentum=norm.momentum or 0.0,
            eps=norm.eps,
        )
        return functional.relu(scaled)


class MixedCell(nn.Module):
    """Maps a vertex (B, M x width_source, D, H, W) to the next one (B, M x width_target, D', H', W')."""

    def __init__(self, space: Space, kind: CellKind, source: int) -> None:
        super().__init__()
        self.nodes = space.nodes
        self.ops = space.ops
        self.parts = space.partial_channels
        width = space.widths[source + SCALE_STEP[kind]]
        self.channels = width // self.parts
        self.row = {pair: row for row, pair in enumerate(cell_inputs(space.nodes))}
        self.preprocessing = cell_preprocessing(space, kind, source)
        self.wide = nn.ModuleDict(
            {
                f"i{input_}_{op}": WideOp(op, self.channels, self.nodes - input_)
                for input_ in range(self.nodes)
                for op in self.ops
                if op in WEIGHTED
            }
        )
        self.concatenate = Concatenate()

    def forward(self, x_BCDHW: Tensor, weights: Tensor) -> Tensor:
        """Run all nodes.

        Args:
            x_BCDHW: (B, M x width_source, D, H, W).
            weights: (cell edges, ops), `Relaxed.cells` of this kind.
        """
        state = self.preprocessing(x_BCDHW)
        mixed: list[list[Tensor]] = [[] for _ in range(self.nodes)]
        kept: list[list[Tensor]] = [[] for _ in range(self.nodes)]
        states: list[Tensor] = []
        for input_ in range(self.nodes):
            # Eq. 4 needs an input's outputs only for later nodes, so one pass over the inputs serves all of them.
            self._spread(state, input_, weights, mixed, kept)
            state = self._join(mixed[input_], kept[input_])
            states.append(state)
        result: Tensor = self.concatenate(*states)
        return result

    def _spread(
        self, state: Tensor, input_: int, weights: Tensor, mixed: list[list[Tensor]], kept: list[list[Tensor]]
    ) -> None:
        """Add what an input gives to every later node."""
        part, rest = state[:, : self.channels], state[:, self.channels :]
        rows = weights[[self.row[node, input_] for node in range(input_, self.nodes)]]
        for column, op in enumerate(self.ops):
            if op == "zero":
                continue
            if op in WEIGHTED:
                outputs = self.wide[f"i{input_}_{op}"](part, rows[:, column]).split(self.channels, dim=1)
            else:
                output = max_pool(part) if op == "maxpool" else part
                outputs = tuple(output * weight for weight in rows[:, column].unbind())
            for node, output in zip(range(input_, self.nodes), outputs, strict=True):
                mixed[node].append(output)
        if self.parts > 1:
            # The remaining channels skip the ops, weighted by the edge: gamma, or the sum over its pairs.
            for node, weight in zip(range(input_, self.nodes), rows.sum(dim=1).unbind(), strict=True):
                kept[node].append(rest * weight)

    def _join(self, mixed: list[Tensor], kept: list[Tensor]) -> Tensor:
        """Sum over the inputs, put both channel parts together, and shuffle them so that all get their turn."""
        computed = sum(mixed[1:], start=mixed[0])
        if not kept:
            return computed
        untouched = sum(kept[1:], start=kept[0])
        groups = [computed, *untouched.chunk(self.parts - 1, dim=1)]
        # The detour over channels-last views keeps that memory format, which CPU convolutions run 2-4 times faster.
        shuffled = torch.stack([group.permute(0, 2, 3, 4, 1) for group in groups], dim=-1).flatten(-2)
        return shuffled.permute(0, 4, 1, 2, 3)
