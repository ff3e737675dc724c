"""`--suite ours-vs-designed`: searched networks against designed ones at the same latencies, over several seeds.

Every designed network is scaled to each latency on the device that measures, and trained for the minutes that search
and training of ours take together. Of the designed ones the best at a latency, which is known only afterwards, is the
one to beat: a choice that favours it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.compare.document import dice_by_patient, dice_of, latency_of, search_of, sizes_of, training_of
from bench.compare.recipes import OneShot, Recipe, Scaled
from bench.compare.run import read_failure
from bench.compare.setting import Setting
from bench.compare.stages import Job
from cinert.environment import device_name
from cinert.scores import mean_of

SUITE = "ours-vs-designed"
SCHEMA, VERSION = "cinert.versus", 1
LATENCIES_MS = (10.0, 20.0, 30.0)
SEEDS = 3
DEEP_SUPERVISION = 0.3
"""For all networks alike that have levels between the coarsest and the finest."""
OURS = "ours"
KINDS = ("unet2d", "unet3d", "nas-unet", "nnunet", "aniso-unet")
_DRAWS = 10_000


def versus_networks(latencies_ms: Sequence[float], seeds: Sequence[int]) -> dict[str, Recipe]:
    """All networks of the suite by name, e.g. `aniso-unet-20ms-seed1`; those of one latency follow each other."""
    found: dict[str, Recipe] = {}
    for latency_ms in latencies_ms:
        for seed in seeds:
            found[_name(OURS, latency_ms, seed)] = OneShot(latency_ms=latency_ms, seed=seed)
            for kind in KINDS:
                found[_name(kind, latency_ms, seed)] = Scaled(kind=kind, latency_ms=latency_ms, seed=seed)
    return found


def _name(kind: str, latency_ms: float, seed: int) -> str:
    return f"{kind}-{latency_ms:g}ms-seed{seed}"


def kind_of(recipe: Recipe) -> str:
    """The kind of a designed network, or `ours`."""
    assert isinstance(recipe, Scaled | OneShot)
    return recipe.kind if isinstance(recipe, Scaled) else OURS


def versus_document(setting: Setting, jobs: Mapping[str, Job]) -> dict[str, Any]:
    """What ours-vs-designed.json says (docs/schemas/versus.schema.json).

    Args:
        setting: of the comparison.
        jobs: chosen networks by name.
    """
    groups: defaultdict[tuple[float, str], list[Job]] = defaultdict(list)
    for job in jobs.values():
        assert isinstance(job.recipe, Scaled | OneShot)
        groups[job.recipe.latency_ms, kind_of(job.recipe)].append(job)
    rows = [_row(latency_ms, kind, group) for (latency_ms, kind), group in groups.items()]
    latencies_ms = sorted({row["latency_ms"] for row in rows})
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "suite": SUITE,
        "setting": {
            **setting.identity(),
            "device": device_name(setting.fingerprint()),
            "lut_busy": setting.lut is not None and setting.lut.busy,
            "data_folder": setting.data_folder.name,
            "patients": {"train": len(setting.data.seen), "held_out": len(setting.held_out)},
            "phantoms": {
                "train": sum(record.phantom is True for record in setting.data.seen),
                "held_out": sum(patient.id in setting.data.phantoms for patient in setting.held_out),
            },
        },
        "networks": rows,
        "duels": [duel for latency_ms in latencies_ms if (duel := _duel(latency_ms, rows, jobs)) is not None],
    }


def _row(latency_ms: float, kind: str, group: Sequence[Job]) -> dict[str, Any]:
    runs = [_run(job) for job in group]
    scored = [run["dice"]["mean"]["mean"] for run in runs if run["dice"] is not None]
    return {
        "latency_ms": latency_ms,
        "kind": kind,
        "how": group[0].recipe.words,
        "dice": mean_of(scored) if scored else None,
        "runs": runs,
    }


def _run(job: Job) -> dict[str, Any]:
    failure, sizes = read_failure(job.folder), sizes_of(job.folder)
    dice, latency = dice_of(job.folder), latency_of(job.folder)
    return {
        "network": job.name,
        "seed": job.seed,
        "state": "failed" if failure is not None else "finished" if dice and latency else "unfinished",
        "reason": failure,
        "dice": dice,
        "latency": latency,
        "parameters": None if sizes is None else sizes.parameters,
        "flops": None if sizes is None else sizes.flops,
        "training": training_of(job.folder),
        "search": search_of(job),
    }


def _duel(latency_ms: float, rows: Sequence[Mapping[str, Any]], jobs: Mapping[str, Job]) -> dict[str, Any] | None:
    """Ours against the designed network that is best at a latency; None until both have a Dice of a common seed."""
    here = {row["kind"]: row for row in rows if row["latency_ms"] == latency_ms and row["dice"] is not None}
    ours = here.pop(OURS, None)
    if ours is None or not here:
        return None
    best = max(here.values(), key=lambda row: float(row["dice"]))
    own, other = (_dice_by_seed(row, jobs) for row in (ours, best))
    seeds = sorted(own.keys() & other.keys())
    if not seeds:
        return None
    every = np.stack([own[seed] - other[seed] for seed in seeds])
    # A patient without any labelled class has no Dice.
    difference = every[:, np.isfinite(every).all(axis=0)]
    low, high = paired_interval(difference)
    return {
        "latency_ms": latency_ms,
        "against": best["kind"],
        "seeds": seeds,
        "patients": difference.shape[1],
        "patients_ahead": int((difference.mean(axis=0) > 0).sum()),
        "difference": float(difference.mean()),
        "interval": [low, high],
    }


def _dice_by_seed(row: Mapping[str, Any], jobs: Mapping[str, Job]) -> dict[int, NDArray[np.float64]]:
    """Mean Dice of each patient, (patients,), by the seed of the training."""
    folders = {run["seed"]: jobs[run["network"]].folder for run in row["runs"] if run["dice"] is not None}
    return {
        seed: np.array([np.nan if dice is None else dice for dice in dice_by_patient(folder).values()])
        for seed, folder in folders.items()
    }


def paired_interval(difference_SP: NDArray[np.float64], *, draws: int = _DRAWS) -> tuple[float, float]:
    """95 % interval of a mean difference over seeds and patients, by bootstrap over both.

    Seeds and patients are drawn with replacement, independently (Owen 2007, pigeonhole bootstrap): one seed, or a few
    patients, then do not count as many measurements.

    Args:
        difference_SP: Dice of one less Dice of the other, by seed and patient.
        draws: of the bootstrap.

    Example:
        >>> low, high = paired_interval(np.full((3, 16), 0.01))
        >>> round(low, 3), round(high, 3)
        (0.01, 0.01)
    """
    rng = np.random.default_rng(0)
    seeds, patients = difference_SP.shape
    drawn_seeds = rng.integers(seeds, size=(draws, seeds))
    drawn_patients = rng.integers(patients, size=(draws, patients))
    means = [
        difference_SP[np.ix_(some, others)].mean() for some, others in zip(drawn_seeds, drawn_patients, strict=True)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
