"""segment-cine: the mask lies on the cine's grid and on the heart, the report adds up, and bad input is one line."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from bedside.cli import segment_cine
from cinert.data.cine import open_cine


def run(*arguments: object) -> Result:
    return CliRunner().invoke(segment_cine, [str(argument) for argument in arguments])


def assert_refused(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    assert result.output.startswith("segment-cine: "), result.output
    assert result.output.count("\n") == 1, result.output
    for word in words:
        assert word in result.output


def test_the_mask_lies_on_the_cines_grid_and_on_the_heart(bundle_folder: Path, cine, tmp_path: Path) -> None:
    path, truth = cine

    result = run(bundle_folder, path, "-o", tmp_path / "mask.nii.gz", "--threads", 1)

    assert result.exit_code == 0, result.output
    image, mask = nib.load(path), nib.load(tmp_path / "mask.nii.gz")
    assert mask.shape == image.shape
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert mask.header.get_zooms() == image.header.get_zooms()
    assert mask.get_data_dtype() == np.uint8
    found = np.asarray(mask.dataobj) == 3
    overlap = 2 * (found & truth).sum((0, 1, 2)) / (found.sum((0, 1, 2)) + truth.sum((0, 1, 2)))
    assert overlap.min() > 0.85


def test_the_report_adds_up(make_bundle, cine, tmp_path: Path) -> None:
    path, _ = cine
    report = tmp_path / "report.json"

    result = run(make_bundle("ort"), path, "-o", tmp_path / "mask.nii.gz", "--report", report, "--repeat", 2,
                 "--budget-ms", 1e-4)  # fmt: skip

    assert result.exit_code == 0, result.output
    document = json.loads(report.read_text())
    assert document["schema"] == "cinert.cine-report"
    assert [frame["phase"] for frame in document["frames"]] == [0, 1, 2, 3, 4, 5] * 2
    for frame in document["frames"]:
        parts = [frame[f"{stage}_ms"] for stage in ("localise", "preprocess", "engine", "inverse", "quality")]
        assert sum(parts) == pytest.approx(frame["total_ms"])
    totals = [frame["total_ms"] for frame in document["frames"]]
    assert document["latency"]["worst_ms"] == max(totals)
    assert document["latency"]["p50_ms"] == pytest.approx(np.median(totals))
    assert document["latency"]["misses"] == document["latency"]["frames"] == 12
    mask = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    voxel_ml = 2.5 * 3.0 * 8.0 / 1000
    assert document["volumes_ml"]["lv"] == pytest.approx(((mask == 3).sum((0, 1, 2)) * voxel_ml).tolist())
    assert document["function"]["ed_phase"] == 0
    assert document["function"]["es_phase"] == 3
    assert document["function"]["rv"]["ef_percent"] is None
    assert "no EF, not found in phase 1, 2, 3, 4, 5, 6" in result.output
    assert document["cine"]["time_step_ms"] == pytest.approx(40)
    assert document["fingerprint"]["backend"] == "ort"
    # The radius shrinks from 26 to 20 mm; partial volume and 8 mm slices allow no more than this.
    assert document["function"]["lv"]["ef_percent"] == pytest.approx(100 * (1 - (20 / 26) ** 3), abs=8)


class TestWhatCannotBeAHeart:
    def test_is_unsure_everywhere_and_ends_with_1(self, nonsense_bundle: Path, cine, tmp_path: Path) -> None:
        path, truth = cine
        outputs = ["--report", tmp_path / "cine.json", "--plot", tmp_path / "page.png", "--overlay", tmp_path / "o.gif"]

        result = run(nonsense_bundle, path, "-o", tmp_path / "mask.nii.gz", *outputs)

        assert result.exit_code == 1, result.output
        assert "segment-cine: the masks are unsure, not plausible: 6 of 6 phases" in result.output
        assert "UNSURE, not plausible" in result.output
        document = json.loads((tmp_path / "cine.json").read_text())
        assert "MYO was not found" in document["unsure"]
        assert {frame["unsure"] for frame in document["frames"]} == {
            "not plausible: RV was not found; MYO was not found"
        }
        assert np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj).shape == truth.shape
        assert (tmp_path / "page.png").is_file()
        assert (tmp_path / "o.gif").is_file()

    def test_is_taken_by_force_and_stays_unsure(self, nonsense_bundle: Path, cine, tmp_path: Path) -> None:
        report = tmp_path / "cine.json"
        result = run(nonsense_bundle, cine[0], "-o", tmp_path / "mask.nii.gz", "--report", report, "--force")

        assert result.exit_code == 0, result.output
        assert "UNSURE, not plausible" in result.output
        assert json.loads(report.read_text())["unsure"]

    def test_and_what_can_is_not(self, make_bundle, cine, tmp_path: Path) -> None:
        result = run(make_bundle("ort"), cine[0], "-o", tmp_path / "mask.nii.gz", "--report", tmp_path / "cine.json")

        assert result.exit_code == 0, result.output
        assert "UNSURE" not in result.output
        assert json.loads((tmp_path / "cine.json").read_text())["unsure"] == ""


def test_the_first_line_says_whom_the_network_saw(nonsense_bundle: Path, cine, tmp_path: Path) -> None:
    manifest = json.loads((nonsense_bundle / "manifest.json").read_text())
    seen = [{"id": f"patient{number}", "digest": f"{number:064x}", "phantom": True} for number in range(5)]
    counted = {"patients": 0, "phantoms": 5, "unknown": 0, "classes": None}
    (nonsense_bundle / "manifest.json").write_text(
        json.dumps({**manifest, "seen_patients": seen, "provenance": counted})
    )
    report = tmp_path / "cine.json"

    result = run(nonsense_bundle, cine[0], "-o", tmp_path / "mask.nii.gz", "--report", report, "--force")

    assert result.output.splitlines()[0].endswith("trained on 5 phantoms, on no patient")
    assert json.loads(report.read_text())["provenance"] == counted


def test_the_overlay_has_a_frame_for_each_phase(make_bundle, cine, tmp_path: Path) -> None:
    path, truth = cine
    overlay = tmp_path / "overlay.gif"

    result = run(make_bundle("ort"), path, "-o", tmp_path / "mask.nii.gz", "--overlay", overlay)

    assert result.exit_code == 0, result.output
    with Image.open(overlay) as gif:
        assert gif.n_frames == truth.shape[3]
        assert gif.info["duration"] == 40
    assert overlay.stat().st_size < 3_000_000


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_the_bedside_needs_no_training_library(make_bundle, backend: str, cine, tmp_path: Path) -> None:
    path, _ = cine
    arguments = [str(make_bundle(backend)), str(path), "-o", str(tmp_path / "mask.nii.gz"),
                 "--overlay", str(tmp_path / "o.mp4"), "--report", str(tmp_path / "r.json"),
                 "--plot", str(tmp_path / "s.png")]  # fmt: skip
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'monai', 'onnx', 'matplotlib', 'safetensors']));"
        f"from bedside.cli import segment_cine; segment_cine({arguments!r})"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mask.nii.gz").is_file()
    assert (tmp_path / "o.mp4").is_file()
    assert (tmp_path / "s.png").is_file()


class TestBadInput:
    @pytest.fixture
    def bundle(self, make_bundle) -> Path:
        return make_bundle("ort")

    @pytest.mark.parametrize(
        ("shape", "affine", "words"),
        [
            ((8, 8), np.eye(4), "is 2D"),
            ((8, 8, 4, 2, 3), np.eye(4), "is 5D"),
            ((64, 64, 4, 2), np.diag([2e-3, 2e-3, 8e-3, 1]), "voxels of 0.002 x 0.002 x 0.008 mm"),
            ((64, 64, 40, 2), np.diag([2.0, 2.0, 50.0, 1]), "a grid of 128 x 128 x 2000 mm"),
            ((5, 128, 128, 8), np.diag([1.4, 1.4, 9.0, 1]), "a grid of 7 x 179.2 x 1152 mm"),
        ],
        ids=["slice", "two times", "metres", "2 m", "time first"],
    )
    def test_a_file_that_is_no_cine(self, bundle: Path, tmp_path: Path, shape, affine, words: str) -> None:
        nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), affine), tmp_path / "volume.nii.gz")

        result = run(bundle, tmp_path / "volume.nii.gz", "-o", tmp_path / "mask.nii.gz")

        assert_refused(result, 2, "volume.nii.gz", words)
        assert not (tmp_path / "mask.nii.gz").exists()

    def test_a_truncated_file(self, bundle: Path, cine, tmp_path: Path) -> None:
        path, _ = cine
        path.write_bytes(path.read_bytes()[:2000])

        assert_refused(run(bundle, path, "-o", tmp_path / "mask.nii.gz"), 2, "cine.nii.gz")

    def test_a_changed_engine(self, bundle: Path, cine, tmp_path: Path) -> None:
        (bundle / "ort-fp32.onnx").write_bytes(b"something else")

        result = run(bundle, cine[0], "-o", tmp_path / "mask.nii.gz")

        assert_refused(result, 2, "ort-fp32.onnx is not the file that was exported")
        assert not (tmp_path / "mask.nii.gz").exists()

    def test_a_back_end_that_is_not_here(self, make_bundle, cine, tmp_path: Path) -> None:
        result = run(make_bundle("trt"), cine[0], "-o", tmp_path / "mask.nii.gz")

        assert_refused(result, 3, "trt is not available because")

    @pytest.mark.parametrize(
        ("option", "name", "words"),
        [
            ("-o", "mask.png", "has to end in .nii or .nii.gz"),
            ("-o", "cine.nii.gz", "would overwrite the cine"),
            ("-o", "cine.nii.gz/mask.nii.gz", "cannot write"),
            ("--overlay", "overlay.avi", "has to end in .gif or .mp4"),
            ("--plot", "summary.jpg", "has to end in .png"),
            ("--report", "report.txt", "has to end in .json"),
        ],
    )
    def test_an_output_that_cannot_be_written(
        self, bundle: Path, cine, tmp_path: Path, option: str, name: str, words: str
    ) -> None:
        path, _ = cine
        before = path.read_bytes()

        result = run(bundle, path, "-o", tmp_path / "mask.nii.gz", option, tmp_path / name)

        assert_refused(result, 2, words)
        assert path.read_bytes() == before
        assert not (tmp_path / "mask.nii.gz").exists()


class TestDicom:
    def test_gives_the_mask_that_a_nifti_of_the_series_gives(
        self, make_bundle, write_dicom, ball, tmp_path: Path
    ) -> None:
        bundle = make_bundle("ort")
        image, affine = ball
        turned = np.eye(4)
        turned[:3, :3] = [[0.9, -0.3, 0.3], [0.42, 0.76, -0.5], [-0.08, 0.57, 0.81]]
        turned[:3, :3] = np.linalg.qr(turned[:3, :3])[0]
        write_dicom(tmp_path / "dicom", image, turned @ affine, order=list(range(9 * 6))[::-1])
        series = open_cine(tmp_path / "dicom")
        nib.save(nib.Nifti1Image(series.image, None, series.header), tmp_path / "cine.nii.gz")

        results = [
            run(bundle, tmp_path / "dicom", "-o", tmp_path / "a.nii.gz", "--overlay", tmp_path / "a.gif"),
            run(bundle, tmp_path / "cine.nii.gz", "-o", tmp_path / "b.nii.gz"),
        ]

        assert [result.exit_code for result in results] == [0, 0], results[0].output + results[1].output
        ours, other = nib.load(tmp_path / "a.nii.gz"), nib.load(tmp_path / "b.nii.gz")
        assert np.asarray(ours.dataobj).any()
        np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(other.dataobj))
        np.testing.assert_array_equal(ours.affine, other.affine)
        assert ours.header.get_zooms() == other.header.get_zooms()
        assert ours.header.get_zooms()[3] == pytest.approx(0.04)

    def test_of_a_real_series_fits_the_nifti_that_others_made_of_it(
        self, make_bundle, shared: Path, tmp_path: Path
    ) -> None:
        folder = shared / "cine4d"
        if not (folder / "dicom").is_dir():
            pytest.skip(f"{folder / 'dicom'} is absent")
        bundle = make_bundle("ort")
        nib.save(nib.load(folder / "sax_4d.nii.gz").slicer[:, :, 5:11], tmp_path / "cine.nii.gz")

        results = [
            run(bundle, folder / "dicom", "-o", tmp_path / "a.nii.gz"),
            run(bundle, tmp_path / "cine.nii.gz", "-o", tmp_path / "b.nii.gz"),
        ]

        assert [result.exit_code for result in results] == [0, 0], results[0].output + results[1].output
        ours, other = (np.asarray(nib.load(tmp_path / name).dataobj) for name in ("a.nii.gz", "b.nii.gz"))
        assert ours.any()
        np.testing.assert_array_equal(ours, other)

    def test_two_series_need_a_choice(self, make_bundle, write_dicom, ball, tmp_path: Path) -> None:
        bundle = make_bundle("ort")
        image, affine = ball
        write_dicom(tmp_path / "exam" / "a", image, affine, number=5)
        write_dicom(tmp_path / "exam" / "b", image[:, :, :4], affine, number=6)

        assert_refused(run(bundle, tmp_path / "exam", "-o", tmp_path / "mask.nii.gz"), 2, "2 series", "--series")
        assert not (tmp_path / "mask.nii.gz").exists()

        chosen = run(bundle, tmp_path / "exam", "--series", 6, "-o", tmp_path / "mask.nii.gz")
        assert chosen.exit_code == 0, chosen.output
        assert nib.load(tmp_path / "mask.nii.gz").shape == (*image.shape[:2], 4, image.shape[3])

    def test_with_phase_images_in_its_series_gives_the_mask_without_them(
        self, make_bundle, write_dicom, ball, tmp_path: Path
    ) -> None:
        bundle = make_bundle("ort")
        image, affine = ball
        noise = np.random.default_rng(0).integers(0, 4095, image.shape).astype(np.int16)

        def numbered(first: int, component: str):
            def change(dataset, k, t):
                del dataset.TriggerTime
                dataset.InstanceNumber = 2 * (k * image.shape[3] + t) + first
                dataset.ImageType = ["ORIGINAL", "PRIMARY", component]

            return change

        series = write_dicom(tmp_path / "plain", image, affine, change=numbered(0, "M"))
        write_dicom(tmp_path / "mixed" / "m", image, affine, series=series, change=numbered(0, "M"))
        write_dicom(tmp_path / "mixed" / "p", noise, affine, series=series, change=numbered(1, "P"))

        results = {
            name: run(bundle, tmp_path / name, "-o", tmp_path / f"{name}.nii.gz", "--threads", 1)
            for name in ("plain", "mixed")
        }

        assert {result.exit_code for result in results.values()} == {0}, results
        note = f"Note: 54 of 108 images in {tmp_path / 'mixed'} are left out: 54 phase (ImageType P)."
        assert note in results["mixed"].output
        assert "left out" not in results["plain"].output
        plain, mixed = (np.asarray(nib.load(tmp_path / f"{name}.nii.gz").dataobj) for name in ("plain", "mixed"))
        assert plain.any()
        np.testing.assert_array_equal(plain, mixed)

    def test_whose_last_slice_cannot_be_read_gets_no_mask(
        self, ort_bundle: Path, write_dicom, ball, tmp_path: Path
    ) -> None:
        write_dicom(tmp_path / "dicom", *ball)
        for path in sorted((tmp_path / "dicom").iterdir())[-6:]:
            path.write_bytes(b"")

        result = run(ort_bundle, tmp_path / "dicom", "-o", tmp_path / "mask.nii.gz")

        assert_refused(result, 2, "6 files that ought to be DICOM images", "I0048.dcm (empty)")
        assert not (tmp_path / "mask.nii.gz").exists()
