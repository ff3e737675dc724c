"""What calibrate-quality and bench-robustness write and print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from bench.corruptions import CORRUPTIONS
from bench.quality_fit import Aim
from bench.quality_worth import ScoredMask, by_strength, reliability, worth
from bench.robustness import CLEAN, MaskSample
from cinert.scores import in_digits

SCHEMA, VERSION = "cinert.robustness", 1


def calibration_record(
    samples: Sequence[MaskSample], aim: Aim, patients: Sequence[Mapping[str, Any]], *, seed: int
) -> dict[str, Any]:
    """`calibration` of quality.json.

    Args:
        samples: that the score was fitted to.
        aim: what it is to find.
        patients: {id, digest, phantom} of those that the samples are of.
        seed: of the sweep.
    """
    clean = [sample for sample in samples if sample.corruption == CLEAN]
    return {
        "patients": [dict(patient) for patient in patients],
        "frames": len(clean),
        "masks": len(samples),
        "corruptions": {name: list(corruption.strengths) for name, corruption in CORRUPTIONS.items()},
        "previous": dict(Counter(sample.previous for sample in clean)),
        "catch": aim.catch,
        "seed": seed,
    }


def robustness_document(
    scored: Sequence[ScoredMask],
    aim: Aim,
    *,
    judged_by: str,
    unseen: Mapping[str, float | None] | None,
    fold: int | None,
    seed: int,
    phantoms: int,
    bundle: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
) -> dict[str, Any]:
    """What robustness.json says (docs/schemas/robustness.schema.json).

    Args:
        scored: masks.
        aim: of the scores.
        judged_by: `bundle` or `cross-validation`.
        unseen: AUROC per corruption by scores that were not fitted to it; None where it was not asked for.
        fold: that was held out; None for every patient.
        seed: of the sweep.
        phantoms: how many of the patients `make-phantom` drew.
        bundle: {folder, digest, arch_digest}.
        fingerprint: of the device that ran the engine.
    """
    clean = [mask.sample for mask in scored if mask.sample.corruption == CLEAN]
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "bundle": dict(bundle),
        "fold": "all" if fold is None else fold,
        "seed": seed,
        "good_dice": aim.good_dice,
        "catch": aim.catch,
        "judged_by": judged_by,
        "n_patients": len({sample.patient_id for sample in clean}),
        "n_phantoms": phantoms,
        "frames": len(clean),
        "previous": dict(Counter(sample.previous for sample in clean)),
        "corruptions": {name: {"words": c.words, "strength": c.meaning} for name, c in CORRUPTIONS.items()},
        "worth": worth(scored, aim.good_dice),
        "unseen_corruption_auroc": None if unseen is None else dict(unseen),
        "by_strength": by_strength(scored),
        "reliability": reliability(scored),
        "masks": [
            {
                "id": mask.sample.patient_id,
                "frame": mask.sample.frame,
                "phase": mask.sample.phase,
                "corruption": mask.sample.corruption,
                "strength": mask.sample.strength,
                "dice": dict(mask.sample.dice),
                "score": mask.score,
                "unsure": mask.unsure,
            }
            for mask in scored
        ],
        "fingerprint": dict(fingerprint),
    }


def strength_table(scored: Sequence[ScoredMask], who: str) -> Table:
    """A row per corruption and strength; `who` was scored, e.g. `5 phantoms`."""
    table = Table(title=f"Dice and quality score on {who}, means over frames", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("corruption", no_wrap=True)
    for name in ("strength", "RV", "MYO", "LV", "mean", "score", "unsure"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = ""
    for row in by_strength(scored):
        if row["corruption"] != shown:
            table.add_section()
        first = row["corruption"] != shown
        shown = row["corruption"]
        table.add_row(
            shown if first else "",
            "" if shown == CLEAN else f"{row['strength']:g} {CORRUPTIONS[shown].unit}",
            *(in_digits(row["dice"][name]) for name in ("rv", "myo", "lv")),
            f"{row['mean_dice']:.3f}",
            f"{row['score']:.3f}",
            f"{row['unsure']:.0%}",
        )
    return table


def worth_lines(figures: Mapping[str, Any], aim: Aim, unseen: Mapping[str, float | None] | None) -> list[str]:
    """What the score is worth, in words."""

    def share(value: float | None) -> str:
        return "none to judge by" if value is None else f"{value:.0%}"

    area = "not defined: masks are all good or all bad" if figures["auroc"] is None else f"{figures['auroc']:.3f}"
    lines = [
        f"bad masks (mean Dice below {aim.good_dice:g}): {figures['bad_masks']} of {figures['masks']},"
        f" {figures['bad_clean']} of them in clean frames",
        f"AUROC of the score for bad masks: {area}",
        f"bad masks called unsure: {share(figures['caught'])}",
        f"good masks called unsure: {share(figures['false_alarms'])}; in clean frames"
        f" {share(figures['false_alarms_clean'])}",
        f"score against Dice: mean absolute error {figures['mean_absolute_error']:.3f}",
    ]
    if unseen is not None:
        words = ", ".join(f"{name} {'-' if value is None else f'{value:.3f}'}" for name, value in unseen.items())
        lines.append(f"AUROC on a corruption that the score was not fitted to: {words}")
    return lines
