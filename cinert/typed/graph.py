"""What typing a graph gives: the graph, and what it leaves in fp32."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeptNode:
    """A node that stays in fp32."""

    node: str
    op: str
    reason: str


@dataclass(frozen=True, slots=True)
class TypedOnnx:
    """A graph whose element types are the precision; inputs and outputs stay float32."""

    data: bytes
    kept_in_fp32: tuple[KeptNode, ...]
