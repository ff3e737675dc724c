"""segment-cine on files as other people's tools write them: the same mask, on the header that was given."""

import json
from pathlib import Path

import av
import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bedside.cli import segment_cine
from bedside.pipeline import FramePipeline
from cinert.bundle import open_bundle
from cinert.data.layouts import read_patients
from cinert.data.patients import load_frame

UNIT = np.diag([-1.0, -1.0, 1.0, 1.0])
KEPT = ("dim", "dim_info", "intent_p1", "intent_code", "slice_code", "pixdim", "xyzt_units", "toffset", "descrip",
        "aux_file", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
        "qoffset_z", "srow_x", "srow_y", "srow_z", "intent_name")  # fmt: skip


@pytest.fixture
def run(ort_bundle, tmp_path):
    """Segments a file; gives the mask as nibabel has it, and what was printed."""

    def run(path: Path, *options: object, name: str = "mask.nii.gz"):
        words = [ort_bundle, path, "-o", tmp_path / name, "--threads", 1, *options]
        result = CliRunner().invoke(segment_cine, list(map(str, words)))
        assert result.exit_code == 0, result.output
        return nib.load(tmp_path / name), result.output

    return run


@pytest.fixture
def usual(ball, tmp_path):
    """The cine with a header about which nobody can be in doubt."""
    image, affine = ball
    stored = nib.Nifti1Image(image, affine)
    stored.set_qform(affine, 1)
    stored.header.set_xyzt_units("mm", "sec")
    stored.header["pixdim"][4] = 0.04
    nib.save(stored, tmp_path / "usual.nii.gz")
    return tmp_path / "usual.nii.gz"


def voxels(mask) -> np.ndarray:
    found = np.asarray(mask.dataobj)
    assert found.dtype == np.uint8
    assert found.any()
    return found


@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (2, 4)])
def test_an_sform_of_unit_scale_changes_no_voxel_and_stays_in_the_masks_header(
    run, usual, ball, write_raw_nifti, tmp_path, codes
):
    image, affine = ball
    path = write_raw_nifti(
        tmp_path / "original.nii.gz", image, sform=np.abs(UNIT), qform=affine, codes=codes, pixdim=(2.5, 3, 8, 0.04),
        descrip=b"as downloaded", aux_file=b"none", intent_code=1001, intent_p1=2.0, intent_name=b"estimate", toffset=3,
    )  # fmt: skip

    expected, _ = run(usual, name="usual_mask.nii.gz")
    mask, said = run(path, "--report", tmp_path / "report.json")

    np.testing.assert_array_equal(voxels(mask), voxels(expected))
    given = nib.load(path).header
    for field in KEPT:
        np.testing.assert_array_equal(mask.header[field], given[field], err_msg=field)
    assert said.count("Note: cine") == 1
    report = json.loads((tmp_path / "report.json").read_text())
    voxel_ml = 2.5 * 3 * 8 / 1000
    assert report["volumes_ml"]["lv"] == pytest.approx((voxels(mask) == 3).sum((0, 1, 2)) * voxel_ml)
    assert report["cine"]["time_step_ms"] == pytest.approx(40)


def test_masks_of_patients_with_original_and_with_rebuilt_headers_are_equal(
    ort_bundle, ball, write_raw_nifti, tmp_path, capsys
):
    image, affine = ball
    label = np.where(image > 800, 3, 0).astype(np.uint8)
    for folder, sform in (("original", UNIT), ("rebuilt", affine)):
        for number in (1, 2):
            name = f"patient{number:03d}"
            for frame in (1, 4):
                stem = tmp_path / folder / name / f"{name}_frame{frame:02d}"
                header = {"sform": sform, "qform": affine, "pixdim": (2.5, 3, 8)}
                write_raw_nifti(stem.with_name(f"{stem.name}.nii.gz"), image[..., frame - 1] + number, **header)
                write_raw_nifti(stem.with_name(f"{stem.name}_gt.nii.gz"), label[..., frame - 1], **header)
            (tmp_path / folder / name / "Info.cfg").write_text("ED: 1\nES: 4\nNbFrame: 6\n")

    masks: dict[str, list[np.ndarray]] = {}
    with FramePipeline.from_bundle(open_bundle(ort_bundle), device="cpu", threads=1) as pipeline:
        for folder in ("original", "rebuilt"):
            for patient in read_patients(tmp_path / folder):
                for frame in patient.frames:
                    stack, truth, geometry = load_frame(frame)
                    assert geometry.voxel_ml == pytest.approx(0.06)
                    assert truth.any()
                    masks.setdefault(folder, []).append(pipeline.bind(geometry).segment(stack).mask.copy())

    assert len(masks["original"]) == 4
    for original, rebuilt in zip(masks["original"], masks["rebuilt"], strict=True):
        assert original.any()
        np.testing.assert_array_equal(original, rebuilt)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(tmp_path / "original" / "patient001" / "patient001_frame01.nii.gz") in said


@pytest.mark.parametrize(
    ("dtype", "unit"), [(np.float32, 1e-9), (np.float32, 1e30), (np.float64, 1e-60), (np.float64, 1e60)]
)
def test_a_mask_and_its_pictures_do_not_depend_on_the_unit_of_the_grey_values(run, usual, tmp_path, dtype, unit):
    stored = nib.load(usual)
    values = np.asarray(stored.dataobj).astype(dtype) * dtype(unit)
    header = stored.header.copy()
    header.set_data_dtype(dtype)
    nib.save(nib.Nifti1Image(values, None, header), tmp_path / "float.nii.gz")

    expected, _ = run(usual, "--plot", tmp_path / "usual.png", name="usual_mask.nii.gz")
    mask, _ = run(tmp_path / "float.nii.gz", "--plot", tmp_path / "float.png")

    np.testing.assert_array_equal(voxels(mask), voxels(expected))
    # Latencies differ; the slices, top left, do not.
    tiles = [
        np.asarray(Image.open(tmp_path / name).convert("L"))[200:500, 80:400] for name in ("usual.png", "float.png")
    ]
    assert tiles[1].std() > 10
    assert np.abs(tiles[0].astype(int) - tiles[1]).max() <= 2


def test_time_in_the_fifth_axis(run, usual, tmp_path):
    stored = nib.load(usual)
    image = np.asarray(stored.dataobj)[:, :, :, None, :]
    five = nib.Nifti1Image(image, stored.affine)
    five.header.set_xyzt_units("mm", "sec")
    five.header["pixdim"][5] = 0.04
    nib.save(five, tmp_path / "five.nii.gz")

    expected, _ = run(usual, name="usual_mask.nii.gz")
    mask, _ = run(tmp_path / "five.nii.gz")

    np.testing.assert_array_equal(voxels(mask), voxels(expected))
    assert mask.header.get_zooms() == pytest.approx((2.5, 3, 8, 0.04))
    np.testing.assert_array_equal(mask.affine, stored.affine)


@pytest.mark.parametrize("axes", [3, 4])
def test_one_phase_has_volumes_and_no_ejection_fraction(run, usual, tmp_path, axes):
    stored = nib.load(usual)
    first = np.asarray(stored.dataobj)[..., :1] if axes == 4 else np.asarray(stored.dataobj)[..., 0]
    nib.save(nib.Nifti1Image(first, stored.affine), tmp_path / "one.nii.gz")

    whole, _ = run(usual, name="usual_mask.nii.gz")
    pictures = ("--overlay", tmp_path / "one.gif", "--plot", tmp_path / "one.png", "--report", tmp_path / "one.json")
    mask, said = run(tmp_path / "one.nii.gz", *pictures)

    assert mask.shape == first.shape
    np.testing.assert_array_equal(voxels(mask).reshape(first.shape[:3]), voxels(whole)[..., 0])
    report = json.loads((tmp_path / "one.json").read_text())
    assert report["function"]["lv"]["edv_ml"] == pytest.approx((voxels(mask) == 3).sum() * 0.06)
    assert report["function"]["lv"]["ef_percent"] is None
    assert report["cine"]["shape"] == [*first.shape[:3], 1]
    assert "no EF, one phase" in said
    assert "%" not in said
    assert (tmp_path / "one.gif").stat().st_size > 0
    assert (tmp_path / "one.png").stat().st_size > 0


@pytest.mark.parametrize(("unit", "step"), [("msec", 0.06), ("usec", 0.06), ("sec", 900.0)])
def test_films_of_a_cine_with_an_impossible_time_step(run, usual, tmp_path, unit, step):
    """They run at 50 ms a phase: 0.06 ms would be 100,000 pictures, 0 a division, 900 s more than a GIF can hold."""
    stored = nib.load(usual)
    stored.header.set_xyzt_units("mm", unit)
    stored.header["pixdim"][4] = step
    nib.save(stored, tmp_path / "cine.nii.gz")

    _, said = run(tmp_path / "cine.nii.gz", "--overlay", tmp_path / "film.gif", "--report", tmp_path / "report.json")
    mask, _ = run(tmp_path / "cine.nii.gz", "--overlay", tmp_path / "film.mp4")

    assert said.count("taken as unknown") == 1
    assert json.loads((tmp_path / "report.json").read_text())["cine"]["time_step_ms"] is None
    with Image.open(tmp_path / "film.gif") as gif:
        assert (gif.n_frames, gif.info["duration"]) == (6, 50)
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert film.streams.video[0].average_rate == 20
        assert film.streams.video[0].frames == 6 * 20
    # The mask keeps what it was given, right or wrong.
    assert mask.header["pixdim"][4] == pytest.approx(step)
    assert mask.header.get_xyzt_units() == ("mm", unit)


@pytest.mark.parametrize("kind", ["NIfTI-2", "pair", "pair of NIfTI-2", "big-endian"])
def test_other_kinds_of_nifti_give_the_same_mask_and_nothing_on_stderr(start, ort_bundle, run, usual, tmp_path, kind):
    stored = nib.load(usual)
    image, header = np.asarray(stored.dataobj), stored.header
    if kind == "big-endian":
        path, header["vox_offset"] = tmp_path / "cine.nii", 352
        turned = header.as_byteswapped(">")
        path.write_bytes(turned.binaryblock + bytes(4) + image.astype(">i2").tobytes(order="F"))
    else:
        cls = {"NIfTI-2": nib.Nifti2Image, "pair": nib.Nifti1Pair, "pair of NIfTI-2": nib.Nifti2Pair}[kind]
        other = cls(image, stored.affine)
        other.set_qform(stored.affine, 1)
        other.header.set_xyzt_units("mm", "sec")
        other.header["pixdim"][4] = 0.04
        path = tmp_path / ("cine.hdr" if "pair" in kind else "cine.nii.gz")
        nib.save(other, path)

    expected, _ = run(usual, name="usual_mask.nii.gz")
    process = start("segment-cine", ort_bundle, path, "-o", tmp_path / "mask.nii.gz", "--threads", 1)
    said, _ = process.communicate(timeout=120)

    assert process.returncode == 0, said
    assert "sizeof_hdr" not in said
    assert "setting" not in said
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert isinstance(mask, nib.Nifti2Image) == ("NIfTI-2" in kind)
    np.testing.assert_array_equal(voxels(mask), voxels(expected))
    np.testing.assert_allclose(mask.affine, stored.affine)
    assert mask.header.get_zooms() == pytest.approx((2.5, 3, 8, 0.04))
    for field in ("qform_code", "sform_code", "xyzt_units"):
        assert mask.header[field] == nib.load(path).header[field]
