"""The tables of both papers as data: their rows, their numbers, and the network of ours that stands beside each.

Numbers are the papers'. Zeng 2020: Sec. 4.3, Table 2. Lu 2022: Sec. 3.2, Tables 1 and 2; its Fig. 2 draws the networks
of Table 2 among random ones. A network has the same name in every suite, so that it is trained once in a run folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.compare.recipes import Designed, Drawn, Recipe, Searched, Trained

MeanStd = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class PaperNumbers:
    """What a paper says of a network, on its own device and patients."""

    dice: Mapping[str, MeanStd]
    """Mean and spread by class, {rv, myo, lv, mean}."""
    latency_ms: float
    throughput_fps: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table."""

    title: str
    """In the paper's words."""
    network: str
    """Name in `NETWORKS`."""
    paper: PaperNumbers | None = None
    """None for a network that the paper's table does not have."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A table, or the figure."""

    name: str
    source: str
    conditions: str
    """Under which the paper's numbers were got."""
    rows: tuple[Row, ...]
    random: int = 0
    """Random networks to draw beside them, unless the user says otherwise."""


NETWORKS: dict[str, Recipe] = {
    "unet2d-d5-64": Designed(kind="unet2d", widths=(64, 128, 256, 512, 1024)),
    "unet2d-d3-16": Designed(kind="unet2d", widths=(16, 32, 64)),
    "unet3d-d4-32": Designed(kind="unet3d", widths=(32, 64, 128, 256)),
    "unet3d-d3-16": Designed(kind="unet3d", widths=(16, 32, 64)),
    "nas-unet": Designed(kind="nas-unet"),
    "ica-unet-n3": Designed(kind="ica-unet", components=3),
    "ica-unet-n4": Designed(kind="ica-unet", components=4),
    "bix-nas": Designed(kind="bix-nas"),
    "msnas-n4": Searched(method="msnas", paths=4),
    "zeng2020-n1": Searched(method="zeng2020", paths=1),
    "zeng2020-n2": Searched(method="zeng2020", paths=2),
    **{f"rtdnas-n{n}": Searched(method="rtdnas", paths=n) for n in (3, 5, 6, 7, 8)},
    **{f"rtdnas-dijkstra-n{n}": Searched(method="rtdnas", paths=n, decoder="dijkstra") for n in (3, 5, 7)},
    "cinert-n2": Searched(method="cinert", paths=2),
    "cinert-n2-best-of-4": Searched(method="cinert", paths=2, budgets=4),
    "cinert-n4": Searched(method="cinert", paths=4),
    "random-search": Trained(method="random", paths=4, batch_size=4),
    "evolution": Trained(method="evolution", paths=4, batch_size=4),
}

_OURS = (
    Row(title="CineRT, 2 paths", network="cinert-n2"),
    Row(title="CineRT, 2 paths, best of 4 budgets", network="cinert-n2-best-of-4"),
    Row(title="CineRT, 4 paths", network="cinert-n4"),
)


def _row(
    title: str,
    network: str,
    *,
    rv: MeanStd,
    myo: MeanStd,
    lv: MeanStd,
    mean: MeanStd,
    latency_ms: float,
    throughput_fps: float,
) -> Row:
    dice = {"rv": rv, "myo": myo, "lv": lv, "mean": mean}
    return Row(
        title=title,
        network=network,
        paper=PaperNumbers(dice=dice, latency_ms=latency_ms, throughput_fps=throughput_fps),
    )


_ZENG_TABLE_2 = (
    _row("U-net 2D (D5, IF=64)", "unet2d-d5-64", lv=(0.911, 0.026), rv=(0.865, 0.036), myo=(0.761, 0.039),
         mean=(0.846, 0.025), throughput_fps=16.1, latency_ms=62),
    _row("U-net 2D (D3, IF=16)", "unet2d-d3-16", lv=(0.767, 0.026), rv=(0.564, 0.071), myo=(0.738, 0.045),
         mean=(0.690, 0.036), throughput_fps=33.3, latency_ms=30),
    _row("U-net 3D (D4, IF=32)", "unet3d-d4-32", lv=(0.905, 0.027), rv=(0.855, 0.039), myo=(0.830, 0.044),
         mean=(0.863, 0.032), throughput_fps=6.4, latency_ms=157),
    _row("U-net 3D (D3, IF=16)", "unet3d-d3-16", lv=(0.886, 0.029), rv=(0.805, 0.059), myo=(0.790, 0.034),
         mean=(0.827, 0.033), throughput_fps=17.2, latency_ms=58),
    _row("MS-NAS 3D (n=4)", "msnas-n4", lv=(0.911, 0.030), rv=(0.873, 0.039), myo=(0.858, 0.033),
         mean=(0.880, 0.036), throughput_fps=7.2, latency_ms=139),
    _row("Zeng 2020 (n=2)", "zeng2020-n2", lv=(0.911, 0.029), rv=(0.865, 0.041), myo=(0.850, 0.033),
         mean=(0.875, 0.034), throughput_fps=22.2, latency_ms=45),
    _row("Zeng 2020 (n=1)", "zeng2020-n1", lv=(0.905, 0.030), rv=(0.856, 0.038), myo=(0.842, 0.033),
         mean=(0.867, 0.034), throughput_fps=25.6, latency_ms=39),
    # Sec. 4.3 names it among what the table compares; the table has no line for it.
    Row(title="NAS-UNet", network="nas-unet"),
)  # fmt: skip

_RTDNAS_7 = _row("RT-DNAS (N_l = 7)", "rtdnas-n7", rv=(0.925, 0.023), myo=(0.891, 0.019), lv=(0.950, 0.016),
                 mean=(0.922, 0.028), latency_ms=41, throughput_fps=28.9)  # fmt: skip

_LU_TABLE_1 = (
    _row("Dijkstra (N_l = 3)", "rtdnas-dijkstra-n3", rv=(0.865, 0.024), myo=(0.843, 0.021), lv=(0.877, 0.022),
         mean=(0.849, 0.032), latency_ms=27, throughput_fps=39.8),
    _row("Dijkstra (N_l = 5)", "rtdnas-dijkstra-n5", rv=(0.911, 0.033), myo=(0.881, 0.028), lv=(0.925, 0.019),
         mean=(0.905, 0.020), latency_ms=40, throughput_fps=32.0),
    _row("Dijkstra (N_l = 7)", "rtdnas-dijkstra-n7", rv=(0.928, 0.026), myo=(0.882, 0.017), lv=(0.943, 0.020),
         mean=(0.918, 0.032), latency_ms=48, throughput_fps=22.1),
    _row("Genetic (N_l = 3)", "rtdnas-n3", rv=(0.857, 0.034), myo=(0.843, 0.020), lv=(0.878, 0.015),
         mean=(0.859, 0.027), latency_ms=26, throughput_fps=40.4),
    _row("Genetic (N_l = 5)", "rtdnas-n5", rv=(0.910, 0.026), myo=(0.889, 0.039), lv=(0.932, 0.022),
         mean=(0.910, 0.031), latency_ms=35, throughput_fps=34.1),
    replace(_RTDNAS_7, title="Genetic (N_l = 7)"),
)  # fmt: skip

_LU_TABLE_2 = (
    _row("ICA-UNet (n=3)", "ica-unet-n3", rv=(0.900, 0.023), myo=(0.869, 0.027), lv=(0.934, 0.013),
         mean=(0.901, 0.017), latency_ms=35, throughput_fps=31.6),
    _row("ICA-UNet (n=4)", "ica-unet-n4", rv=(0.921, 0.017), myo=(0.888, 0.034), lv=(0.952, 0.011),
         mean=(0.920, 0.019), latency_ms=39, throughput_fps=28.3),
    # Lu 2022 does not say how many paths it kept; two were the best of Zeng 2020 within 50 ms.
    _row("HW-Aware NAS", "zeng2020-n2", rv=(0.922, 0.015), myo=(0.910, 0.042), lv=(0.958, 0.019),
         mean=(0.930, 0.020), latency_ms=52, throughput_fps=19.5),
    _row("BiX-NAS", "bix-nas", rv=(0.916, 0.021), myo=(0.908, 0.012), lv=(0.946, 0.033),
         mean=(0.923, 0.021), latency_ms=49, throughput_fps=20.1),
    _row("RT-DNAS (N_l = 6)", "rtdnas-n6", rv=(0.924, 0.010), myo=(0.890, 0.017), lv=(0.939, 0.030),
         mean=(0.918, 0.018), latency_ms=37, throughput_fps=31.8),
    _RTDNAS_7,
    _row("RT-DNAS (N_l = 8)", "rtdnas-n8", rv=(0.933, 0.018), myo=(0.902, 0.029), lv=(0.959, 0.011),
         mean=(0.931, 0.019), latency_ms=46, throughput_fps=23.4),
)  # fmt: skip

_ZENG = "GeForce GTX 1080, PyTorch; 5-fold cross-validation on the 100 training patients of ACDC"
_LU = "Tesla P100, CUDA; 5-fold cross-validation on 100 patients of ACDC, every frame labelled"

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            name="zeng2020-table2",
            source="Zeng et al., ICCAD 2020, Table 2",
            conditions=_ZENG,
            rows=(*_ZENG_TABLE_2, *_OURS),
        ),
        Suite(name="lu2022-table1", source="Lu et al., MICCAI 2022, Table 1", conditions=_LU, rows=_LU_TABLE_1),
        Suite(
            name="lu2022-table2",
            source="Lu et al., MICCAI 2022, Table 2",
            conditions=_LU,
            rows=(*_LU_TABLE_2, *_OURS),
        ),
        Suite(
            name="lu2022-fig2",
            source="Lu et al., MICCAI 2022, Fig. 2, with the numbers of Table 2",
            conditions=_LU,
            rows=(
                *_LU_TABLE_2,
                *_OURS,
                Row(title="Random search", network="random-search"),
                Row(title="Regularised evolution", network="evolution"),
            ),
            random=10,
        ),
    )
}


def random_networks(count: int) -> dict[str, Drawn]:
    """The first so many random networks, by name."""
    return {f"random-{seed:02d}": Drawn(seed=seed) for seed in range(count)}
