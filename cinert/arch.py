"""Architecture files: the genotype of a searched network, and the way to a baseline. Free of torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any, ClassVar

import yaml

from cinert.architecture import Architecture
from cinert.baselines import base as baseline
from cinert.baselines.kinds import read_baseline
from cinert.errors import BadInputError
from cinert.files import read_yaml, write_text
from cinert.paths import CELL_KINDS, EDGE_KINDS, CellKind, Edge, Path, union, walk
from cinert.schema import check_keys, check_schema
from cinert.space import OpName, Space
from cinert.ushape import arch as ushape
from cinert.ushape.arch import UShapeArch

SCHEMA, VERSION = "cinert.arch", 1


@dataclass(frozen=True, slots=True)
class NodeEdge:
    """Inside a cell: op applied to an earlier node. Input 0 is the preprocessed input, input j is node j - 1."""

    input: int
    op: OpName


CellGenotype = tuple[tuple[NodeEdge, ...], ...]
"""For each node the edges that enter it; an empty tuple is a node that yields zeros."""


def live_nodes(cell: CellGenotype) -> tuple[bool, ...]:
    """For the preprocessed input and each node: does anything but zeros arrive there?"""
    live = [True]
    for edges in cell:
        live.append(any(live[edge.input] for edge in edges))
    return tuple(live)


def yields_nothing(cell: CellGenotype) -> bool:
    """Whether every node is empty, directly or through an empty input."""
    return not any(live_nodes(cell)[1:])


def live_edges(cell: CellGenotype) -> CellGenotype:
    """Drop the edges that carry only zeros: what is left is what is deployed and priced."""
    live = live_nodes(cell)
    return tuple(tuple(edge for edge in edges if live[edge.input]) for edges in cell)


def repeats(cell: CellGenotype) -> dict[int, int]:
    """Nodes that compute what an earlier one computes already: same input, same op without weights.

    Returns:
        For each such node the input number of the earlier value: 0 for the preprocessed input, j for node j - 1.
    """
    value = {0: 0}
    pooled: dict[int, int] = {}
    for node, edges in enumerate(live_edges(cell)):
        own = value[node + 1] = node + 1
        if len(edges) == 1:
            source = value[edges[0].input]
            if edges[0].op == "identity":
                value[own] = source
            elif edges[0].op == "maxpool":
                value[own] = pooled.setdefault(source, own)
    return {number - 1: earlier for number, earlier in value.items() if earlier != number}


@dataclass(frozen=True, kw_only=True)
class Arch:
    """A decoded architecture: one genotype per cell kind, and the paths whose union is the network."""

    kind: ClassVar[str] = "searched"
    space: Space
    cells: Mapping[CellKind, CellGenotype]
    paths: tuple[Path, ...]
    estimate: Mapping[str, Any] | None = None
    """What the LUT said when the architecture was written, and which LUT; never read back as truth."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Seed, versions, data, patients seen by the search."""
    source: str = field(default="arch", compare=False)

    def __post_init__(self) -> None:
        """Check paths and cells against the space.

        Raises:
            BadInputError: an empty or repeated path, one that leaves the grid, an op that the space lacks, a node
                that reads itself or a later one, or a cell that yields nothing.
        """
        self._check_paths()
        for kind in sorted({kind for path in self.paths for kind in path if kind != "skip"}):
            if kind not in self.cells:
                raise BadInputError(f"{self.source}: cells.{kind} is missing, and a path uses it.")
        for kind, cell in self.cells.items():
            self._check_cell(kind, cell)

    def _check_paths(self) -> None:
        if not self.paths:
            raise BadInputError(f"{self.source}: paths is empty; a network needs at least one.")
        for number, path in enumerate(self.paths):
            where = f"{self.source}: paths[{number}] [{', '.join(path)}]"
            if len(path) != self.space.layers:
                raise BadInputError(f"{where} has {len(path)} edges, the space has {self.space.layers} layers.")
            scale = 0
            for edge in walk(path):
                scale = edge.target
                if not 0 <= scale < self.space.scales:
                    raise BadInputError(
                        f"{where} leaves the grid at layer {edge.layer}:"
                        f" scale {scale} is outside 0..{self.space.scales - 1}."
                    )
            if scale != 0:
                raise BadInputError(f"{where} ends at scale {scale}; a path ends at scale 0.")
            if path in self.paths[:number]:
                raise BadInputError(f"{where} stands twice.")

    def _check_cell(self, kind: CellKind, cell: CellGenotype) -> None:
        where = f"{self.source}: cells.{kind}"
        if len(cell) != self.space.nodes:
            raise BadInputError(f"{where} has {len(cell)} nodes, the space has {self.space.nodes}.")
        for node, edges in enumerate(cell):
            for edge in edges:
                if not 0 <= edge.input <= node:
                    raise BadInputError(f"{where}, node {node}: input {edge.input} is not one of 0..{node}.")
                if edge.op == "zero":
                    raise BadInputError(f"{where}, node {node}: op zero is no edge.", hint="leave the edge out.")
                if edge.op not in self.space.ops:
                    raise BadInputError(
                        f"{where}, node {node}: unknown op {edge.op!r}.",
                        hint=f"the space has {', '.join(self.space.ops)}.",
                    )
            if len(set(edges)) != len(edges):
                raise BadInputError(f"{where}, node {node}: an edge stands twice.")
        if yields_nothing(cell):
            raise BadInputError(f"{where} yields nothing: every node is empty.")

    @property
    def grid(self) -> Space:
        """The space, which fixes the image that the network reads."""
        return self.space

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Edges of the network: the union of its paths."""
        return union(self.paths)

    @cached_property
    def digest(self) -> str:
        """Short hash of what is deployed: the space, the cells that are used, and the paths in any order."""
        used = {edge.kind for edge in self.edges}
        content = {
            "space": self.space.to_dict(),
            "cells": {kind: _cell_to_list(self.cells[kind]) for kind in CELL_KINDS if kind in used},
            "edges": [[edge.layer, edge.source, edge.kind] for edge in self.edges],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and words, ready for YAML."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "space": self.space.to_dict(),
            "cells": {kind: _cell_to_list(self.cells[kind]) for kind in CELL_KINDS if kind in self.cells},
            "paths": [list(path) for path in self.paths],
            "estimate": None if self.estimate is None else dict(self.estimate),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> Arch:
        """Read what `to_dict` wrote.

        Raises:
            BadInputError: another schema or version, an unknown key, op or edge kind, or a value that does not fit.
        """
        check_schema(document, schema=SCHEMA, version=VERSION, source=source)
        keys = ["schema", "version", "space", "cells", "paths"]
        check_keys(document, required=keys, optional=["estimate", "provenance"], source=source)
        for key, kind in {"space": dict, "cells": dict, "paths": list}.items():
            if not isinstance(document[key], kind):
                raise BadInputError(f"{source}: {key} is {document[key]!r}, expected a {kind.__name__}.")
        check_keys(document["cells"], required=(), optional=CELL_KINDS, source=f"{source}: cells")
        return cls(
            space=Space.from_dict(document["space"], source=f"{source}: space"),
            cells={kind: _cell_from_list(cell, f"{source}: cells.{kind}") for kind, cell in document["cells"].items()},
            paths=tuple(
                _path_from_list(path, f"{source}: paths[{number}]") for number, path in enumerate(document["paths"])
            ),
            estimate=document.get("estimate"),
            provenance=document.get("provenance") or {},
            source=source,
        )


def ops_of(arch: Architecture) -> list[OpName]:
    """Primitive ops that a network holds, each once; none for a network that is not made of cells."""
    if not isinstance(arch, Arch):
        return []
    used = {edge.kind for edge in arch.edges if edge.kind != "skip"}
    edges = (edge for kind in CELL_KINDS if kind in used for node in live_edges(arch.cells[kind]) for edge in node)
    return list(dict.fromkeys(edge.op for edge in edges))


Searched = Arch | UShapeArch
"""Networks that come from a space: those that a LUT can price."""
SEARCHED_SCHEMAS = (SCHEMA, ushape.SCHEMA)


def load_arch(path: FilePath) -> Architecture:
    """Read the file of a searched network or of a baseline; raises BadInputError naming the file and the key."""
    return arch_from_dict(read_yaml(path, "the architecture"), source=str(path))


def arch_from_dict(document: Mapping[str, Any], *, source: str) -> Architecture:
    """The same for what was read before."""
    if document.get("schema") == baseline.SCHEMA:
        return read_baseline(document, source=source)
    return searched_from_dict(document, source=source)


def searched_from_dict(document: Mapping[str, Any], *, source: str) -> Searched:
    """The same for a network that comes from a space."""
    if document.get("schema") == ushape.SCHEMA:
        return UShapeArch.from_dict(document, source=source)
    return Arch.from_dict(document, source=source)


def save_arch(path: FilePath, arch: Architecture) -> None:
    """Write arch.yaml, whole or not at all."""
    write_text(path, yaml.safe_dump(arch.to_dict(), sort_keys=False, default_flow_style=None, width=110))


def _cell_to_list(cell: CellGenotype) -> list[list[dict[str, Any]]]:
    return [[{"input": edge.input, "op": edge.op} for edge in edges] for edges in cell]


def _cell_from_list(nodes: Any, source: str) -> CellGenotype:
    if not isinstance(nodes, list) or not all(isinstance(edges, list) for edges in nodes):
        raise BadInputError(f"{source} is {nodes!r}, expected a list of nodes, each a list of {{input, op}}.")
    cell = []
    for number, edges in enumerate(nodes):
        for edge in edges:
            if not isinstance(edge, dict):
                raise BadInputError(f"{source}, node {number}: {edge!r} is not {{input, op}}.")
            check_keys(edge, required=["input", "op"], source=f"{source}, node {number}")
            if isinstance(edge["input"], bool) or not isinstance(edge["input"], int):
                raise BadInputError(f"{source}, node {number}: input {edge['input']!r} is not a whole number.")
        cell.append(tuple(NodeEdge(edge["input"], edge["op"]) for edge in edges))
    return tuple(cell)


def _path_from_list(path: Sequence[Any], source: str) -> Path:
    if not isinstance(path, list):
        raise BadInputError(f"{source} is {path!r}, expected a list of edge kinds.")
    for kind in path:
        if kind not in EDGE_KINDS:
            raise BadInputError(f"{source}: unknown edge kind {kind!r}.", hint=f"kinds: {', '.join(EDGE_KINDS)}.")
    return tuple(path)
