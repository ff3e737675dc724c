"""What measuring a LUT needs of a space, for cells on a grid of layers and scales, and for U-shaped networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cinert.arch import Arch, NodeEdge, Searched
from cinert.backends.base import Model, Precision
from cinert.paths import CELL_KINDS, Path
from cinert.space import Shape3, Space
from cinert.spaces import AnySpace
from cinert.ushape.arch import UShapeArch
from cinert.ushape.space import UShapeSpace
from latency.breakdown import arch_parts
from latency.design import default_networks, designed_networks
from latency.learn import learn_prices
from latency.lut import Lut
from latency.lut_prices import Prices
from latency.parts import PartCatalogue, PartKey, part_model
from latency.terms import Vector
from latency.ushape.design import anchor_ushape, default_ushapes, designed_ushapes
from latency.ushape.learn import alone_ms, learn_ushape_prices
from latency.ushape.parts import grid_parts, row_keys, ushape_part_model


def keys_to_time(space: AnySpace, precision: Precision) -> list[PartKey]:
    """The parts that are timed alone: of cells all, of U-shaped networks those of the narrowest and widest levels."""
    if isinstance(space, UShapeSpace):
        return row_keys(space, precision)
    return PartCatalogue(space, precision).all()


def key_model(space: AnySpace, key: PartKey) -> Model:
    """Describe a part of a space to the back ends."""
    return ushape_part_model(key) if isinstance(space, UShapeSpace) else part_model(key)


def networks_to_time(space: AnySpace, number: int, *, precision: Precision) -> list[Searched]:
    """Choose the networks that prices are learned from: short ones of cells, whole U-shaped ones."""
    if isinstance(space, UShapeSpace):
        return list(designed_ushapes(space, number, precision=precision))
    return list(designed_networks(space, number, precision=precision))


def networks_by_default(space: AnySpace, precision: Precision) -> int:
    """How many networks identify the terms of a space well."""
    if isinstance(space, UShapeSpace):
        return default_ushapes(space, precision)
    return default_networks(space, precision)


def anchor_network(space: AnySpace) -> Searched:
    """A small network that is the same for every measurement of a space; of cells, with an op of each limit."""
    if isinstance(space, UShapeSpace):
        return anchor_ushape(space)
    nodes = [(NodeEdge(0, op),) for op in space.ops if op not in {"zero", "identity"}]
    cell = tuple((nodes * space.nodes)[: space.nodes])
    path: Path = ("ct", "ep") if space.scales > 1 else ("ns", "ns")
    return Arch(space=replace(space, layers=2), cells=dict.fromkeys(CELL_KINDS, cell), paths=(path,))


def network_record(arch: Searched) -> dict[str, Any]:
    """What a LUT says of a network that was timed, beside its times."""
    record = {"digest": arch.digest, "seed": arch.provenance["seed"]}
    if isinstance(arch, UShapeArch):
        return {**record, "grid": arch.grid_number, "widths": list(arch.shape.widths)}
    return {**record, "layers": arch.space.layers, "paths": len(arch.paths)}


def short_to_long(archs: Sequence[Searched], precision: Precision, number: int) -> Iterator[Searched]:
    """A few networks, from one that computes little to one that computes much."""

    def length(arch: Searched) -> int:
        if isinstance(arch, UShapeArch):
            return sum(count * key.flops for key, count in arch_parts(arch, precision).items())
        return len(arch.edges)

    ordered = sorted(archs, key=length)
    for position in np.linspace(0, len(ordered) - 1, number).round().astype(int):
        yield ordered[position]


def learned(
    space: AnySpace,
    archs: Sequence[Searched],
    keys: list[PartKey],
    *,
    network_ms: Vector,
    isolated_ms: Vector,
    precision: Precision,
    overlap: float,
    networks: Sequence[Mapping[str, Any]],
) -> Prices:
    """Fit the prices of a space (`latency.learn`, `latency.ushape.learn`).

    Raises:
        BadInputError: too few networks.
    """
    measured: dict[str, Any] = {"network_ms": network_ms, "isolated_ms": isolated_ms, "networks": networks}
    if isinstance(space, UShapeSpace):
        shaped = [arch for arch in archs if isinstance(arch, UShapeArch)]
        return learn_ushape_prices(space, shaped, keys, precision=precision, overlap=overlap, **measured)
    cells = [arch for arch in archs if isinstance(arch, Arch)]
    return learn_prices(space, cells, keys, precision=precision, overlap=overlap, **measured)


def parts_alone_ms(archs: Sequence[Searched], lut: Lut) -> Vector:
    """What the parts of networks take alone, summed (networks,); where widths are searched, by terms fitted to them."""
    if lut.prices.terms is not None:
        assert isinstance(lut.space, UShapeSpace)
        isolated_ms = np.array([row.quiet_ms for row in lut.rows])
        networks = [arch_parts(arch, lut.precision) for arch in archs]
        return alone_ms(lut.space, networks, [row.key for row in lut.rows], isolated_ms, lut.prices.terms.device)
    alone = {row.key: row.quiet_ms for row in lut.rows}
    sums = [sum(count * alone[key] for key, count in arch_parts(arch, lut.precision).items()) for arch in archs]
    return np.array(sums)


def panels(space: AnySpace) -> list[tuple[str, Shape3]]:
    """The shapes that a space's parts are paid at, each with its heading, finest first."""
    if isinstance(space, Space):
        shapes = space.shapes_DHW
        return [(f"scale {scale}: {_size(shape)}", shape) for scale, shape in enumerate(shapes)]
    found: dict[Shape3, str] = {}
    for parts in grid_parts(space):
        grid = f"grid {_size(parts.input_DHW)}"
        found.setdefault(parts.input_DHW, f"{grid}: head")
        for level, shape in enumerate(parts.shapes_DHW):
            found.setdefault(shape, f"{grid}, level {level}: {_size(shape)}")
    return [(heading, shape) for shape, heading in found.items()]


def named(space: AnySpace, key: PartKey) -> str:
    """Kind and channels of a part, and its kernel where parts of the same kind have several, for people."""
    kernel = f" {_size(key.kernel_DHW)}" if isinstance(space, UShapeSpace) and key.kind in {"conv", "depthwise"} else ""
    dilated = f" d{_size(key.dilation_DHW)}" if kernel and key.dilation != 1 else ""
    return f"{key.kind}{kernel}{dilated} {key.channels_in}\N{RIGHTWARDS ARROW}{key.channels_out}"


def _size(shape: Shape3) -> str:
    return "x".join(map(str, shape))
