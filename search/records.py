"""What a search writes about itself: its identity, its set-up, and where the network comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from cinert import __version__
from cinert.arch import Arch
from cinert.environment import library_version
from cinert.op_registry import added_ops
from cinert.space import OpName
from cinert.spaces import AnySpace
from latency.lut import Lut
from search.data import FoldData
from search.decode import Decoded
from search.problem import SearchProblem
from search.settings import SearchSettings
from search.words import DecoderName


def search_versions(ops: Iterable[OpName] = ()) -> dict[str, str]:
    """Of what a search computes with, packages that add some of its ops included."""
    added = {plugin.package: plugin.version for plugin in added_ops(ops).values()}
    return {"cinert": __version__, "torch": library_version("torch"), "monai": library_version("monai"), **added}


def search_identity(space: AnySpace, lut: Lut, data: FoldData, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What two runs must share so that one can continue the other."""
    return {
        "space": f"{space.name} {space.digest}",
        "lut": lut.id,
        "data": data.digest,
        "fold": "all" if data.fold is None else data.fold,
        **settings,
    }


def problem_identity(problem: SearchProblem, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a search of cells, without its budget: another one is decoded from what was searched."""
    return search_identity(problem.space, problem.lut, problem.data, settings)


def search_provenance(
    decoded: Decoded,
    data: FoldData,
    settings: SearchSettings,
    budget_ms: float,
    entropy: Mapping[str, float],
) -> dict[str, Any]:
    """Where a decoded network comes from, for its file; with the entropy of the choices that it was decoded from."""
    return {
        "method": settings.method,
        "relaxation": decoded.arch.space.relaxation,
        "latency_term": settings.latency_term,
        "occurrence": settings.occurrence,
        "loss": settings.loss,
        "mixture": settings.mixture,
        "decoder": settings.decoder,
        "seed": settings.seed,
        "versions": search_versions(decoded.arch.space.ops),
        "lambda": settings.latency_weight,
        "epochs": settings.epochs,
        "paths": settings.paths,
        "entropy": {name: float(f"{value:.4g}") for name, value in entropy.items()},
        "path_probabilities": [float(f"{value:.6g}") for value in decoded.probabilities],
        "paths_passed_over": decoded.paths_passed_over,
        "cells_passed_over": decoded.cells_passed_over,
        "budget_ms": budget_ms,
        "budget_met": decoded.budget_met,
        "data": data.digest,
        "fold": "all" if data.fold is None else data.fold,
        "seen_patients": [record.to_dict() for record in data.seen],
    }


def picture_title(arch: Arch, problem: SearchProblem) -> str:
    """What stands above the drawing of a found network."""
    ms, title = problem.ms(arch), problem.lut.title
    return f"{arch.space.name}: {ms:.1f} ms estimated on {title}, budget {problem.budget_ms:g} ms"


def search_config(
    space: AnySpace,
    lut: Lut,
    identity: Mapping[str, Any],
    *,
    budget_ms: float,
    device: torch.device,
    weight_patients: Sequence[str],
    arch_patients: Sequence[str],
    decoder: DecoderName | None = None,
) -> dict[str, Any]:
    """What config.json says: how a search was set up, and which half of the patients it used for what."""
    return {
        "schema": "cinert.search-config",
        "version": 1,
        "identity": dict(identity),
        "budget_ms": budget_ms,
        "decoder": decoder,
        "lut": {"id": lut.id, "device": lut.device_name, "file": lut.source},
        "compute_device": str(device),
        "weight_patients": list(weight_patients),
        "arch_patients": list(arch_patients),
        "space": space.to_dict(),
    }
