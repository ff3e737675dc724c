"""What all networks of a comparison share, and what a run folder has to be continued with."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.compare.clock import Clock
from bench.seen import patients_of_fold
from cinert.architecture import InputGrid
from cinert.backends.base import Backend, Precision
from cinert.bundle_manifest import LOCALISER
from cinert.data.dataset import Sample
from cinert.data.grid import PreprocessingSpec
from cinert.data.patients import Patient
from cinert.environment import fingerprint
from cinert.files import read_json, write_json
from cinert.resume import refuse_other_settings
from cinert.schema import check_schema
from cinert.space import Shape3, Space
from export.dice_gate import labelled_frames
from export.parity import real_images
from latency.lut import Lut
from search.data import FoldData, load_fold

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
    deep_supervision: float = 0.0
    """Weight of the losses at coarser levels, in every training."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a switch that is off is left out, as releases of before knew none."""
        return {name: value for name, value in asdict(self).items() if name != "deep_supervision" or value}


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
    own_grids: bool = False
    """Whether each network reads the grid that it states; otherwise all have to read the space's."""

    @property
    def fold(self) -> int:
        """Whose patients are held out."""
        assert self.data.fold is not None
        return self.data.fold

    def data_on(self, grid: InputGrid) -> FoldData:
        """The patients on the grid that a network reads."""
        if _same_grid(grid, self.space):
            return self.data
        return _fold_on(self.data_folder, self.fold, grid.input_shape_DHW, grid.spacing_mm, grid.in_channels)

    @property
    def localiser(self) -> Path:
        """Weights of the localiser that all networks share."""
        return self.folder / LOCALISER

    @cached_property
    def held_out(self) -> list[Patient]:
        """The patients that are scored."""
        return patients_of_fold(self.data_folder, self.fold)

    def parity_images(self, grid: InputGrid) -> Sequence[NDArray[np.float32]]:
        """Real frames on which an engine in fp32 has to give PyTorch's logits."""
        if self.precision != "fp32":
            return ()
        return _parity_images(self.data_folder, spec_of(grid))

    def parity_frames(self, grid: InputGrid) -> Sequence[Sample]:
        """Labelled frames on which an engine below fp32 has to give PyTorch's Dice."""
        return () if self.precision == "fp32" else _parity_frames(self.data_folder, spec_of(grid))

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
            **self.terms.to_dict(),
            "computed_on": self.device.type,
            "engine": f"{self.backend.name} {self.precision}",
            "threads": self.threads,
            "measured_on": here["device"]["name"],
        }


def spec_of(grid: InputGrid) -> PreprocessingSpec:
    """Preprocessing onto the grid that a network reads."""
    return PreprocessingSpec(spacing_mm=grid.spacing_mm, shape_DHW=grid.input_shape_DHW)


def _same_grid(one: InputGrid, other: InputGrid) -> bool:
    return (one.input_shape_DHW, one.spacing_mm) == (other.input_shape_DHW, other.spacing_mm)


@dataclass(frozen=True, kw_only=True)
class _Grid:
    input_shape_DHW: Shape3
    spacing_mm: tuple[float, float, float]
    in_channels: int


# A comparison has few grids, and networks of one grid follow each other or not.
@lru_cache(maxsize=6)
def _fold_on(
    folder: Path, fold: int, shape_DHW: Shape3, spacing_mm: tuple[float, float, float], in_channels: int
) -> FoldData:
    return load_fold(folder, _Grid(input_shape_DHW=shape_DHW, spacing_mm=spacing_mm, in_channels=in_channels), fold)


@lru_cache(maxsize=6)
def _parity_images(folder: Path, spec: PreprocessingSpec) -> Sequence[NDArray[np.float32]]:
    return real_images(folder, spec)


@lru_cache(maxsize=6)
def _parity_frames(folder: Path, spec: PreprocessingSpec) -> Sequence[Sample]:
    return labelled_frames(folder, spec)


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
