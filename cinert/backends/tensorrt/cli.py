"""`cinert layers`: what TensorRT made of a network, layer by layer."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from cinert.backends.tensorrt.inspection import LAYERS_CSV, LAYERS_JSON, write_layers
from cinert.backends.tensorrt.runner import TensorRtRunner
from cinert.cli import command, console, reserve, wait_option
from cinert.errors import BadInputError
from cinert.files import check_writable
from cinert.trust.opening import open_trusted, trust_option

EXAMPLES = """
cinert layers runs/demo/bundle -o runs/demo/layers
"""
_SHOWN = 10


@command("layers", examples=EXAMPLES)
@click.argument("folder", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
@click.option("--device", default="auto", metavar="auto|cuda:N", help="GPU that the engine runs on.")
@click.option("--runs", default=50, type=click.IntRange(min=1), help="Executions behind each median.")
@trust_option()
@wait_option()
def layers(*, folder: Path, output: Path, device: str, runs: int, trust: Path | None, wait: bool) -> None:
    """Time every layer of a TensorRT engine (layers.csv), and write what its inspector says (layers.json).

    The profiler stops between layers, so that their sum is more than the engine takes as a whole: read the shares.
    """
    for name in (LAYERS_CSV, LAYERS_JSON):
        check_writable(output / name)
    bundle = open_trusted(folder, trust)
    if not bundle.backend.startswith("trt"):
        raise BadInputError(
            f"{folder} holds an engine of {bundle.backend}: layers are known of TensorRT engines alone.",
            hint="export-engine --backend trt.",
        )
    with bundle.load_runner(device) as runner:
        assert isinstance(runner, TensorRtRunner)
        reserve(device if ":" in device else "cuda:0", "measure", wait=wait)
        times_ms = write_layers(runner, output, runs=runs)
    total = sum(ms for _, ms in times_ms)
    table = Table(title=f"The {min(_SHOWN, len(times_ms))} longest of {len(times_ms)} layers, {total:.2f} ms in all")
    table.add_column("layer", overflow="fold")
    for column in ("ms", "share"):
        table.add_column(column, justify="right")
    for name, ms in sorted(times_ms, key=lambda row: -row[1])[:_SHOWN]:
        table.add_row(name, f"{ms:.3f}", f"{ms / total:.0%}")
    console.print(table)
    console.print(f"wrote {output / LAYERS_CSV} and {output / LAYERS_JSON}", markup=False)
