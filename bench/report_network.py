"""Sections of a report on the network: what was found, what was priced, and where its time goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bench.report_document import Block, Paragraph, Table, Words, code, number, outcome, strong
from bench.report_pictures import save_estimates_chart, save_part_chart
from bench.report_records import Records
from bench.report_run import Run
from cinert.arch import Arch, Searched
from cinert.paths import CELL_KINDS, CellKind
from cinert.quiet import BUSY, busy_sentence
from cinert.ushape.arch import UShapeArch

if TYPE_CHECKING:
    from latency.lut import Lut

_ESTIMATORS = {
    "cross_validated": "prices learned in context, on networks held out of the fit",
    "in_sample": "the same, on the networks of the fit",
    "raw_sum_of_isolated": "sum of parts timed alone",
}


def network_section(run: Run, records: Records) -> list[Block]:
    """Draw the architecture and its cells, and hold its estimate against the budget of the search."""
    arch = records.arch
    if arch is None:
        return []
    size = "x".join(map(str, arch.grid.input_shape_DHW))
    if isinstance(arch, UShapeArch):
        return _levels(run, arch, size) + _estimate(run, arch.estimate, arch.provenance)
    if not isinstance(arch, Arch):
        return [Paragraph((code(arch.digest), f", a baseline ({arch.kind}), input {size}: nothing was searched."))]
    from search.draw import draw_arch  # noqa: PLC0415 - slow to import: matplotlib

    blocks: list[Block] = [
        Paragraph(
            (
                code(arch.digest),
                f" in the space {arch.space.name}: {arch.space.layers} layers, {arch.space.scales} scales, input"
                f" {size}; {len(arch.paths)} paths whose union has {len(arch.edges)} edges.",
            )
        ),
        run.draw(
            "network.png",
            "The network on the grid of layers and scales, and its cells: pre is the preprocessing, cat the"
            " concatenation of the nodes.",
            lambda path: draw_arch(path, arch, title=f"{arch.space.name} {arch.digest}"),
        ),
        Table(["path", "edges"], [[str(n), " ".join(path)] for n, path in enumerate(arch.paths, 1)], "ll"),
        Table(["cell", "nodes"], [[kind, _cell_words(arch, kind)] for kind in CELL_KINDS if kind in arch.cells], "ll"),
    ]
    return blocks + _estimate(run, arch.estimate, arch.provenance)


def _levels(run: Run, arch: UShapeArch, size: str) -> list[Block]:
    from search.draw_ushape import draw_ushape  # noqa: PLC0415 - slow to import: matplotlib

    shape = arch.shape
    spacing = " x ".join(f"{step:g}" for step in arch.spacing_mm)
    words = (
        f" in the space {arch.space.name}: {len(shape.widths)} levels, input {size} voxels of {spacing} mm, stem"
        f" {_size(shape.stem_kernel)} of stride {_size(shape.stem_stride)}."
    )
    rows: list[list[Words]] = [
        [
            str(level),
            _size(voxels),
            str(width),
            ", ".join(shape.encoder[level]) or "-",
            (", ".join(shape.decoder[level]) or "-") if level < len(shape.decoder) else "",
        ]
        for level, (voxels, width) in enumerate(zip(shape.shapes_DHW(arch.input_shape_DHW), shape.widths, strict=True))
    ]
    header = ["level", "voxels", "channels", "blocks on the way down", "blocks on the way up"]
    picture = run.draw(
        "network.png",
        "The network's levels, finest first: the way down, the way up, and what is joined.",
        lambda path: draw_ushape(path, arch, title=f"{arch.space.name} {arch.digest}"),
    )
    return [Paragraph((code(arch.digest), words)), picture, Table(header, rows, "lrrll")]


def _size(extent: Iterable[int]) -> str:
    return "x".join(map(str, extent))


def _cell_words(arch: Arch, kind: CellKind) -> str:
    nodes = []
    for position, edges in enumerate(arch.cells[kind], start=1):
        sources = [f"{edge.op}({'pre' if edge.input == 0 else edge.input})" for edge in edges]
        nodes.append(f"{position}: {' + '.join(sources) or 'empty'}")
    return "; ".join(nodes)


def _estimate(run: Run, estimate: Mapping[str, Any] | None, provenance: Mapping[str, Any]) -> list[Block]:
    if estimate is None:
        run.missing.append((code("arch.yaml"), ": no estimate; ", code("nas-search --lut"), " writes one."))
        return []
    ms, budget = float(estimate["ms"]), provenance.get("budget_ms")
    words = (
        f"Estimate: {ms:.2f} ms [{float(estimate['low_ms']):.2f}, {float(estimate['high_ms']):.2f}],"
        f" {float(estimate['throughput_fps']):.1f} frames/s, by LUT {estimate.get('lut', 'not named')} of"
        f" {estimate.get('device', 'a device not named')}.{busy_sentence(bool(estimate.get('busy')))}"
    )
    if budget is not None:
        figures = f"{ms:.2f} ms of {float(budget):g} ms{f', by a {BUSY} LUT' if estimate.get('busy') else ''}"
        run.judge(
            "search", "the search's estimate is within its budget", outcome(ms <= float(budget)), figures, "arch.yaml"
        )
    return [Paragraph(words)]


def lut_section(run: Run, records: Records) -> list[Block]:
    """Show what each part costs on the device, how far estimates can be trusted, and where the network's time goes."""
    lut = records.lut
    if lut is None:
        return []
    from latency.draw import draw_lut  # noqa: PLC0415 - slow to import: torch

    figures = lut.prices.report.get("figures", {})
    networks = lut.prices.report.get("networks", [])
    rows: list[list[Words]] = [
        [label, *(f"{figures[key][name]:.0%}" for name in ("within_5", "within_10", "mape", "worst"))]
        for key, label in _ESTIMATORS.items()
        if key in figures
    ]
    blocks: list[Block] = [
        Paragraph(
            (
                f"Measured on {lut.title}, {lut.created}: {len(lut.rows)} parts alone, and {len(networks)}"
                f" networks of the space {lut.space.name} whole, from which each part's price inside a network is"
                " learned (LUT ",
                code(lut.id),
                ").",
            )
        ),
        run.draw(
            "lut.png",
            f"Every part timed alone ({lut.machine}), its price inside a network and, where the roofline was measured,"
            " the least time that memory and arithmetic of the device allow.",
            lambda path: draw_lut(path, lut),
        ),
    ]
    if (terms := lut.prices.terms) is not None:
        blocks_of = terms.device.rounding
        cache_mib = terms.device.cache_mib
        cached = "" if cache_mib is None else f", and what a tensor has beyond {cache_mib:g} MiB costs more"
        shared = "of each grid's own" if terms.own else "that all grids share"
        words = (
            f"A part's price is a function of its channels, with terms {shared}; the engine computes channels in and"
            f" out in blocks of {blocks_of.channels_in} and {blocks_of.channels_out}{cached}."
        )
        blocks.append(Paragraph(words))
    if records.config is not None and records.config["lut"]["id"] != lut.id:
        blocks.insert(1, Paragraph(strong(f"The search read another table: LUT {records.config['lut']['id']}.")))
    if lut.busy:
        disturbed = f"In {lut.load.disturbed:.0%} of the visits something else used the machine."
        blocks.insert(1, Paragraph(strong(f"{disturbed}{busy_sentence(busy=True)}")))
    if rows:
        blocks.append(
            Table(["how a network is estimated", "within 5 %", "within 10 %", "mean error", "worst"], rows, "lrrrr")
        )
    if networks:
        blocks.append(
            run.draw(
                "estimates.png",
                f"Estimates of networks held out of the fit, over what they took ({lut.machine}).",
                lambda path: save_estimates_chart(
                    path, [item["quiet_ms"] for item in networks], [item["held_out_ms"] for item in networks]
                ),
            )
        )
    if isinstance(records.arch, (Arch, UShapeArch)):
        blocks.append(_where_time_goes(run, lut, records.arch))
    return blocks


def _where_time_goes(run: Run, lut: Lut, arch: Searched) -> Block:
    from latency.estimate import estimate  # noqa: PLC0415 - slow to import: torch

    found = estimate(arch, lut)
    return run.draw(
        "parts.png",
        f"The parts of this network that cost most, of {number(found.ms, 1)} ms estimated ({lut.machine}).",
        lambda path: save_part_chart(path, found.parts),
    )
