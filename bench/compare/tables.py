"""The table that `bench-compare` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from bench.compare.document import held_out
from bench.compare.markdown import number
from cinert.provenance import counted


def comparison_table(document: Mapping[str, Any]) -> Table:
    """A row per network: Dice, latency and throughput of ours, then the paper's own."""
    who = counted(*held_out(document))
    table = Table(title=f"{document['source']}, and ours: Dice on {who}", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("network", no_wrap=True)
    for name in ("Dice", "p50 ms", "p99 ms", "fps", "in time\n(others)", "paper:\nDice", "paper:\nms", "paper:\nfps"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in document["networks"]:
        ours, paper = entry["ours"], entry["paper"]
        latency = ours["latency"]
        table.add_row(
            entry["title"],
            number(ours["dice"], lambda dice: f"{dice['mean']['mean']:.3f}"),
            number(latency, lambda found: f"{found['p50_ms']:.2f}"),
            number(latency, lambda found: f"{found['p99_ms']:.2f}"),
            number(latency, lambda found: f"{found['throughput_fps']:.1f}"),
            _verdict(entry),
            number(paper, lambda found: f"{found['dice']['mean']['mean']:.3f}"),
            number(paper, lambda found: f"{found['latency_ms']:g}"),
            number(paper, lambda found: f"{found['throughput_fps']:g}"),
        )
    table.caption = f"others: CPU cores that other programs used meanwhile; the paper's: {document['paper_conditions']}"
    return table


def _verdict(entry: Mapping[str, Any]) -> str:
    """Whether it is in time, with the cores that others used meanwhile, or why that is not known."""
    if entry["state"] == "finished":
        latency = entry["ours"]["latency"]
        others = latency["others"]
        return ("yes" if latency["in_time"] else "no") + ("" if others is None else f" ({others['cpu_cores']:.1f})")
    return "open" if entry["state"] == "unfinished" else str(entry["state"])
