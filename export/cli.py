"""The command `export-engine`."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import click
from rich.table import Table

from cinert.arch import load_arch
from cinert.backends import BACKENDS, Precision, resolve_backend
from cinert.bundle import Bundle, check_bundle_target
from cinert.cli import command, console, data_option, progress_bar
from cinert.environment import default_threads, device_name
from export.engine import export_bundle, require_gate, spec_of
from export.localiser import find_localiser, load_trained_localiser
from export.parity import random_images, real_images
from export.pricing import load_matching_lut, price
from export.weights import find_weights, load_trained

_INPUTS = {"random": "random inputs", "frames": "real frames"}
EXAMPLES = """
export-engine arch.yaml
export-engine runs/demo/arch.yaml --lut runs/demo/lut.json --data phantom -o runs/demo/bundle
export-engine arch.yaml --weights weights.safetensors --backend ort -o bundle-ort
"""


@command("export-engine", examples=EXAMPLES)
@click.argument("arch_path", metavar="ARCH.yaml", type=click.Path(path_type=Path))
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Trained weights. [default: weights.safetensors beside ARCH.yaml]",
)
@click.option(
    "--localiser",
    "localiser_path",
    type=click.Path(path_type=Path),
    help="Trained localiser, or 'none': crop on the image's centre. [default: localiser.safetensors beside the"
    " weights, where there is one]",
)
@click.option("--backend", default="auto", type=click.Choice(["auto", *BACKENDS]), help="'auto': the fastest here.")
@click.option("--precision", default="fp32", type=click.Choice(get_args(Precision)), help="Precision of the engine.")
@click.option("--device", default="auto", metavar="auto|cpu|cuda:N", help="Device that the engine is built for.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads. [default: the physical cores that it may use]"
)
@click.option(
    "--lut", "lut_path", type=click.Path(path_type=Path), help="LUT of the same back end: its estimate is stored."
)
@data_option()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Bundle to write. [default: bundle/ beside ARCH.yaml]"
)
def export_engine(
    arch_path: Path,
    weights: Path | None,
    localiser_path: Path | None,
    backend: str,
    precision: str,
    device: str,
    threads: int | None,
    lut_path: Path | None,
    data: Path | None,
    output: Path | None,
) -> None:
    """Build an engine, hold it against PyTorch, and write a bundle with everything that the bedside needs.

    The bundle is written only if the engine's logits agree with PyTorch's to 1e-3 (relative, fp32) on random inputs
    and, with --data, on real frames; otherwise the exit code is 1. Every file is pinned by its SHA-256.
    """
    chosen_precision = cast("Precision", precision)
    engine_backend = resolve_backend(backend, device, chosen_precision)
    require_gate(chosen_precision)
    arch = load_arch(arch_path)
    folder = output if output is not None else arch_path.parent / "bundle"
    check_bundle_target(folder)
    lut = (
        None
        if lut_path is None
        else load_matching_lut(lut_path, backend=engine_backend.name, precision=chosen_precision)
    )
    pricing = None if lut is None else price(arch, lut)
    weights = find_weights(arch_path, weights)
    trained = load_trained(arch, weights)
    localiser_path = None if str(localiser_path) == "none" else find_localiser(weights, localiser_path)
    localiser = None if localiser_path is None else load_trained_localiser(localiser_path)
    spec = spec_of(arch)
    images = {"random": random_images((1, arch.grid.in_channels, *spec.shape_DHW))}
    if data is not None:
        images["frames"] = real_images(data, spec)
    with progress_bar() as progress:
        progress.add_task(f"building for {engine_backend.name}", total=None)
        bundle = export_bundle(
            folder,
            arch=arch,
            trained=trained,
            backend=engine_backend,
            precision=chosen_precision,
            device=device,
            threads=threads or default_threads(),
            images=images,
            localiser=localiser,
            pricing=pricing,
        )
    _print_summary(bundle)


def _print_summary(bundle: Bundle) -> None:
    manifest = bundle.manifest
    table = Table(show_header=False, box=None, pad_edge=False)
    inputs = " and ".join(f"{count} {_INPUTS[kind]}" for kind, count in manifest.parity.inputs.items())
    table.add_row("engine", f"{', '.join(manifest.engine)} ({_mib(bundle)})")
    table.add_row("device", device_name(manifest.fingerprint))
    table.add_row(
        "parity", f"{manifest.parity.relative_logits:.1e} of {manifest.parity.tolerance:g} (inputs compared: {inputs})"
    )
    if manifest.estimate is not None and manifest.lut is not None:
        low, high = manifest.estimate["low_ms"], manifest.estimate["high_ms"]
        table.add_row(
            "estimate", f"{manifest.estimate['ms']:.1f} ms [{low:.1f}, {high:.1f}] on {manifest.lut['device']}"
        )
    else:
        table.add_row("estimate", "none (no --lut)")
    table.add_row(
        "crop", "on the heart, by its localiser" if bundle.localiser else "on the image's centre (no localiser)"
    )
    seen = manifest.seen_patients
    table.add_row("patients", "unknown: the weights do not say which they saw" if seen is None else f"{len(seen)} seen")
    console.print(table)
    console.print(f"wrote {bundle.folder}; next: bench-engine {bundle.folder}", markup=False)


def _mib(bundle: Bundle) -> str:
    return f"{sum(map(len, bundle.engine.files.values())) / 2**20:.1f} MiB"
