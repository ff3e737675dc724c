"""What all networks of a comparison share, and what a run folder has to be continued with."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.compare.clock import Clock
from bench.seen import patients_of_fold
from cinert.backends.base import Backend, Precision
from cinert.bundle_manifest import LOCALISER
from cinert.data.dataset import Sample
from cinert.data.grid import PreprocessingSpec
from cinert.data.patients import Patient
from cinert.environment import fingerprint
from cinert.files import read_json, write_json
from cinert.resume import refuse_other_settings
from cinert.schema import check_schema
from cinert.space import Space
from export.dice_gate import labelled_frames
from export.parity import real_images
from latency.lut import Lut
from search.data import FoldData

SCHEMA, VERSION = "cinert.comparison-run", 1
RECORD, NETWORKS, SEARCHES = "compare.json", "networks", "searches"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What every network is given."""

    minutes: float
    """Of training, for each network."""
    search_minutes: float
    """For each search."""
    clock: Clock
    """That the minutes are counted by."""
    localiser_steps: int
    """Of the one localiser that all networks share."""
    seed: int
    """Of searches and trainings."""
    budget_ms: float
    fps: float
    """Frames per second that the scanner sends."""
    frames: int
    """To time."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Folder, data, device and terms of a comparison."""

    folder: Path
    space: Space
    lut: Lut | None
    """Prices for the searches; None where only baselines and random networks are compared."""
    lut_is_of_here: bool
    """Whether its estimates speak of the device that measures."""
    data_folder: Path
    data: FoldData
    terms: Terms
    device: torch.device
    """Where searches and trainings compute."""
    backend: Backend
    engine_device: str
    precision: Precision
    threads: int
    """Of the engines, on a CPU."""

    @property
    def fold(self) -> int:
        """Whose patients are held out."""
        assert self.data.fold is not None
        return self.data.fold

    @property
    def spec(self) -> PreprocessingSpec:
        """The grid that every network reads."""
        return PreprocessingSpec(spacing_mm=self.space.spacing_mm, shape_DHW=self.space.input_shape_DHW)

    @property
    def localiser(self) -> Path:
        """Weights of the localiser that all networks share."""
        return self.folder / LOCALISER

    @cached_property
    def held_out(self) -> list[Patient]:
        """The patients that are scored."""
        return patients_of_fold(self.data_folder, self.fold)

    @cached_property
    def parity_images(self) -> Sequence[NDArray[np.float32]]:
        """Real frames on which an engine in fp32 has to give PyTorch's logits."""
        return real_images(self.data_folder, self.spec) if self.precision == "fp32" else ()

    @cached_property
    def parity_frames(self) -> Sequence[Sample]:
        """Labelled frames on which an engine below fp32 has to give PyTorch's Dice."""
        return () if self.precision == "fp32" else labelled_frames(self.data_folder, self.spec)

    def fingerprint(self) -> dict[str, Any]:
        """The device that engines run on."""
        return fingerprint(self.backend, device=self.engine_device, threads=self.threads, precision=self.precision)

    def identity(self) -> dict[str, Any]:
        """What two runs must share so that one can continue the other."""
        here = self.fingerprint()
        return {
            "space": f"{self.space.name} {self.space.digest}",
            "lut": None if self.lut is None else self.lut.id,
            "data": self.data.digest,
            "fold": self.fold,
            **asdict(self.terms),
            "computed_on": self.device.type,
            "engine": f"{self.backend.name} {self.precision}",
            "threads": self.threads,
            "measured_on": here["device"]["name"],
        }


def open_run(setting: Setting, *, restart: bool) -> None:
    """Begin a run folder, or make sure that what lies there can be continued.

    A folder that was begun without a LUT can be continued with one.

    Raises:
        BadInputError: it was begun with other settings.
    """
    path, now = setting.folder / RECORD, setting.identity()
    if restart:
        for name in (NETWORKS, SEARCHES):
            shutil.rmtree(setting.folder / name, ignore_errors=True)
        for file in (path, setting.localiser):
            file.unlink(missing_ok=True)
    if path.exists():
        record = read_json(path, "the comparison's settings")
        check_schema(record, schema=SCHEMA, version=VERSION, source=str(path))
        was = dict(record["settings"])
        if None in (was.get("lut"), now["lut"]):
            was["lut"] = now["lut"] = was.get("lut") or now["lut"]
        refuse_other_settings(setting.folder, was, now)
    write_json(path, {"schema": SCHEMA, "version": VERSION, "settings": now})
