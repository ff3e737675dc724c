"""A comparison on a coarse grid: phantom patients, made-up prices, and files of a network written by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from bench.compare.setting import Setting, Terms
from cinert.backends import get_backend
from cinert.data.cli import make_phantom
from cinert.spaces import load_space
from search.data import FoldData, load_fold


@pytest.fixture(scope="session")
def coarse():
    """The demo space, with its field of view, on an eighth of its voxels."""
    return dataclasses.replace(
        load_space("demo"), name="coarse", input_shape_DHW=(10, 32, 28), spacing_mm=(10.0, 6.25, 6.25), widths=(4, 8, 8)
    )


@pytest.fixture(scope="session")
def lut(made_up_lut, coarse):
    """Every part of it costs the same, here."""
    return made_up_lut(coarse, lambda key: 0.1, constant_ms=0.1, overlap=1.0)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    result = CliRunner().invoke(make_phantom, [str(folder), "--patients", "5", "--seed", "3"])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="session")
def fold(phantoms, coarse) -> FoldData:
    return load_fold(phantoms, coarse, 0)


@pytest.fixture
def make_setting(tmp_path, coarse, lut, phantoms, fold):
    """A comparison in tmp_path/run; terms may be changed."""

    def make(**terms) -> Setting:
        given = {
            "minutes": 0.001,
            "search_minutes": 0.001,
            "clock": "wall",
            "localiser_steps": 2,
            "seed": 0,
            "budget_ms": 50.0,
            "fps": 22.0,
            "frames": 20,
        }
        return Setting(
            folder=tmp_path / "run",
            space=coarse,
            lut=lut,
            lut_is_of_here=True,
            data_folder=phantoms,
            data=fold,
            terms=Terms(**{**given, **terms}),
            device=torch.device("cpu"),
            backend=get_backend("ort"),
            engine_device="cpu",
            precision="fp32",
            threads=1,
        )

    return make


@pytest.fixture
def write_results():
    """Writes accuracy.json, verify.json, memory.json and metrics.json of a network, as far as the report reads them."""

    def write(folder: Path, frames, *, p50_ms, throughput_fps, in_time=True, estimate_ms=None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        patients = [
            {"id": id_, "frame": number, "dice": dict(zip(("rv", "myo", "lv"), dice, strict=True))}
            for number, (id_, dice) in enumerate(frames)
        ]
        engine = {
            "p50_ms": p50_ms,
            "p99_ms": 1.5 * p50_ms,
            "throughput_fps": throughput_fps,
            "device_p50_ms": p50_ms,
            "frames": 500,
        }
        verify = {
            "measured": engine,
            "frame_to_mask": {
                "p50_ms": 2 * p50_ms,
                "p99_ms": 3 * p50_ms,
                "throughput_fps": throughput_fps / 2,
                "others": {"cpu_cores": 0.14, "worst_cpu_cores": 1.3, "of_cores": 2, "disturbing": True},
            },
            "estimate": None if estimate_ms is None else {"ms": estimate_ms},
            "budget_met": in_time,
            "fps_met": True,
        }
        memory = {"of": "process", "before_mib": 40.0, "peak_mib": 52.0, "engine_mib": 12.0}
        metrics = {"epochs": [{}] * 7, "seconds": 1200.0, "cpu_seconds": 2370.0}
        documents = {
            "accuracy.json": {"patients": patients},
            "verify.json": verify,
            "memory.json": memory,
            "metrics.json": metrics,
        }
        for name, document in documents.items():
            (folder / name).write_text(json.dumps(document))

    return write
