"""Sections of a report on what was priced, searched and trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.report_document import Run, table
from bench.report_pictures import save_estimates_chart, save_part_chart
from cinert.arch import Arch, load_arch
from cinert.architecture import Architecture
from cinert.files import read_json
from cinert.paths import CELL_KINDS

if TYPE_CHECKING:
    from latency.lut import Lut

PICTURE, CURVE = "arch.png", "training.png"


def lut_section(run: Run, lut: Lut | None, arch: Architecture | None) -> list[str]:
    """Describe the latency table and where the network's time goes."""
    if lut is None:
        return []
    figures = lut.prices.report.get("figures", {})
    networks = lut.prices.report.get("networks", [])
    lines = [
        f"Measured on {lut.device_name}, {lut.created}: {len(lut.rows)} parts alone, and {len(networks)} short networks"
        f" of the space `{lut.space.name}` whole, from which each part's price inside a network is learned"
        f" (LUT `{lut.id}`).",
        "",
        *table(
            ["how a network is estimated", "within 5 %", "within 10 %", "mean error", "worst"],
            [
                [label, *(f"{figures[key][name]:.0%}" for name in ("within_5", "within_10", "mape", "worst"))]
                for key, label in _ESTIMATORS.items()
                if key in figures
            ],
        ),
        "",
    ]
    if networks:
        save_estimates_chart(
            run.pictures / "estimates.png",
            [item["quiet_ms"] for item in networks],
            [item["held_out_ms"] for item in networks],
            title="networks held out of the fit",
        )
        lines += [run.picture(f"{run.picture_folder}/estimates.png", "Estimates of held-out networks"), ""]
    if isinstance(arch, Arch):
        lines += _where_time_goes(run, lut, arch)
    return lines


_ESTIMATORS = {
    "cross_validated": "prices learned in context, on networks held out of the fit",
    "in_sample": "the same, on the networks of the fit",
    "raw_sum_of_isolated": "sum of parts timed alone",
}


def _where_time_goes(run: Run, lut: Lut, arch: Arch) -> list[str]:
    # The LUT's reader is only needed where there is a LUT.
    from latency.estimate import estimate  # noqa: PLC0415

    found = estimate(arch, lut)
    save_part_chart(
        run.pictures / "parts.png", found.parts, title=f"where the network's estimated {found.ms:.1f} ms go"
    )
    return [run.picture(f"{run.picture_folder}/parts.png", "The most expensive parts of the network"), ""]


def search_section(run: Run, arch: Architecture | None) -> list[str]:
    """Describe the architecture, and its estimate against the budget of the search."""
    if arch is None:
        return []
    if not isinstance(arch, Arch):
        return [f"Architecture `{arch.digest}`, a baseline ({arch.kind}): nothing was searched.", ""]
    provenance, estimate = arch.provenance, arch.estimate
    lines = [
        f"Architecture `{arch.digest}` in the space `{arch.space.name}`: {arch.space.layers} layers,"
        f" {arch.space.scales} scales, input {'x'.join(map(str, arch.space.input_shape_DHW))};"
        f" {len(arch.paths)} paths whose union has {len(arch.edges)} edges.",
        "",
        *table(["path", "edges"], [[str(n), " ".join(path)] for n, path in enumerate(arch.paths, 1)], align="ll"),
        "",
        *table(
            ["cell", "nodes"],
            [[kind, _cell_words(arch, kind)] for kind in CELL_KINDS if kind in arch.cells],
            align="ll",
        ),
        "",
    ]
    if estimate is None:
        run.missing.append("`arch.yaml`: no estimate; `nas-search --lut` writes one.")
    else:
        budget = provenance.get("budget_ms")
        against = "" if budget is None else f", budget of the search {float(budget):g} ms"
        if budget is not None:
            within = float(estimate["ms"]) <= float(budget)
            figures = f"{float(estimate['ms']):.2f} ms of {float(budget):g} ms"
            run.verdicts.append(("the search's estimate is within its budget", within, figures))
        lines += [
            f"Estimate: {float(estimate['ms']):.2f} ms [{float(estimate['low_ms']):.2f},"
            f" {float(estimate['high_ms']):.2f}], {float(estimate['throughput_fps']):.1f} frames/s{against}"
            f" (LUT `{estimate.get('lut', '?')}`, {estimate.get('device', 'device not named')}).",
            "",
        ]
    if (run.folder / PICTURE).is_file():
        lines += [run.picture(PICTURE, "The network and its cells"), ""]
    else:
        run.missing.append(f"`{PICTURE}`, the picture of the network: not there; `nas-search` draws it.")
    return lines


def _cell_words(arch: Arch, kind: Any) -> str:
    nodes = []
    for position, edges in enumerate(arch.cells[kind], start=1):
        sources = [f"{edge.op}({'input' if edge.input == 0 else f'node {edge.input}'})" for edge in edges]
        nodes.append(f"{position}: {' + '.join(sources) or 'empty'}")
    return "; ".join(nodes)


def training_section(run: Run, metrics: Mapping[str, Any] | None) -> list[str]:
    """Show how training went."""
    if metrics is None:
        return []
    patients, validation = metrics["patients"], metrics["validation"]["mean"]
    words = {"rv": "RV", "myo": "MYO", "lv": "LV", "mean": "mean"}
    dice = "nobody was held out"
    if validation is not None:
        dice = ", ".join(f"{words[name]} {value:.3f}" for name, value in validation.items())
    rows = [
        ["epochs", f"{len(metrics['epochs'])} in {metrics['seconds']:.0f} s on {metrics['device']}"],
        ["patients", f"{patients['train']} to learn from, {patients['validation']} held out"],
        ["parameters", f"{metrics['parameters']:,}"],
        ["last loss", f"{metrics['epochs'][-1]['loss']:.4f}"],
        ["held-out Dice on the network's grid", dice],
        [
            "labelled voxels in the field of view",
            "{mean:.2%} on average, {worst:.2%} at worst".format_map(metrics["kept_share"]),
        ],
    ]
    lines = [*table(["", ""], rows, align="ll"), ""]
    if (run.folder / CURVE).is_file():
        return [*lines, run.picture(CURVE, "Loss and held-out Dice over the epochs"), ""]
    run.missing.append(f"`{CURVE}`, the training curve: not there; `train-arch` draws it.")
    return lines


def read_model(run: Run) -> tuple[Lut | None, Architecture | None, Mapping[str, Any] | None]:
    """Read lut.json, arch.yaml and metrics.json."""
    from latency.lut import load_lut  # noqa: PLC0415

    return (
        run.read("lut.json", "the latency table", "bench-ops -o RUN/lut.json", load_lut),
        run.read("arch.yaml", "the architecture", "nas-search --lut RUN/lut.json -o RUN", load_arch),
        run.read("metrics.json", "how training went", "train-arch RUN/arch.yaml -o RUN", _read_metrics),
    )


def _read_metrics(path: Any) -> dict[str, Any]:
    return read_json(path, "the training metrics")
