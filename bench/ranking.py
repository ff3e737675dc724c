"""How well shared weights rank networks: their score of random networks against what those learn alone.

Source of the question: Yu 2020 ("Evaluating the search phase of neural architecture search"): a supernet's order of
networks can be no better than chance. Here the order by the inherited score is held against the orders by FLOPs and by
latency, which cost nothing, and against the order of a second training with another seed, which no predictor can beat
by much.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau

from bench.compare.clock import Clock
from bench.compare.plan import most_epochs, training_step_s
from cinert.arch import load_arch, save_arch
from cinert.bundle_manifest import WEIGHTS
from cinert.data.dataset import Sample
from cinert.errors import BadInputError
from cinert.files import read_json, write_json
from cinert.progress import Advance
from cinert.sizes import network_sizes
from cinert.ushape.arch import UShapeArch
from cinert.ushape.choices import random_ushape
from cinert.ushape.space import UShapeSpace
from export.weights import load_trained
from search.data import FoldData
from search.oneshot.loop import OneShotSearch
from search.oneshot.population import EstimateMs
from search.oneshot.scoring import GridTensors, dice_of, finest_grid
from search.train_run import run_training
from search.training import TrainingSettings

SCHEMA, VERSION = "cinert.ranking", 1
ARCH, SCORE = "arch.yaml", "score.json"
SPREAD = 3.0
"""Latency of the slowest network that is drawn over that of the fastest."""
_DRAWS = 3000


@dataclass(frozen=True, kw_only=True)
class RankingPlan:
    """What is trained, and for how long."""

    networks: int
    seeds: tuple[int, ...]
    """Of the trainings."""
    minutes: float
    """Of each training."""
    clock: Clock
    """That the minutes are counted by."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**dataclasses.asdict(self), "seeds": list(self.seeds)}


def draw_networks(
    space: UShapeSpace, estimate_ms: EstimateMs, count: int, *, most_ms: float, seed: int
) -> list[UShapeArch]:
    """Random networks spread evenly over the logarithm of the latency, from a third of a budget up to it.

    Args:
        space: to draw from.
        estimate_ms: of a network.
        count: of networks.
        most_ms: the budget.
        seed: of the draws.

    Raises:
        BadInputError: too few of many lie there.
    """
    rng = np.random.default_rng([seed, count])
    drawn = {arch.digest: arch for arch in (random_ushape(space, rng) for _ in range(_DRAWS))}
    ms = {digest: estimate_ms(arch) for digest, arch in drawn.items()}
    left = [digest for digest in drawn if most_ms / SPREAD <= ms[digest] <= most_ms]
    if len(left) < count:
        raise BadInputError(
            f"{len(left)} of {_DRAWS} networks of space {space.name} are estimated between {most_ms / SPREAD:.3g} and"
            f" {most_ms:.3g} ms, and {count} are to be ranked.",
            hint="take fewer --networks, or a search with a larger budget.",
        )
    found = []
    for wanted_ms in np.geomspace(min(ms[digest] for digest in left), max(ms[digest] for digest in left), count):
        nearest = min(left, key=lambda digest: abs(math.log(ms[digest] / wanted_ms)))
        left.remove(nearest)
        found.append(drawn[nearest])
    return found


def rank(
    search: OneShotSearch,
    folds: Mapping[int, FoldData],
    plan: RankingPlan,
    *,
    ids: tuple[set[str], set[str]],
    most_ms: float,
    folder: Path,
    show: Advance,
) -> list[dict[str, Any]]:
    """Score random networks with the shared weights, and train each of them alone; what is done is not done again.

    Args:
        search: finished.
        folds: the search's fold on each grid.
        plan: how many, and how long.
        ids: patients that weights are learnt on, and those that are scored, as in the search.
        most_ms: the search's budget.
        folder: of the run.
        show: told of the progress.

    Returns:
        Of each network {digest, ms, flops, inherited, dice by seed}, as in ranking.json.
    """
    space, (learnt, scored) = search.space, ids
    archs = _stored(folder, lambda: draw_networks(
        space, search.population.estimate_ms, plan.networks, most_ms=most_ms, seed=search.settings.seed
    ), plan.networks)  # fmt: skip
    weights, found = search.averaged(), []
    for number, arch in enumerate(archs):
        show("scoring with shared weights", number, len(archs))
        path = folder / _name(number) / SCORE
        if not path.exists():
            write_json(path, {"digest": arch.digest, "dice": search.score(arch, weights).dice})
        found.append(
            {
                "network": _name(number),
                "digest": arch.digest,
                "ms": search.population.estimate_ms(arch),
                "flops": network_sizes(arch).flops,
                "inherited": read_json(path, "a score")["dice"],
            }
        )
    runs = [(number, seed) for seed in plan.seeds for number in range(len(archs))]
    labels = GridTensors({0: _of(folds[finest_grid(space)].train, scored)}, search.device).labels(0)
    dice: dict[tuple[int, int], float] = {}
    for done, (number, seed) in enumerate(runs):
        arch = archs[number]
        fold = folds[arch.grid_number]
        data = dataclasses.replace(fold, train=_of(fold.train, learnt), validation=[])
        into = folder / _name(number) / f"seed-{seed}"
        _train(arch, data, seed, plan, into, search.device, _told(show, f"training {done + 1} of {len(runs)}"))
        if not (into / SCORE).exists():
            images = GridTensors({0: _of(fold.train, scored)}, search.device).images(0)
            network = load_trained(arch, into / WEIGHTS).network.to(search.device)
            each = np.asarray(dice_of(network, images, labels))
            write_json(into / SCORE, {"dice": float(np.nanmean(each))})
        dice[number, seed] = read_json(into / SCORE, "a score")["dice"]
    return [{**one, "dice": {str(seed): dice[number, seed] for seed in plan.seeds}} for number, one in enumerate(found)]


def _told(show: Advance, what: str) -> Advance:
    return lambda _, done, total: show(what, done, total)


def _name(number: int) -> str:
    return f"network-{number:02d}"


def _of(samples: Sequence[Sample], ids: set[str]) -> list[Sample]:
    return [sample for sample in samples if sample.patient_id in ids]


def _stored(folder: Path, draw: Callable[[], list[UShapeArch]], count: int) -> list[UShapeArch]:
    paths = [folder / _name(number) / ARCH for number in range(count)]
    if not all(path.exists() for path in paths):
        for path, arch in zip(paths, draw(), strict=True):
            save_arch(path, arch)
    found = [load_arch(path) for path in paths]
    assert all(isinstance(arch, UShapeArch) for arch in found)
    return [arch for arch in found if isinstance(arch, UShapeArch)]


def _train(
    arch: UShapeArch,
    data: FoldData,
    seed: int,
    plan: RankingPlan,
    folder: Path,
    device: torch.device,
    show: Advance,
) -> None:
    if (folder / SCORE).exists():
        return
    draft, path = TrainingSettings(epochs=1, seed=seed), folder / "plan.json"
    if not path.exists():
        step_s = training_step_s(arch, data, draft, device, plan.clock)
        steps = math.ceil(len(data.train) / draft.batch_size)
        epochs = most_epochs(lambda count: count * steps * step_s, 60 * plan.minutes, least=1)
        write_json(path, {"epochs": epochs, "step_s": step_s})
    epochs = read_json(path, "the plan")["epochs"]
    settings = dataclasses.replace(draft, epochs=epochs)
    run_training(arch, data, settings, folder=folder, device=device, validate_every=epochs, progress=show)


def agreements(networks: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> dict[str, float | None]:
    """Kendall's tau of each predictor against the mean Dice over seeds, and of the first seed against the second.

    Args:
        networks: as `rank` gives them.
        seeds: of the trainings.

    Returns:
        {inherited, flops, ms, ceiling}; the ceiling is None with one seed, and any of them where all values are alike.
    """
    dice = np.array([[one["dice"][str(seed)] for seed in seeds] for one in networks])
    found = {name: _tau([one[name] for one in networks], dice.mean(axis=1)) for name in ("inherited", "flops", "ms")}
    return {**found, "ceiling": _tau(dice[:, 0], dice[:, 1]) if len(seeds) > 1 else None}


def _tau(a: Any, b: Any) -> float | None:
    tau = float(kendalltau(a, b).statistic)
    return None if math.isnan(tau) else tau


def ranking_document(
    networks: Sequence[Mapping[str, Any]], plan: RankingPlan, identity: Mapping[str, Any]
) -> dict[str, Any]:
    """What ranking.json says (docs/schemas/ranking.schema.json).

    Args:
        networks: as `rank` gives them.
        plan: how they were trained.
        identity: of the search whose weights were shared.
    """
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "search": dict(identity),
        "plan": plan.to_dict(),
        "networks": [dict(one) for one in networks],
        "kendall_tau": agreements(networks, plan.seeds),
    }
