"""What all tests share: one thread per worker, a cache of ONNX exports, locks of their own, the folder of real data."""

from __future__ import annotations

import dataclasses
import gzip
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cinert.backends import get_backend
from cinert.environment import fingerprint
from cinert.files import sha256_of_file
from cinert.space import Space
from cinert.spaces import load_any_space
from cinert.ushape.space import Grid, UShapeSpace
from latency.load_factor import LoadFactor
from latency.lut import Lut, Row
from latency.lut_prices import Price, Prices
from latency.parts import PartCatalogue, PartKey
from latency.ushape.learn import space_terms
from latency.ushape.parts import row_keys
from latency.ushape.prices import Term, TermPrices
from latency.ushape.terms import Device, Rounding

REPOSITORY = Path(__file__).resolve().parent.parent
LONG = (
    "test_main_job.py",
    "test_schemas.py",
    "test_bench_compare.py",
    "test_interruption.py",
    "test_ranks.py",
    "test_bench_model.py",
    "test_bench_ops.py",
    "test_sweep.py",
    "test_int8_parts.py",
    "test_int8_bundle.py",
    "test_every_engine.py",
)
"""The slowest files, slowest first. Begun last, one of them would leave the other workers with nothing to do."""


def pytest_configure(config: pytest.Config) -> None:
    # Exports are the slow part of the tests; they are cached between runs, away from the user's own cache.
    os.environ["CINERT_CACHE"] = str(config.rootpath / ".pytest_cache" / "onnx")
    # Tests neither wait for each other's devices nor for the user's: each worker has locks of its own.
    locks = tempfile.TemporaryDirectory(prefix="cinert-locks-")
    config.add_cleanup(locks.cleanup)
    os.environ["CINERT_LOCK_DIR"] = locks.name
    os.environ.pop("CINERT_DATA", None)
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU here"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # How many engines the tests built for real cannot be read off the number of tests.
    properties = [item for report in terminalreporter.stats.get("passed", ()) for item in report.user_properties]
    if built := sum(int(str(value)) for name, value in properties if name == "tensorrt-rtx engines"):
        terminalreporter.write_line(f"TensorRT-RTX engines built without a GPU: {built}")


@pytest.fixture(scope="session")
def made_up_lut() -> Callable[..., Lut]:
    """Make a LUT of a space by hand; `dataclasses.replace` changes what else a test needs."""

    def make(space: Space, price_of: Callable[[PartKey], float], **prices: Any) -> Lut:
        parts = {
            key.label: Price(key=key, ms=price_of(key), error_ms=0.01, networks=5, from_networks=0.9)
            for key in PartCatalogue(space).all()
        }
        usual = {"constant_ms": 0.25, "composition": "sum", "relative_error_90": 0.1, "overlap": 1.2}
        return Lut(
            space=space,
            fingerprint=fingerprint(get_backend("ort"), device="cpu", threads=1, precision="fp32"),
            protocol={},
            rows=(),
            prices=Prices(parts=parts, report={"figures": {}, "networks": []}, **{**usual, **prices}),
            load=LoadFactor(p50=1.05, p50_interval=(1.0, 1.1), p99=1.5, p99_interval=(1.4, 1.6), disturbed=0.1),
            created="2026-11-21T00:00:00+00:00",
        )

    return make


@pytest.fixture(scope="session")
def tiny_ushapes() -> UShapeSpace:
    """A small space of U-shaped networks: two grids, three levels, every block."""
    space = load_any_space("cardiac-small")
    assert isinstance(space, UShapeSpace)
    return dataclasses.replace(
        space,
        name="tiny",
        grids=tuple(Grid(shape_DHW=(4, size, size), spacing_mm=(10.0, 48 / size, 48 / size)) for size in (16, 24)),
        strides=((1, 2, 2), (2, 2, 2)),
        widths=((4, 6), (6, 8, 10), (8, 12)),
        blocks=(("inplane", "inplane-separable"), ("inplane-dilated", "pseudo3d", "separable"), ("conv", "inplane")),
        encoder_depths=((0, 1, 2), (1, 2), (1, 2)),
        decoder_depths=((1, 2), (1, 2)),
        down="maxpool",
        join="concat",
        residual=False,
    )


@pytest.fixture(scope="session")
def made_up_terms() -> Callable[[UShapeSpace], Lut]:
    """A LUT of a space whose n-th term costs 0.001 n ms, and which is 4 channels blocked."""

    def make(space: UShapeSpace) -> Lut:
        names = space_terms(space).names
        terms = {
            name: Term(ms=0.001 * (number + 1), error_ms=1e-4, from_networks=0.5) for number, name in enumerate(names)
        }
        prices = TermPrices(device=Device(rounding=Rounding(channels_in=1, channels_out=4)), own=True, terms=terms)
        keys = row_keys(space)
        times = ("quiet_ms", "p50_ms", "p90_ms", "p99_ms", "mean_ms")
        timing = {"spread": 0.0, "std_ms": 0.0, "n": 9, "noisy": False}
        return Lut(
            space=space,
            fingerprint=fingerprint(get_backend("ort"), device="cpu", threads=1, precision="fp32"),
            protocol={},
            rows=tuple(Row(key=key, timing=dict.fromkeys(times, 2 * (prices.ms(key) or 0)) | timing) for key in keys),
            prices=Prices(
                constant_ms=0.25,
                parts={
                    key.label: Price(key=key, ms=prices.ms(key) or 0, error_ms=0.01, networks=5, from_networks=0.9)
                    for key in keys
                },
                composition="sum",
                relative_error_90=0.1,
                overlap=1.2,
                terms=prices,
                report={"figures": {}, "networks": []},
            ),
            load=LoadFactor(p50=1.05, p50_interval=(1.0, 1.1), p99=1.5, p99_interval=(1.4, 1.6), disturbed=0.1),
            created="2026-11-30T00:00:00+00:00",
        )

    return make


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real patients, beside the repository or named by CINERT_SHARED."""
    folder = Path(os.environ.get("CINERT_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "acdc").is_dir():
        pytest.skip(f"no real patients at {folder / 'acdc'}; set CINERT_SHARED")
    return folder


@pytest.fixture(scope="session")
def write_raw_nifti() -> Callable[..., Path]:
    """Writes a NIfTI-1 file with just that header: nibabel itself would make the fields agree.

    sform and qform are 4 x 4 affines with a code each, pixdim lengths by axis counted from 1; other fields by name.
    """
    import nibabel as nib

    def write(path: Path, data, *, sform=None, qform=None, codes=(1, 1), pixdim=(), units="mm", **fields: Any) -> Path:
        header = nib.Nifti1Header()
        header.set_data_shape(data.shape)
        header.set_data_dtype(data.dtype)
        header.set_xyzt_units(units, "sec")
        if qform is not None:
            header.set_qform(qform, codes[1])
        if sform is not None:
            header.set_sform(sform, codes[0])
        header["pixdim"][1 : 1 + len(pixdim)] = pixdim
        header["magic"], header["vox_offset"] = b"n+1", 352
        for name, value in fields.items():
            header[name] = value
        content = header.binaryblock + bytes(4) + data.tobytes(order="F")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return path

    return write


@pytest.fixture
def write_dicom():
    """Writes a cine as a DICOM series, one file per slice and phase; `change(dataset, slice, phase)` may spoil it."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    def write(folder: Path, image_XYZT, affine, *, step_ms=40.0, series=None, number=5, order=None, change=None) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        uid = series or generate_uid()
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        cosines = (lps[:3, :2] / spacing[:2]).T.ravel()
        files = [(k, t) for k in range(image_XYZT.shape[2]) for t in range(image_XYZT.shape[3])]
        for name, index in enumerate(order if order is not None else range(len(files))):
            k, t = files[index]
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = MRImageStorage
            meta.MediaStorageSOPInstanceUID = generate_uid()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
            dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
            dataset.Modality, dataset.SeriesInstanceUID, dataset.SeriesNumber = "MR", uid, number
            dataset.SeriesDescription = "cine"
            dataset.InstanceNumber, dataset.TriggerTime = index + 1, f"{10 + t * step_ms:g}"
            dataset.ImageOrientationPatient = [f"{value:.12f}" for value in cosines]
            dataset.ImagePositionPatient = [f"{value:.9f}" for value in (lps @ [0, 0, k, 1])[:3]]
            dataset.PixelSpacing = [f"{spacing[1]:.9f}", f"{spacing[0]:.9f}"]
            dataset.SliceThickness = f"{spacing[2]:.9f}"
            pixels = np.ascontiguousarray(image_XYZT[:, :, k, t].T.astype("<i2"))
            dataset.Rows, dataset.Columns = pixels.shape
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
            dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
            dataset.PixelData = pixels.tobytes()
            if change is None or change(dataset, k, t) is not False:
                dataset.save_as(folder / f"I{name:04d}.dcm", enforce_file_format=True)
        return uid

    return write


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a console script in a process of its own, to be killed; whatever still runs at the end is."""
    running: list[subprocess.Popen[str]] = []

    def start(name: str, *words: object) -> subprocess.Popen[str]:
        command = [str(Path(sys.executable).parent / name), *map(str, words)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def content() -> Callable[[Path], dict[str, str]]:
    """Gives the SHA-256 of every file in a folder, hidden ones too, by its path: what must be the same afterwards."""

    def content(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): sha256_of_file(path) for path in sorted(folder.rglob("*")) if path.is_file()
        }

    return content


@pytest.fixture
def full_disk() -> Callable[[int], None]:
    """Lets no file grow beyond some bytes from then on, as a full disk would, until the test is over."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    return lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """End a `full_disk` with its test: pytest writes its report, perhaps to a file, before fixtures end."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program given as text in a process of its own, to its end."""

    def run_python(program: str, *words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *map(str, words)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)

    return run_python
