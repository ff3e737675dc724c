"""The command `segment-cine`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from bedside.cine import COLUMNS, CineResult, segment_phases
from bedside.look_option import look_option
from bedside.overlay_chart import Story
from bedside.overlay_file import SUFFIXES, write_overlay
from bedside.pipeline import FramePipeline
from bedside.plausibility import implausible_cine
from bedside.quality import doubts
from bedside.summary import write_summary
from bedside.volumes import ejection_words, function, volumes_ml
from cinert.backends import get_backend
from cinert.bundle import Bundle
from cinert.cli import FiniteRange, command, console, engine_options, progress_bar, say_notes, series_option, share
from cinert.data.cine import open_cine
from cinert.data.nifti import Cine, write_mask
from cinert.device_lock import device_of
from cinert.environment import default_threads, device_name, fingerprint
from cinert.errors import BadInputError, VerdictError
from cinert.files import check_writable, write_json
from cinert.provenance import provenance_words
from cinert.trust.opening import open_trusted, trust_option

SCHEMA, VERSION = "cinert.cine-report", 1
EXAMPLES = """
segment-cine bundle cine.nii.gz -o mask.nii.gz
segment-cine bundle cine.nii.gz -o mask.nii.gz --overlay overlay.gif --report cine.json --budget-ms 50
segment-cine bundle cine.nii.gz -o mask.nii.gz --overlay overlay.mp4 --plot summary.png
segment-cine bundle dicom/ -o mask.nii.gz
segment-cine bundle exam/ --series 5 -o mask.nii.gz
segment-cine bundle dicom/ -o mask.nii.gz --dicom-seg seg/
"""

_STAGE_WORDS = {
    "localise": "localiser",
    "preprocess": "preprocessing",
    "engine": "engine",
    "inverse": "inverse mapping",
    "quality": "plausibility, quality score",
}


@command("segment-cine", examples=EXAMPLES)
@click.argument("bundle_path", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.argument("cine_path", metavar="CINE", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Mask to write, on the cine's own grid."
)
@series_option()
@click.option(
    "--overlay", type=click.Path(path_type=Path), help="Moving picture of the beating heart to write, .gif or .mp4."
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    help="Still PNG to write: base, middle and apex at ED and ES, curves, figures.",
)
@click.option("--report", type=click.Path(path_type=Path), help="JSON to write: latency, volumes, ejection fractions.")
@click.option(
    "--dicom-seg",
    type=click.Path(path_type=Path),
    help="New folder for DICOM Segmentations, one per phase; CINE has to be a DICOM series.",
)
@click.option(
    "--budget-ms", default=50.0, type=FiniteRange(min=0, min_open=True), help="Frame in to mask out, at most."
)
@click.option("--repeat", default=1, type=click.IntRange(min=1), help="Passes through the cine, for more samples.")
@click.option(
    "--force",
    is_flag=True,
    help="Take masks that cannot be a heart: write DICOM Segmentations of them too, and end with exit code 0. They are"
    " called unsure all the same.",
)
@look_option()
@trust_option()
@engine_options()
def segment_cine(
    bundle_path: Path,
    cine_path: Path,
    output: Path,
    series: tuple[str, ...],
    overlay: Path | None,
    plot: Path | None,
    report: Path | None,
    dicom_seg: Path | None,
    budget_ms: float,
    repeat: int,
    force: bool,
    look_frames: int,
    trust: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Segment a cine frame by frame, as it would arrive, and say how long each frame took.

    CINE is a NIfTI file, 4D or of one phase, or the folder of a DICOM series. The mask is a NIfTI on the cine's grid;
    classes are 0 background, 1 RV, 2 MYO, 3 LV. Latency is frame in to mask out: preprocessing, engine and the way back
    to the stored grid. A missed budget is shown; it is no error here.

    Masks that cannot be a heart are `unsure`: page, overlay and report say why, no DICOM Segmentation is written, and
    the exit code is 1 (docs/quality.md). --force takes them.
    """
    _check_outputs(
        cine_path,
        {
            "-o": (output, (".nii", ".nii.gz")),
            "--overlay": (overlay, SUFFIXES),
            "--plot": (plot, (".png",)),
            "--report": (report, (".json",)),
        },
    )
    bundle = open_trusted(bundle_path, trust)
    archive = None
    if dicom_seg is not None:
        from bedside.archive import SegArchive

        archive = SegArchive(dicom_seg, cine_path, series)
    cine = open_cine(cine_path, series)
    say_notes([*cine.notes, *(archive.notes if archive else ())])
    share(device_of(get_backend(bundle.backend), device))
    threads = threads or default_threads()
    with (
        FramePipeline.from_bundle(bundle, device=device, threads=threads, look_frames=look_frames) as pipeline,
        progress_bar() as progress,
    ):
        console.print(f"bundle {bundle.digest[:8]}, {provenance_words(bundle.manifest.provenance)}", markup=False)
        task = progress.add_task("segmenting", total=cine.image.shape[3] * repeat)
        result = segment_phases(pipeline, cine, repeat=repeat, on_frame=lambda: progress.advance(task))
    where = fingerprint(get_backend(bundle.backend), device=device, threads=threads, precision=bundle.precision)
    write_mask(output, result.mask, like=cine.header)
    document = _document(bundle, cine_path, cine, result, budget_ms, where)
    unsure = document["unsure"]
    archived = archive is not None and (force or not unsure)
    if archive is not None and archived:
        archive.write(
            result.mask, bundle=bundle.digest, network=provenance_words(bundle.manifest.provenance), unsure=unsure
        )
    if report is not None:
        write_json(report, document)
    _print(document, device_name(where))
    story = Story(
        title=f"{bundle.backend} {bundle.precision} on {where['device']['name']}, bundle {bundle.digest[:8]},"
        f" {provenance_words(bundle.manifest.provenance)}",
        latency_ms=result.stages_ms[: result.mask.shape[3], -1].tolist(),
        budget_ms=budget_ms,
        volumes_ml=document["volumes_ml"],
        function=document["function"],
        time_step_ms=cine.time_step_ms,
        unsure=unsure,
        unsure_phases=[frame["unsure"] for frame in document["frames"][: result.mask.shape[3]]],
    )
    if overlay is not None:
        write_overlay(overlay, cine, result.mask, story)
    if plot is not None:
        write_summary(plot, cine, result.mask, story, source=_source(cine_path, cine))
    written = [str(path) for path in (output, overlay, plot, report, dicom_seg if archived else None) if path]
    console.print(f"wrote {', '.join(written)}", markup=False)
    if unsure and not force:
        kept_back = "" if archive is None else "no DICOM Segmentation was written, and "
        raise VerdictError(
            f"the masks are unsure, {unsure}; {kept_back}no figure of them is to be relied on.",
            hint="look at --overlay; --force takes them as they are.",
        )


def _source(cine_path: Path, cine: Cine) -> str:
    x, y, z, phases = cine.image.shape
    step = "" if cine.time_step_ms is None else f", {cine.time_step_ms:.1f} ms apart"
    counted = "one phase" if phases == 1 else f"{phases} phases"
    return f"{cine_path.resolve().name}: {x} x {y} x {z} voxels, {counted}{step}"


def _check_outputs(cine_path: Path, outputs: dict[str, tuple[Path | None, tuple[str, ...]]]) -> None:
    taken = {cine_path.resolve(): "the cine"}
    for option, (path, suffixes) in outputs.items():
        if path is None:
            continue
        if not path.name.endswith(suffixes):
            raise BadInputError(f"{option} is {path}; its name has to end in {' or '.join(suffixes)}.")
        if path.is_dir():
            raise BadInputError(f"cannot write {path}: it is a folder.")
        if path.resolve() in taken:
            raise BadInputError(f"{option} {path} would overwrite {taken[path.resolve()]}.")
        taken[path.resolve()] = option
        check_writable(path)


def _document(
    bundle: Bundle, cine_path: Path, cine: Cine, result: CineResult, budget_ms: float, where: dict[str, Any]
) -> dict[str, Any]:
    volumes = volumes_ml(result.mask, cine.geometry)
    heart, phases, provenance = function(volumes), result.mask.shape[3], bundle.manifest.provenance
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "bundle": {"digest": bundle.digest, "arch": bundle.arch.digest},
        "provenance": None if provenance is None else provenance.to_dict(),
        "cine": {"file": cine_path.name, "shape": list(cine.image.shape), "time_step_ms": cine.time_step_ms},
        "latency": result.latency(budget_ms),
        "frames": [
            {
                "phase": number % cine.image.shape[3],
                **{f"{s}_ms": float(v) for s, v in zip(COLUMNS, row, strict=True)},
                "quality": None if quality is None else quality.score,
                "unsure": doubts(quality, implausible),
            }
            for number, (row, quality, implausible) in enumerate(
                zip(result.stages_ms, result.quality, result.implausible, strict=True)
            )
        ],
        "volumes_ml": volumes,
        "function": heart,
        "unsure": implausible_cine(result.implausible[:phases], volumes, heart, cine.geometry, bundle.findable),
        "fingerprint": where,
    }


def _print(document: dict[str, Any], device: str) -> None:
    latency, heart, frames = document["latency"], document["function"], document["frames"]
    console.print(
        f"{latency['frames']} {'frame' if latency['frames'] == 1 else 'frames'} on {device}, after"
        f" {latency['warmup_frames']} warm-up frames that are not counted",
        markup=False,
    )
    table = Table("frame in to mask out", "ms", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for words, key in {"p50": "p50_ms", "p99": "p99_ms", "worst": "worst_ms"}.items():
        table.add_row(words, f"{latency[key]:.1f}")
    for stage, words in _STAGE_WORDS.items():
        table.add_row(f"  {words} (p50)", f"{latency[f'{stage}_p50_ms']:.1f}")
    table.add_row(f"misses of {latency['budget_ms']:g} ms", f"{latency['misses']} of {latency['frames']}")
    console.print(table)
    if latency["frames"] < 100:
        console.print("With fewer than 100 frames p99 is about the worst; bench-engine gives the proof.")
    if frames[0]["quality"] is None:
        console.print("No quality score: calibrate-quality writes one into the bundle.")
    else:
        unsure = {frame["phase"] + 1: frame["unsure"] for frame in frames if frame["unsure"]}
        lowest = min(frame["quality"] for frame in frames)
        console.print(f"quality score {lowest:.2f} or more; unsure in {len(unsure)} phases", markup=False)
        for phase, reason in unsure.items():
            console.print(f"  phase {phase}: {reason}", markup=False)
    for name in ("lv", "rv"):
        side, phases_ml = heart[name], document["volumes_ml"][name]
        lost = [str(phase + 1) for phase, ml in enumerate(phases_ml) if ml == 0]
        fraction = ejection_words(name, heart, document["volumes_ml"])
        if lost and side["ef_percent"] is None:
            fraction += f" in phase {', '.join(lost)}"
        figures = f"EDV {side['edv_ml']:.0f} ml  ESV {side['esv_ml']:.0f} ml"
        if len(phases_ml) == 1:
            fraction, figures = "no EF, one phase", "not found" if lost else f"{side['edv_ml']:.0f} ml"
        console.print(f"{name.upper()}  {figures}  {fraction}")
    if document["unsure"]:
        console.print(f"UNSURE, {document['unsure']}", markup=False)
