"""What a comparison found, read from the files of its networks: SUITE.json, from which page and picture are made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.compare.plan import PLAN
from bench.compare.recipes import Designed, Drawn, OneShot, Scaled, Searched, Trained
from bench.compare.run import read_failure
from bench.compare.searches import read_spent, search_folder
from bench.compare.setting import Setting
from bench.compare.stages import ACCURACY, ARCH, MEMORY, VERIFY, Job
from bench.compare.suites import PaperNumbers, Row, Suite
from cinert.arch import load_arch
from cinert.environment import device_name
from cinert.files import read_json
from cinert.scores import Score, mean_of, spread_of
from cinert.sizes import Sizes, network_sizes
from cinert.space import CLASSES
from search.pareto import unbeaten
from search.train_run import METRICS

SCHEMA, VERSION = "cinert.comparison", 1
SCORES = (*CLASSES[1:], "mean")
"""Dice by class, and their mean."""


def comparison_document(
    suite: Suite,
    setting: Setting,
    jobs: Mapping[str, Job],
    not_run: Mapping[str, str],
    random: Iterable[str],
) -> dict[str, Any]:
    """What SUITE.json says (docs/schemas/comparison.schema.json).

    Args:
        suite: the table.
        setting: of the comparison.
        jobs: chosen networks by name.
        not_run: reasons, of networks that do not fit the space.
        random: names of the random networks among `jobs`.
    """
    rows = [
        {"title": row.title, "paper": _paper(row.paper), **_network(jobs[row.network], not_run.get(row.network))}
        for row in _chosen(suite.rows, jobs)
    ]
    drawn = [{"title": name, "paper": None, **_network(jobs[name], None)} for name in random]
    _name_twins([*rows, *drawn], jobs)
    measured = [entry for entry in (*rows, *drawn) if is_measured(entry)]
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "suite": suite.name,
        "source": suite.source,
        "paper_conditions": suite.conditions,
        "setting": {
            **setting.identity(),
            "device": device_name(setting.fingerprint()),
            "lut_of_here": setting.lut_is_of_here,
            "lut_busy": setting.lut is not None and setting.lut.busy,
            "data_folder": setting.data_folder.name,
            "patients": {"train": len(setting.data.seen), "held_out": len(setting.held_out)},
            "phantoms": {
                "train": sum(record.phantom is True for record in setting.data.seen),
                "held_out": sum(patient.id in setting.data.phantoms for patient in setting.held_out),
            },
        },
        "networks": rows,
        "random": drawn,
        "front": {
            "latency": pareto_front(measured, lambda entry: entry["ours"]["latency"]["p50_ms"]),
            "throughput": pareto_front(measured, lambda entry: -entry["ours"]["latency"]["throughput_fps"]),
        },
    }


def _chosen(rows: Sequence[Row], jobs: Mapping[str, Job]) -> list[Row]:
    return [row for row in rows if row.network in jobs]


def is_measured(entry: Mapping[str, Any]) -> bool:
    """Whether a network has both a Dice and a latency, and so a point in the picture."""
    ours = entry["ours"]
    return ours["dice"] is not None and ours["latency"] is not None


def held_out(document: Mapping[str, Any]) -> tuple[int, int]:
    """How many patients, and how many phantoms, were scored; releases of before did not tell them apart."""
    setting = document["setting"]
    phantoms = setting.get("phantoms", {"held_out": 0})["held_out"]
    return setting["patients"]["held_out"] - phantoms, phantoms


def entries(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All networks of a document, the random ones last."""
    return [*document["networks"], *document["random"]]


def pareto_front(measured: Sequence[Mapping[str, Any]], cost: Callable[[Mapping[str, Any]], float]) -> list[str]:
    """Names of the networks that no other beats in both cost and mean Dice, cheapest first.

    Args:
        measured: networks, as in the document.
        cost: of one of them; smaller is better.
    """
    front = unbeaten(measured, cost=cost, dice=lambda entry: float(entry["ours"]["dice"]["mean"]["mean"]))
    return [entry["network"] for entry in front]


def _paper(numbers: PaperNumbers | None) -> dict[str, Any] | None:
    if numbers is None:
        return None
    dice = {name: {"mean": mean, "std": std} for name, (mean, std) in numbers.dice.items()}
    return {"dice": dice, "latency_ms": numbers.latency_ms, "throughput_fps": numbers.throughput_fps}


def _name_twins(found: Iterable[dict[str, Any]], jobs: Mapping[str, Job]) -> None:
    """Enter into each network which of those before it is the same."""
    first: dict[str, str] = {}
    for entry in found:
        name = entry["network"]
        digest, _ = _facts(jobs[name].folder / ARCH)
        same = name if digest is None else first.setdefault(digest, name)
        entry["same_as"] = None if same == name else same


def _network(job: Job, reason: str | None) -> dict[str, Any]:
    failure = read_failure(job.folder)
    dice, latency = dice_of(job.folder), latency_of(job.folder)
    if reason is not None:
        state = "not run"
    elif failure is not None:
        state, reason = "failed", failure
    else:
        state = "finished" if dice is not None and latency is not None else "unfinished"
    sizes = sizes_of(job.folder)
    memory = job.folder / MEMORY
    return {
        "network": job.name,
        "family": _family(job),
        "how": job.recipe.words,
        "state": state,
        "reason": reason,
        "ours": {
            "dice": dice,
            "latency": latency,
            "memory": read_json(memory, "the memory") if memory.exists() else None,
            "parameters": None if sizes is None else sizes.parameters,
            "flops": None if sizes is None else sizes.flops,
            "training": training_of(job.folder),
            "search": search_of(job),
        },
    }


def _family(job: Job) -> str:
    recipe = job.recipe
    match recipe:
        case Designed() | Scaled():
            return "designed"
        case Drawn():
            return "random"
        case Trained():
            return "trained candidates"
        case OneShot():
            return "ours"
        case Searched():
            return "ours" if recipe.method == "cinert" else "searched"


def dice_of(folder: Path) -> dict[str, Any] | None:
    """Mean and spread over patients, each the mean over its frames; of the classes, and of their mean."""
    if not (folder / ACCURACY).exists():
        return None
    patients = list(_patients(folder).values())
    by_class = list(zip(*patients, strict=True))
    columns = [*by_class, [mean_of(own) for own in patients]]
    found = {
        name: {"mean": mean_of(column), "std": spread_of(column)} for name, column in zip(SCORES, columns, strict=True)
    }
    # Of the classes, as everywhere: classes that some patients do not show weigh what the others do.
    return {**found, "mean": {**found["mean"], "mean": mean_of(mean_of(column) for column in by_class)}}


def dice_by_patient(folder: Path) -> dict[str, Score]:
    """Mean Dice over the classes of each patient of a scored network, in the order of their ids."""
    return {patient: mean_of(own) for patient, own in sorted(_patients(folder).items())}


def _patients(folder: Path) -> dict[str, list[Score]]:
    """Dice of each class, the mean over a patient's frames."""
    frames: defaultdict[str, list[list[Score]]] = defaultdict(list)
    for frame in read_json(folder / ACCURACY, "the accuracy")["patients"]:
        frames[frame["id"]].append([frame["dice"][name] for name in CLASSES[1:]])
    return {patient: [mean_of(column) for column in zip(*own, strict=True)] for patient, own in frames.items()}


def latency_of(folder: Path) -> dict[str, Any] | None:
    """What a measured network took, engine and frame to mask."""
    path = folder / VERIFY
    if not path.exists():
        return None
    verify = read_json(path, "the measurement")
    engine, frames, estimate = verify["measured"], verify["frame_to_mask"], verify["estimate"]
    return {
        **{name: engine[name] for name in ("p50_ms", "p99_ms", "throughput_fps", "device_p50_ms", "frames")},
        "frame_to_mask_p50_ms": frames["p50_ms"],
        "frame_to_mask_p99_ms": frames["p99_ms"],
        "frame_to_mask_fps": frames["throughput_fps"],
        "estimate_ms": None if estimate is None else estimate["ms"],
        "in_time": verify["budget_met"] and verify["fps_met"],
        # A run that an earlier release began has measurements that say nothing of it.
        "others": frames.get("others"),
    }


def sizes_of(folder: Path) -> Sizes | None:
    """Parameters and FLOPs of a network; None where it has not been found yet."""
    return _facts(folder / ARCH)[1]


def _facts(path: Path) -> tuple[str, Sizes] | tuple[None, None]:
    """Digest and sizes of a network; nothing where it has not been found yet."""
    return _read_facts(path, path.stat().st_mtime_ns) if path.exists() else (None, None)


@lru_cache(maxsize=256)
def _read_facts(path: Path, _changed_ns: int) -> tuple[str, Sizes]:
    arch = load_arch(path)
    return arch.digest, network_sizes(arch)


def training_of(folder: Path) -> dict[str, Any] | None:
    """Epochs and minutes of a finished training."""
    path = folder / METRICS
    if not path.exists():
        return None
    metrics = read_json(path, "the metrics")
    return {
        "epochs": len(metrics["epochs"]),
        "minutes": metrics["seconds"] / 60,
        "cpu_minutes": metrics["cpu_seconds"] / 60,
    }


def search_of(job: Job) -> dict[str, Any] | None:
    """Epochs and minutes of the search behind a network; None where none was, or it has not begun."""
    if not isinstance(job.recipe, Searched | Trained | OneShot):
        return None
    folder = search_folder(job.recipe, job.setting)
    spent = read_spent(folder)
    if spent is None:
        return None
    return {
        "name": job.recipe.search_name,
        "epochs": read_json(folder / PLAN, "the plan")["epochs"],
        "minutes": spent["seconds"] / 60,
        "cpu_minutes": spent["cpu_seconds"] / 60,
        "entropy": _entropy(job.folder / ARCH),
    }


def _entropy(path: Path) -> dict[str, float] | None:
    """Of the choices that a network was decoded from; None where nothing was relaxed, or nothing is said of it."""
    found: dict[str, float] | None = load_arch(path).provenance.get("entropy") if path.exists() else None
    return found
