"""Patients that a network did not see, clean and corrupted: what becomes of Dice and score, and the two commands."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from bedside.pipeline import FramePipeline
from bench.corruptions import CORRUPTIONS, Corruption
from bench.quality_cli import calibrate_quality
from bench.quality_fit import Aim, fit_quality
from bench.quality_worth import score_with
from bench.robustness import CLEAN, dice, planned, sweep
from bench.robustness_cli import bench_robustness
from cinert.bundle import open_bundle
from cinert.data.grid import PreprocessingSpec
from cinert.data.layouts import read_patients
from cinert.quality import FEATURES

SHAPE = (26, 24, 6)
SPEC = PreprocessingSpec(spacing_mm=(10.0, 6.0, 6.0), shape_DHW=(6, 24, 26))
GREY = np.array([200.0, 600.0, 400.0, 800.0])
FEW = {
    "noise": Corruption("noise", "%", "%", (2, 8, 20), CORRUPTIONS["noise"].apply),
    "arrhythmia": Corruption("phases", "%", "%", (50,), CORRUPTIONS["arrhythmia"].apply),
}


class GreyRunner:
    """A network that knows its patients: each voxel is the class whose grey value is nearest, smoothly so."""

    input_shapes = ((1, 1, *SPEC.shape_DHW),)
    output_shape = (1, 4, *SPEC.shape_DHW)

    def run(self, x_BCDHW):
        # Z-scored values, on the scale of the brightest and darkest voxels of a clean frame.
        grey = x_BCDHW[0, 0] * self.sd + self.mean
        distance = (grey - GREY[:, None, None, None]) / 60
        return (-(distance**2) / 2)[None].astype(np.float32)

    def fork(self):
        return self

    def close(self):
        pass


def heart(rng, endo):
    x, y = np.ogrid[: SHAPE[0], : SHAPE[1]]
    centre = rng.uniform(12, 14, 2)
    distance = np.hypot(x - centre[0], y - centre[1])
    label = np.zeros(SHAPE, np.uint8)
    plane = np.zeros(SHAPE[:2], np.uint8)
    plane[(np.hypot(x - centre[0] + 6, y - centre[1]) < 5) & (distance >= endo + 2)] = 1
    plane[distance < endo + 2] = 2
    plane[distance < endo] = 3
    label[:, :, 1:5] = plane[:, :, None]
    return label


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five patients in ACDC's layout; grey values stand for classes."""
    folder = tmp_path_factory.mktemp("grey")
    rng = np.random.default_rng(0)
    for number in range(5):
        name = f"patient{911 + number}"
        (folder / name).mkdir()
        (folder / name / "Info.cfg").write_text("ED: 1\nES: 4\nGroup: NOR\n")
        size = rng.uniform(4, 5)
        for frame, endo in ((1, size), (4, size - 1.5)):
            label = heart(rng, endo)
            image = GREY[label] + rng.normal(0, 5, SHAPE)
            for suffix, volume in (("", image.astype(np.float32)), ("_gt", label)):
                path = folder / name / f"{name}_frame{frame:02d}{suffix}.nii.gz"
                nib.save(nib.Nifti1Image(volume, np.diag([-6.0, -6.0, 10.0, 1.0])), path)
    return folder


@pytest.fixture
def pipeline():
    runner = GreyRunner()
    label = heart(np.random.default_rng(1), 4.0)
    runner.mean, runner.sd = GREY[label].mean(), GREY[label].std()
    return FramePipeline(runner, SPEC)


@pytest.fixture
def samples(pipeline, folder):
    done = []
    patients = read_patients(folder)
    found = sweep(pipeline, patients, corruptions=FEW, on_mask=lambda: done.append(1))
    assert len(done) == len(found) == planned(patients, FEW)
    return found


def test_every_frame_clean_and_at_every_strength(samples):
    kinds = [(CLEAN, 0.0), ("noise", 2), ("noise", 8), ("noise", 20), ("arrhythmia", 50)]
    assert [(each.corruption, each.strength) for each in samples] == kinds * 10
    assert {each.previous for each in samples} == {"other phase"}
    assert all(set(each.features) == set(FEATURES) for each in samples if each.features)
    assert samples[0].mean_dice > 0.85


def test_the_same_seed_gives_the_same_masks(pipeline, folder, samples):
    again = sweep(pipeline, read_patients(folder)[:1], corruptions=FEW, on_mask=lambda: None)
    assert again == samples[:10]
    assert sweep(pipeline, read_patients(folder)[:1], corruptions=FEW, seed=1, on_mask=lambda: None) != samples[:10]


def test_the_stronger_the_noise_the_lower_dice_and_score_on_patients_not_fitted_to(samples):
    last = samples[-1].patient_id
    model = fit_quality([each for each in samples if each.patient_id != last], Aim(0.7, 0.9))
    scored = score_with(model, [each for each in samples if each.patient_id == last])
    rows = [
        (
            np.mean([m.sample.mean_dice for m in scored if m.sample.strength == strength]),
            np.mean([m.score for m in scored if m.sample.strength == strength]),
        )
        for strength in (0.0, 2, 8, 20)
    ]

    assert [each for each, _ in rows] == sorted((each for each, _ in rows), reverse=True)
    assert [score for _, score in rows] == sorted((score for _, score in rows), reverse=True)
    assert rows[0][1] - rows[-1][1] > 0.2


def test_the_scorer_of_the_pipeline_comes_back(pipeline, folder):
    pipeline.scorer = own = object()
    with pytest.raises(ZeroDivisionError):
        sweep(pipeline, read_patients(folder), corruptions=FEW, on_mask=lambda: 1 / 0)
    assert pipeline.scorer is own


def test_a_cine_gives_the_frames_before(pipeline, folder, tmp_path):
    shutil.copytree(folder / "patient911", tmp_path / "patient911")
    frames = [nib.load(tmp_path / "patient911" / f"patient911_frame{n:02d}.nii.gz") for n in (1, 1, 1, 4)]
    cine = nib.Nifti1Image(np.stack([each.get_fdata(dtype=np.float32) for each in frames], axis=-1), frames[0].affine)
    nib.save(cine, tmp_path / "patient911" / "patient911_4d.nii.gz")
    found = sweep(pipeline, read_patients(tmp_path), corruptions={}, on_mask=lambda: None)

    assert [each.previous for each in found] == ["other phase", "cine"]


def test_dice_by_hand():
    mask, truth = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4), np.uint8)
    mask[0, :2], truth[0, :3] = 3, 3
    truth[1] = 1
    assert dice(mask, truth) == {"rv": 0.0, "myo": None, "lv": pytest.approx(2 * 8 / (8 + 12))}


@pytest.fixture
def own_bundle(bundle_folder, tmp_path, pipeline, monkeypatch):
    """A bundle to write into, whose engine is the network that knows its patients."""
    monkeypatch.setattr(FramePipeline, "from_bundle", lambda *_, **__: pipeline)
    monkeypatch.setattr(sweep, "__kwdefaults__", {**sweep.__kwdefaults__, "corruptions": FEW})
    return shutil.copytree(bundle_folder, tmp_path / "bundle")


def run(command, *words):
    return CliRunner().invoke(command, [str(word) for word in words])


def test_a_bundle_is_calibrated_and_judged(own_bundle, folder, tmp_path):
    result = run(calibrate_quality, own_bundle, "--data", folder, "--fold", "all", "--catch", "0.8")
    assert result.exit_code == 0, result.output
    bundle = open_bundle(own_bundle)
    assert bundle.quality.calibration["catch"] == 0.8
    assert [each["id"] for each in bundle.quality.calibration["patients"]] == [f"patient{911 + k}" for k in range(5)]
    assert bundle.quality.judged["patients"] == 5
    assert bundle.digest[:12] in result.output

    output, plot = tmp_path / "out" / "robustness.json", tmp_path / "out" / "robustness.png"
    result = run(bench_robustness, own_bundle, "--data", folder, "--fold", "all", "-o", output, "--plot", plot)
    assert result.exit_code == 0, result.output
    document = json.loads(output.read_text())
    # The score was calibrated on these patients, so it is not judged on them.
    assert document["judged_by"] == "cross-validation"
    assert document["worth"] == {key: bundle.quality.judged[key] for key in document["worth"]}
    assert document["catch"] == 0.8
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_bundles_own_score_is_judged_on_others(own_bundle, folder, tmp_path):
    assert run(calibrate_quality, own_bundle, "--data", folder, "--fold", "all").exit_code == 0
    others = tmp_path / "others"
    for number in range(4):
        old, new = f"patient{911 + number}", f"patient{931 + number}"
        (others / new).mkdir(parents=True)
        for path in (folder / old).iterdir():
            volume = nib.load(path) if path.suffix == ".gz" else None
            target = others / new / path.name.replace(old, new)
            if volume is None:
                shutil.copy(path, target)
            else:
                # Other patients: the same hearts, mirrored.
                data = np.asarray(volume.dataobj)[::-1]
                nib.save(nib.Nifti1Image(data, volume.affine), target)
    output = tmp_path / "robustness.json"
    result = run(bench_robustness, own_bundle, "--data", others, "--fold", "all", "-o", output)
    assert result.exit_code == 0, result.output
    document = json.loads(output.read_text())

    assert document["judged_by"] == "bundle"
    assert document["unseen_corruption_auroc"] is None
    model = open_bundle(own_bundle).quality
    assert {mask["unsure"] == (mask["score"] < model.threshold) for mask in document["masks"]} == {True}


def saw(bundle, patients):
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "seen_patients": patients}))


@pytest.mark.parametrize("command", [calibrate_quality, bench_robustness])
def test_patients_that_the_network_saw_are_refused(command, bundle_folder, folder, tmp_path, monkeypatch):
    bundle, work = shutil.copytree(bundle_folder, tmp_path / "bundle"), tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    saw(bundle, [{"id": "patient912", "digest": "ab"}])
    result = run(command, bundle, "--data", folder, "--fold", "all")
    assert result.exit_code == 2
    assert "saw 1 of these patients: patient912" in result.output
    assert open_bundle(bundle).quality is None
    saw(bundle, None)
    result = run(command, bundle, "--data", folder, "--fold", "all")
    assert result.exit_code == 2
    assert "do not say which patients they saw" in result.output
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("command", [calibrate_quality, bench_robustness])
def test_too_few_patients_are_refused(command, bundle_folder, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(command, bundle_folder, "--data", folder, "--fold", 0)
    assert result.exit_code == 2
    assert "gives 1 patients, too few" in result.output
    result = run(command, bundle_folder)
    assert result.exit_code == 2
    assert "no data" in result.output
