"""The decoded network (stem, the union of the kept paths, head: Zeng 2020, Sec. 3.5), and what all networks need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cinert.arch import Arch
from cinert.architecture import Architecture
from cinert.baselines.base import Baseline
from cinert.baselines.networks import build_baseline
from cinert.baselines.recurrent import RecurrentBlock
from cinert.cells import Cell
from cinert.errors import BadInputError
from cinert.ops import Concatenate, Merge, conv_block
from cinert.paths import Edge
from cinert.segmenter import Segmenter
from cinert.space import CLASSES, Space
from cinert.tensors import read_tensors
from cinert.ushape.arch import UShapeArch
from cinert.ushape.network import UShapeNetwork
from cinert.vertices import vertex_values


def make_stem(space: Space) -> nn.Sequential:
    """Build the first convolution: image to the vertex (layer 0, scale 0)."""
    return conv_block(space.in_channels, space.vertex_channels(0), kernel=space.stem_kernel)


def make_head(space: Space, channels_in: int | None = None) -> nn.Conv3d:
    """Build the last convolution: vertex (layer L, scale 0), full unless told, to class logits."""
    channels = channels_in or space.vertex_channels(0)
    return nn.Conv3d(channels, len(CLASSES), space.head_kernel, padding=space.head_kernel // 2)


def edge_name(edge: Edge) -> str:
    """Name of an edge's cell among the parameters, e.g. `l3_s1_ep`."""
    return f"l{edge.layer}_s{edge.source}_{edge.kind}"


class _Vertex:
    """The nodes of a vertex, each (B, width, D, H, W), and their concatenation, made once and only when read."""

    def __init__(self, nodes: dict[int, Tensor]) -> None:
        self.nodes = nodes
        self._joined: Tensor | None = None

    @classmethod
    def of_stem(cls, stem_BCDHW: Tensor, nodes: int) -> _Vertex:
        vertex = cls(dict(enumerate(stem_BCDHW.chunk(nodes, dim=1))))
        vertex._joined = stem_BCDHW
        return vertex

    def joined(self, concatenate: nn.Module) -> Tensor:
        if self._joined is None:
            self._joined = concatenate(*self.nodes.values())
        return self._joined


class Network(Segmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W)."""

    arch: Arch

    def __init__(self, arch: Arch) -> None:
        super().__init__(arch)
        space, held = arch.space, vertex_values(arch)
        self.stem = make_stem(space)
        self.cells = nn.ModuleDict(
            {
                edge_name(edge): Cell(
                    space,
                    edge.kind,
                    edge.source,
                    arch.cells[edge.kind],
                    channels_in=space.widths[edge.source] * len(held[edge.layer, edge.source]),
                )
                for edge in arch.edges
                if edge.kind != "skip"
            }
        )
        self.merge = Merge()
        self.concatenate = Concatenate()
        self.head = make_head(space, space.widths[0] * len(held[space.layers, 0]))

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Run layer by layer. Edges that meet in a vertex are summed node by node, and the nodes joined when read."""
        vertices = {0: _Vertex.of_stem(self.stem(x_BCDHW), self.arch.space.nodes)}
        for layer in range(self.arch.space.layers):
            arriving: dict[int, list[_Vertex]] = {}
            for edge in self.arch.edges:
                if edge.layer == layer:
                    vertex = vertices[edge.source]
                    if edge.kind != "skip":
                        vertex = _Vertex(self.cells[edge_name(edge)](vertex.joined(self.concatenate)))
                    arriving.setdefault(edge.target, []).append(vertex)
            vertices = {scale: self._met(met) for scale, met in arriving.items()}
        logits: Tensor = self.head(vertices[0].joined(self.concatenate))
        return logits

    def side_outputs(self) -> list[nn.Module]:
        """What the last vertex of each scale sends to the finer one, before it is enlarged there."""
        last = {edge.source: edge for edge in self.arch.edges if edge.kind == "ep"}
        coarsest = max(last, default=0)
        cells = [cast("Cell", self.cells[edge_name(last[scale])]) for scale in range(1, coarsest)]
        return [cell.before_upsampling() for cell in cells]

    def _met(self, vertices: list[_Vertex]) -> _Vertex:
        if len(vertices) == 1:
            return vertices[0]
        sums: dict[tuple[int, ...], Tensor] = {}
        nodes: dict[int, Tensor] = {}
        for node in sorted({node for vertex in vertices for node in vertex.nodes}):
            terms = [vertex.nodes[node] for vertex in vertices if node in vertex.nodes]
            same = tuple(map(id, terms))
            if same not in sums:
                sums[same] = self.merge(*terms)
            nodes[node] = sums[same]
        return _Vertex(nodes)


def build_network(arch: Architecture) -> Segmenter:
    """Build the network of an architecture of any kind, with fresh weights."""
    if isinstance(arch, Arch):
        return Network(arch)
    if isinstance(arch, Baseline):
        return build_baseline(arch)
    if isinstance(arch, UShapeArch):
        return UShapeNetwork(arch)
    raise TypeError(f"{type(arch).__name__} is neither a searched architecture nor a baseline")


_TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Fold every batch norm into the convolution before it, in place; the module must be in eval mode."""
    if isinstance(module, RecurrentBlock):
        module.unroll()
        return module
    for child in module.children():
        fold_batch_norm(child)
    if isinstance(module, nn.Sequential):
        for position in range(len(module) - 1):
            convolution, norm = module[position], module[position + 1]
            if isinstance(convolution, _CONVOLUTIONS) and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
                transpose = isinstance(convolution, _TRANSPOSED)
                module[position] = fuse_conv_bn_eval(convolution, norm, transpose)
                module[position + 1] = nn.Identity()
    return module


def random_weights(module: nn.Module, seed: int) -> nn.Module:
    """Give a module reproducible weights and non-trivial batch-norm statistics, and set eval mode.

    Latency does not depend on the values, as long as none is denormal; parity does need them to matter.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(1.0 + 0.2 * noise.abs())
            elif tensor.ndim in (4, 5):
                fan_in = tensor[0].numel()
                tensor.copy_(noise * (2.0 / fan_in) ** 0.5)
            else:
                tensor.copy_((1.0 if name.endswith("weight") else 0.0) + 0.1 * noise)
    return module.eval()


def load_weights(network: Segmenter, path: Path) -> dict[str, str]:
    """Load weights.safetensors into the network and return the file's metadata.

    Raises:
        BadInputError: the file cannot be read, or its tensors do not fit the architecture.
    """
    if not path.is_file():
        raise BadInputError(
            f"weights {path} do not exist.", hint="train-arch writes them; or name them with --weights."
        )
    try:
        tensors, metadata = read_tensors(path)
    except (SafetensorError, OSError) as error:
        raise BadInputError(f"weights {path} cannot be read: {error}.") from error
    fit_tensors(network, tensors, path)
    return metadata


def fit_tensors(network: Segmenter, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors, all of them and no others, into the network; `path` names their file in messages.

    Raises:
        BadInputError: they do not fit the architecture.
    """
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    misfits = [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected.keys() & tensors.keys()
        if tensors[name].shape != expected[name].shape
    ]
    if missing or unknown or misfits:
        first = misfits[0] if misfits else f"{'missing' if missing else 'unknown'} tensor {(missing or unknown)[0]}"
        count = len(missing) + len(unknown) + len(misfits)
        raise BadInputError(f"weights {path} do not fit {network.arch.source}: {first} ({count} tensors differ).")
    network.load_state_dict(dict(tensors))
