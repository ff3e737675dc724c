"""Preprocessed frames are read once, and a kept one that is not whole is made again."""

import multiprocessing
import shutil

import nibabel as nib
import numpy as np
import pytest

from cinert.data.dataset import load_samples
from cinert.data.grid import PreprocessingSpec
from cinert.data.layouts import read_patients
from cinert.data.patients import patient_digest
from cinert.files import sha256_of_file
from search.cache import SampleCache
from search.data import load_fold, load_patients


@pytest.fixture
def spec(tiny):
    return PreprocessingSpec(spacing_mm=tiny.spacing_mm, shape_DHW=tiny.input_shape_DHW)


@pytest.fixture
def frames(patients):
    return [frame for patient in read_patients(patients) for frame in patient.frames]


def cache_of(spec, frames, folder):
    files = {path: sha256_of_file(path) for frame in frames for path in (frame.image_path, frame.label_path)}
    return SampleCache(spec, files, folder)


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (one.patient_id, one.frame, one.phase, one.kept_share) == (
            other.patient_id,
            other.frame,
            other.phase,
            other.kept_share,
        )
        for kept, made in ((one.x_DHW, other.x_DHW), (one.y_DHW, other.y_DHW)):
            assert kept.dtype == made.dtype
            np.testing.assert_array_equal(kept, made)


def test_a_kept_frame_is_that_which_was_read(tmp_path, spec, frames, patients):
    expected = load_samples(read_patients(patients), spec)
    for made in (len(frames), 0):
        cache = cache_of(spec, frames, tmp_path)
        found = cache.load(frames)
        assert cache.made == made
        assert_same([cached.sample for cached in found], expected)
        digests = {cached.sample.patient_id: cached.digest for cached in reversed(found)}
        assert digests == {patient.id: patient_digest(patient) for patient in read_patients(patients)}


def test_a_pair_is_another_frame_when_its_voxels_are(tmp_path, tiny):
    """The header alone would not tell."""
    folder = tmp_path / "data" / "patient001"
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text("ED: 1\nES: 2\n")
    rng, affine = np.random.default_rng(0), np.diag([-6.0, -6.0, 10.0, 1.0])

    def write(frame):
        stem = folder / f"patient001_frame{frame:02d}"
        nib.save(nib.Nifti1Pair(rng.integers(0, 900, (16, 16, 4)).astype(np.int16), affine), f"{stem}.hdr")
        nib.save(nib.Nifti1Pair(rng.integers(0, 4, (16, 16, 4)).astype(np.uint8), affine), f"{stem}_gt.hdr")

    write(1)
    write(2)
    before = load_patients(tmp_path / "data", tiny)
    write(2)
    after = load_patients(tmp_path / "data", tiny)
    same = {name for name, digest in before.files.items() if after.files[name] == digest}
    assert same == {"patient001/patient001_frame01.hdr", "patient001/patient001_frame01_gt.hdr"}
    assert not np.array_equal(before.samples[1].x_DHW, after.samples[1].x_DHW)


@pytest.mark.parametrize("how", ["cut short", "a flipped bit", "another frame", "empty", "gone"])
def test_a_broken_one_is_made_again_and_never_trusted(tmp_path, spec, frames, how):
    first = cache_of(spec, frames, tmp_path)
    expected = [cached.sample for cached in first.load(frames)]
    path, other = first.path(frames[0]), first.path(frames[1])
    whole = path.read_bytes()
    if how == "another frame":
        shutil.copy(other, path)
    elif how == "gone":
        path.unlink()
    else:
        flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
        path.write_bytes({"cut short": whole[:-100], "a flipped bit": flipped, "empty": b""}[how])
    cache = cache_of(spec, frames, tmp_path)
    assert_same([cached.sample for cached in cache.load(frames)], expected)
    assert cache.made == 1
    assert path.read_bytes() == whole


def test_other_content_and_another_grid_are_other_frames(tmp_path, spec, frames, patients, tiny):
    cache_of(spec, frames, tmp_path / "cache").load(frames)
    coarser = PreprocessingSpec(spacing_mm=(10.0, 7.0, 7.0), shape_DHW=tiny.input_shape_DHW)
    cache = cache_of(coarser, frames, tmp_path / "cache")
    cache.load(frames)
    assert cache.made == len(frames)
    shutil.copytree(patients, tmp_path / "data")
    changed = next((tmp_path / "data").rglob("*_gt.nii.gz"))
    image = nib.load(changed)
    values = np.asarray(image.dataobj).copy()
    values[8, 8, 2] = 3 - values[8, 8, 2]
    nib.save(nib.Nifti1Image(values, image.affine), changed)
    moved = [frame for patient in read_patients(tmp_path / "data") for frame in patient.frames]
    cache = cache_of(spec, moved, tmp_path / "cache")
    cache.load(moved)
    # Of the same patients under another path the cache knows all but the one that changed.
    assert cache.made == 1


def fill(spec, frames, folder):
    cache_of(spec, frames, folder).load(frames)


def test_several_processes_may_fill_it_at_once(tmp_path, spec, frames):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fill, args=(spec, frames, tmp_path)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    cache = cache_of(spec, frames, tmp_path)
    cache.load(frames)
    assert cache.made == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors"}


def test_a_full_disk_costs_the_cache_alone(tmp_path, spec, frames, full_disk):
    full_disk(1000)
    cache = cache_of(spec, frames, tmp_path)
    assert len(cache.load(frames)) == len(frames)
    assert "File too large" in cache.trouble
    assert not list(tmp_path.glob("*.safetensors"))


def test_folds_out_of_one_reading(patients, tiny):
    loaded = load_patients(patients, tiny)
    for fold in (0, 3, None):
        one, other = loaded.fold(fold), load_fold(patients, tiny, fold)
        assert one.digest == other.digest
        assert one.seen == other.seen
        assert_same(one.train, other.train)
        assert_same(one.validation, other.validation)
    held_out = [{sample.patient_id for sample in loaded.fold(fold).validation} for fold in range(5)]
    assert sorted(id_ for ids in held_out for id_ in ids) == sorted(loaded.patients)
