"""The command `export-engine`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

import click
from rich.table import Table

from cinert.arch import load_arch
from cinert.backends import BACKENDS, Precision, resolve_backend
from cinert.bundle import Bundle
from cinert.bundle_manifest import Parity
from cinert.bundle_write import check_bundle_target
from cinert.cli import command, console, data_option, progress_bar
from cinert.data.dataset import Sample
from cinert.data.localiser import VIEW
from cinert.environment import default_threads, device_name
from cinert.files import check_output_file
from cinert.open_recon import write_open_recon
from cinert.provenance import provenance_words
from cinert.quiet import BUSY
from cinert.tensorrt_options import builder_options, configure
from export.calibration import check_calibration, load_calibration
from export.dice_gate import labelled_frames
from export.engine import EngineTarget, Trials, export_bundle, spec_of
from export.localiser import find_localiser, load_trained_localiser
from export.parity import random_images, real_images
from export.pricing import load_matching_lut, price
from export.triton import check_triton, write_triton
from export.weights import find_weights, load_trained

_INPUTS = {"random": "random inputs", "frames": "frames of the data"}
EXAMPLES = """
export-engine arch.yaml
export-engine runs/demo/arch.yaml --lut runs/demo/lut.json --data phantom -o runs/demo/bundle
export-engine arch.yaml --weights weights.safetensors --backend ort -o bundle-ort
export-engine arch.yaml --backend trt --precision fp16 --data acdc --triton /srv/triton/models
export-engine arch.yaml --backend trt-rtx --precision fp16 --compute-capability 8.6,8.9,12.0
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
@click.option(
    "--calibration", type=click.Path(path_type=Path), help="With int8: folder of patients to take the ranges from."
)
@click.option(
    "--compute-capability",
    metavar="8.6,8.9,...",
    help="GPUs that a TensorRT-RTX engine is built for, with or without one here. [default: the GPU here]",
)
@builder_options
@click.option("--device", default="auto", metavar="auto|cpu|cuda:N", help="Device that the engine is built for.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads. [default: the physical cores that it may use]"
)
@click.option(
    "--lut", "lut_path", type=click.Path(path_type=Path), help="LUT of the same back end: its estimate is stored."
)
@data_option()
@click.option(
    "--open-recon",
    type=click.Path(path_type=Path),
    help="Describe the bundle's server for Open Recon, as JSON.",
)
@click.option(
    "--triton",
    type=click.Path(path_type=Path),
    metavar="REPO",
    help="Write the network into this model repository of a Triton server too; with --backend ort or trt.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Bundle to write. [default: bundle/ beside ARCH.yaml]"
)
def export_engine(
    arch_path: Path,
    weights: Path | None,
    localiser_path: Path | None,
    backend: str,
    precision: str,
    calibration: Path | None,
    device: str,
    threads: int | None,
    lut_path: Path | None,
    data: Path | None,
    open_recon: Path | None,
    triton: Path | None,
    output: Path | None,
    **tensorrt: Any,
) -> None:
    """Build an engine, hold it against PyTorch, and write a bundle with everything that the bedside needs.

    The bundle is written only if the engine's logits agree with PyTorch's to 1e-3 (relative, fp32) on random inputs
    and, with --data, on its frames; below fp32, if its Dice on --data is PyTorch's, less 0.002 at most (int8 0.01).
    Otherwise the exit code is 1. An engine for another machine is built without that; its manifest says so. Every
    file is pinned by its SHA-256.
    """
    chosen_precision = cast("Precision", precision)
    engine_backend = resolve_backend(backend, device, chosen_precision, to_build=True)
    configure(engine_backend, tensorrt)
    check_calibration(chosen_precision, calibration)
    arch = load_arch(arch_path)
    folder = output if output is not None else arch_path.parent / "bundle"
    check_bundle_target(folder)
    if open_recon is not None:
        check_output_file(open_recon)
    if triton is not None:
        check_triton(triton, engine_backend.name)
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
    frames: list[Sample] = []
    if data is not None and chosen_precision == "fp32":
        images["frames"] = real_images(data, spec)
    elif data is not None:
        frames = labelled_frames(data, spec)
    with progress_bar() as progress:
        progress.add_task(f"building for {engine_backend.name}", total=None)
        bundle = export_bundle(
            folder,
            trained,
            EngineTarget(
                backend=engine_backend,
                precision=chosen_precision,
                device=device,
                threads=threads or default_threads(),
            ),
            Trials(
                images=images,
                frames=frames,
                calibration=(
                    None
                    if calibration is None
                    else load_calibration(calibration, spec, VIEW if localiser is None else localiser.network.view)
                ),
            ),
            localiser=localiser,
            pricing=pricing,
        )
    if open_recon is not None:
        write_open_recon(open_recon, bundle)
    if triton is not None:
        for model in write_triton(triton, bundle):
            console.print(f"wrote {model}", markup=False)
    _print_summary(bundle)


def _print_summary(bundle: Bundle) -> None:
    manifest = bundle.manifest
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("engine", f"{', '.join(manifest.engine)} ({_mib(bundle)})")
    build = bundle.engine.build
    if build:
        gpus = ", ".join(build["compute_capabilities"])
        table.add_row("built for", f"compute capability {gpus} by {build['library']} {build['version']}")
    table.add_row("built on" if build else "device", device_name(manifest.fingerprint))
    table.add_row("parity", _parity(manifest.parity))
    kept = sum(len(build.get("kept_in_fp32", ())) for build in manifest.build.values())
    if kept and manifest.precision != "fp32":
        table.add_row("in fp32", f"{kept} layers, listed in manifest.json with the reason")
    if manifest.estimate is not None and manifest.lut is not None:
        low, high = manifest.estimate["low_ms"], manifest.estimate["high_ms"]
        busy = f", {BUSY}" if manifest.lut.get("busy") else ""
        table.add_row(
            "estimate", f"{manifest.estimate['ms']:.1f} ms [{low:.1f}, {high:.1f}] on {manifest.lut['device']}{busy}"
        )
    else:
        table.add_row("estimate", "none (no --lut)")
    table.add_row(
        "crop", "on the heart, by its localiser" if bundle.localiser else "on the image's centre (no localiser)"
    )
    table.add_row("network", provenance_words(manifest.provenance))
    console.print(table)
    console.print(f"wrote {bundle.folder}; next: bench-engine {bundle.folder}", markup=False)


def _parity(parity: Parity) -> str:
    inputs = " and ".join(f"{count} {_INPUTS[kind]}" for kind, count in parity.inputs.items())
    if parity.relative_logits is None:
        return "not run: the engine is for another machine"
    if parity.dice_drop is not None:
        return f"Dice {-parity.dice_drop:+.4f}, {-parity.tolerance:g} at most (inputs compared: {inputs})"
    return f"{parity.relative_logits:.1e} of {parity.tolerance:g} (inputs compared: {inputs})"


def _mib(bundle: Bundle) -> str:
    return f"{sum(map(len, bundle.engine.files.values())) / 2**20:.1f} MiB"
