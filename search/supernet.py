"""The supernet: every legal edge of the grid, each with a mixed cell, weighted by beta (Zeng 2020, Eq. 5)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from cinert.network import edge_name, make_head, make_stem
from cinert.paths import CellKind, Edge, legal_edges
from cinert.space import Space
from latency.cost import Relaxed
from search.global_norm import recomputed_alike
from search.mixed_cell import Live, MixedCell, live_weights
from search.pointwise import run_layers
from search.scaled import scaled_concatenation


class Supernet(nn.Module):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W), given a relaxed architecture.

    Args:
        space: to search.
        checkpoints: keep nothing of a cell but its input, and run it again for its gradient (activation
            checkpointing, Chen et al. 2016): one more forward pass, for less memory.
    """

    def __init__(self, space: Space, *, checkpoints: bool = False) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self.space = space
        self.edges = legal_edges(space.layers, space.scales)
        self.stem = make_stem(space)
        self.cells = nn.ModuleDict(
            {edge_name(edge): MixedCell(space, edge.kind, edge.source) for edge in self.edges if edge.kind != "skip"}
        )
        self.head = make_head(space)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                # The mixture changes with every step, so that a running mean over steps is that of no network.
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None

    def forward(self, x_BCDHW: Tensor, relaxed: Relaxed, only: Collection[Edge] | None = None) -> Tensor:
        """Run layer by layer; edges that meet in a vertex are summed, each weighted by its probability.

        Args:
            x_BCDHW: images.
            relaxed: weights of ops and edges.
            only: edges to compute, those of some paths from source to sink; None computes all.
        """
        vertices: dict[int, Tensor] = {0: self.stem(x_BCDHW)}
        live = live_weights(relaxed.cells)
        weight = dict(zip(self.edges, relaxed.edges.unbind(), strict=True))
        for layer in range(self.space.layers):
            arriving: dict[int, Tensor] = {}
            for edge in self.edges:
                if edge.layer == layer and (only is None or edge in only):
                    output = self._run(edge, vertices[edge.source], relaxed, live, weight[edge])
                    known = arriving.get(edge.target)
                    arriving[edge.target] = output if known is None else known + output
            vertices = arriving
        return run_layers([self.head], vertices[0])

    def _run(
        self,
        edge: Edge,
        source_BCDHW: Tensor,
        relaxed: Relaxed,
        live: Mapping[CellKind, Live],
        weight: Tensor,
    ) -> Tensor:
        if edge.kind == "skip":
            return scaled_concatenation([source_BCDHW], weight)
        cell, kind = self.cells[edge_name(edge)], edge.kind

        def weighted(source_BCDHW: Tensor, weights: Tensor, weight: Tensor) -> Tensor:
            output: Tensor = cell(source_BCDHW, weights, live[kind], weight)
            return output

        if not self._checkpoints:
            return weighted(source_BCDHW, relaxed.cells[kind], weight)
        output: Tensor = checkpoint(
            weighted,
            source_BCDHW,
            relaxed.cells[kind],
            weight,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=recomputed_alike,
        )
        return output
