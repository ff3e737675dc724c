"""The stages of one network, each with the file that says that it is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from bedside.pipeline import FramePipeline
from bench.accuracy import accuracy_document, score_patients
from bench.compare.memory import engine_memory
from bench.compare.oneshot import found_ushape
from bench.compare.plan import plan_training, stored_plan
from bench.compare.recipes import OneShot, Recipe, Scaled, Searched, Trained
from bench.compare.scaled import scaled_design
from bench.compare.searches import found_arch, search_folder
from bench.compare.setting import NETWORKS, Setting
from bench.compare.twins import take_training, trained_twin
from bench.frames import synthetic_frames
from bench.gates import check_audit, parity_at_export
from bench.reference import find_reference
from bench.seen import refuse_seen, seen_among
from bench.stream import OnFrame, WallClock
from bench.verify import Plan, judge, measure, verify_document
from cinert.arch import Arch, load_arch, save_arch
from cinert.architecture import Architecture
from cinert.bundle import Bundle, open_bundle
from cinert.bundle_manifest import MANIFEST
from cinert.errors import BadInputError
from cinert.files import write_json
from cinert.progress import Advance
from cinert.ushape.arch import UShapeArch
from export.engine import EngineTarget, Trials, export_bundle
from export.localiser import load_trained_localiser
from export.parity import random_images
from export.pricing import price
from export.weights import load_trained
from search.localise import LocaliserSettings
from search.localise_run import ensure_localiser
from search.sources import NOTHING, Sources, read_sources
from search.train_run import run_training
from search.training import TrainingSettings

Stage = Literal["arch", "weights", "bundle", "accuracy", "verify"]
STAGES: tuple[Stage, ...] = get_args(Stage)
ARCH, WEIGHTS, BUNDLE, ACCURACY, VERIFY, MEMORY = (
    "arch.yaml",
    "weights.safetensors",
    "bundle",
    "accuracy.json",
    "verify.json",
    "memory.json",
)
_DONE: dict[Stage, str] = {
    "arch": ARCH,
    "weights": WEIGHTS,
    "bundle": f"{BUNDLE}/{MANIFEST}",
    "accuracy": ACCURACY,
    "verify": VERIFY,
}
_WARMUP = 20


@dataclass(frozen=True, kw_only=True)
class Job:
    """One network of a comparison."""

    name: str
    recipe: Recipe
    setting: Setting

    @property
    def seed(self) -> int:
        """Of its training."""
        return self.recipe.seed if isinstance(self.recipe, Scaled | OneShot) else self.setting.terms.seed

    @property
    def minutes(self) -> float:
        """Of its training: where networks are held against searched ones, a designed one gets those of both stages."""
        terms = self.setting.terms
        return terms.minutes + terms.search_minutes if isinstance(self.recipe, Scaled) else terms.minutes

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.setting.folder / NETWORKS / self.name

    def done(self, stage: Stage) -> bool:
        """Whether the stage has left its file; it is not made again."""
        return (self.folder / _DONE[stage]).exists()


def run_stage(stage: Stage, job: Job, show: Advance) -> None:
    """Do one stage; those before it are done.

    Raises:
        CineRTError: it failed; what the stage would have written is not there.
    """
    _STAGE[stage](job, show)


def _find(job: Job, show: Advance) -> None:
    recipe = job.recipe
    match recipe:
        case Searched() | Trained():
            arch: Architecture = found_arch(recipe, job.setting, show)
        case OneShot():
            arch = found_ushape(recipe, job.setting, show)
        case Scaled():
            arch = scaled_design(recipe, job.setting, show)
        case _:
            arch = recipe.build(job.setting.space)
    save_arch(job.folder / ARCH, arch)


def _arch(job: Job) -> Architecture:
    """Read arch.yaml, which the user may have put there instead of a search."""
    arch, space = load_arch(job.folder / ARCH), job.setting.space
    own = job.setting.own_grids
    if not own and (arch.grid.input_shape_DHW, arch.grid.spacing_mm) != (space.input_shape_DHW, space.spacing_mm):
        raise BadInputError(
            f"{job.folder / ARCH} reads {arch.grid.input_shape_DHW} voxels of {arch.grid.spacing_mm} mm, and the"
            f" comparison's space {space.name} {space.input_shape_DHW} of {space.spacing_mm} mm.",
            hint="networks are compared on one grid.",
        )
    return arch


def _refuse_seen(records: Sequence[Mapping[str, str]], job: Job, *, by: Path) -> None:
    seen = seen_among(job.setting.held_out, records, on_patient=lambda: None)
    refuse_seen(seen, by=by, hint="take one that was searched and trained on the comparison's fold.")


def _train(job: Job, show: Advance) -> None:
    setting, arch = job.setting, _arch(job)
    _refuse_seen(arch.provenance.get("seen_patients", []), job, by=job.folder / ARCH)
    if not isinstance(job.recipe, OneShot | Scaled) and (twin := trained_twin(job.folder, arch)) is not None:
        show(f"the same network as {twin.name}", 0, 1)
        take_training(twin, job.folder)
        return
    sources = _sources(job, arch)
    draft = TrainingSettings(
        seed=job.seed, deep_supervision=setting.terms.deep_supervision, init=sources.digests["init"]
    )
    show("timing a step of the training", 0, 1)
    plan = stored_plan(job.folder, lambda: plan_training(arch, setting, draft, minutes=job.minutes, sources=sources))
    run_training(
        arch,
        setting.data_on(arch.grid),
        dataclasses.replace(draft, epochs=plan.epochs),
        folder=job.folder,
        device=setting.device,
        # The Dice on the way there decides nothing, and its time would count.
        validate_every=plan.epochs,
        progress=lambda _, done, total: show("training", done, total),
        sources=sources,
    )


def _sources(job: Job, arch: Architecture) -> Sources:
    """What a training begins with: of a one-shot search its weights, of all others nothing."""
    if not isinstance(job.recipe, OneShot):
        return NOTHING
    folder = search_folder(job.recipe, job.setting)
    return read_sources(arch, init=folder, teacher=None, written=[job.folder / WEIGHTS])


def train_localiser(setting: Setting, show: Advance) -> None:
    """Train the localiser that all networks share, unless it is there.

    Raises:
        BadInputError: the run folder holds a localiser of other data or settings.
    """
    how = LocaliserSettings(steps=setting.terms.localiser_steps, seed=setting.terms.seed)
    ensure_localiser(setting.folder, setting.data_folder, setting.fold, how, setting.device, progress=show)


def _export(job: Job, show: Advance) -> None:
    show("exporting", 0, 1)
    setting, arch = job.setting, _arch(job)
    lut = setting.lut if setting.lut_is_of_here and isinstance(arch, Arch | UShapeArch) else None
    shape = (1, arch.grid.in_channels, *arch.grid.input_shape_DHW)
    export_bundle(
        job.folder / BUNDLE,
        load_trained(arch, job.folder / WEIGHTS),
        EngineTarget(
            backend=setting.backend,
            precision=setting.precision,
            device=setting.engine_device,
            threads=setting.threads,
        ),
        Trials(
            images={"random": random_images(shape), "frames": setting.parity_images(arch.grid)},
            frames=setting.parity_frames(arch.grid),
        ),
        localiser=load_trained_localiser(setting.localiser),
        pricing=None if lut is None else price(arch, lut),
    )


def _open(job: Job) -> tuple[Bundle, FramePipeline]:
    bundle = open_bundle(job.folder / BUNDLE)
    return bundle, FramePipeline.from_bundle(bundle, device=job.setting.engine_device, threads=job.setting.threads)


def _describe(bundle: Bundle, job: Job) -> dict[str, str]:
    # Relative, so that a run folder can be moved and its report shown to others.
    folder = str(bundle.folder.relative_to(job.setting.folder))
    return {"folder": folder, "digest": bundle.digest, "arch_digest": bundle.arch.digest}


def _score(job: Job, show: Advance) -> None:
    setting = job.setting
    bundle, pipeline = _open(job)
    if bundle.seen_patients is None:
        raise BadInputError(
            f"the weights in {job.folder} do not say which patients they saw.", hint="let bench-compare train them."
        )
    _refuse_seen(bundle.seen_patients, job, by=bundle.folder)
    total = sum(len(patient.frames) for patient in setting.held_out)
    with pipeline:
        frames = score_patients(pipeline, setting.held_out, on_frame=_counted("scoring", total, show))
    document = accuracy_document(
        frames, seen=[], fold=setting.fold, bundle=_describe(bundle, job), fingerprint=setting.fingerprint()
    )
    write_json(job.folder / ACCURACY, document)


def _measure(job: Job, show: Advance) -> None:
    setting, terms = job.setting, job.setting.terms
    show("measuring memory", 0, 1)
    memory = engine_memory(job.folder / BUNDLE, device=setting.engine_device, threads=setting.threads)
    write_json(job.folder / MEMORY, memory.to_dict())
    bundle, pipeline = _open(job)
    here, source = setting.fingerprint(), synthetic_frames()
    reference = find_reference(bundle, None, here, allow_foreign=False)
    plan = Plan(
        mode="burst",
        frames=terms.frames,
        budget_ms=terms.budget_ms,
        fps=terms.fps,
        idle_s=0.0,
        warmup=_WARMUP,
        threads=setting.threads,
    )
    with pipeline:
        measurement = measure(
            pipeline,
            source,
            plan,
            clock=WallClock(),
            progress=lambda what, total: _counted(f"measuring, {what}", total, show),
        )
        audit = check_audit(bundle, pipeline)
    estimate = None if reference is None else reference.values
    document = verify_document(
        measurement,
        plan,
        judge(measurement, plan, estimate),
        parity=parity_at_export(bundle),
        audit=audit,
        estimate=estimate,
        lut=None if reference is None else reference.to_dict(),
        fingerprint=here,
        bundle={**_describe(bundle, job), "arch": bundle.arch.to_dict()},
        source=source.name,
    )
    write_json(job.folder / VERIFY, document)


def _counted(what: str, total: int, show: Advance) -> OnFrame:
    done = 0

    def on_frame() -> None:
        nonlocal done
        done += 1
        show(what, done, total)

    return on_frame


_STAGE: dict[Stage, Callable[[Job, Advance], None]] = {
    "arch": _find,
    "weights": _train,
    "bundle": _export,
    "accuracy": _score,
    "verify": _measure,
}
