import dataclasses
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

import bench.accuracy
from bench.accuracy import FrameAccuracy, summarise
from bench.accuracy_cli import evaluate_bundle
from bench.metrics import FrameScore
from cinert.data.folds import split
from cinert.data.layouts import read_patients

INDEX = ("edv_ml", "esv_ml", "sv_ml", "ef_percent")


def run(*words):
    return CliRunner().invoke(evaluate_bundle, [str(word) for word in words])


@pytest.fixture
def output(tmp_path):
    return tmp_path / "accuracy.json"


def test_the_folds_patients_are_scored(bundle_folder, patients_folder, output):
    result = run(bundle_folder, "--data", patients_folder, "--fold", 1, "--threads", 1, "-o", output)
    assert result.exit_code == 0, result.output
    document = json.loads(output.read_text())
    held_out = split(["patient901", "patient902", "patient903"], 1).validation
    assert [(item["id"], item["frame"]) for item in document["patients"]] == [(held_out[0], 1), (held_out[0], 4)]
    assert document["n_patients"] == 1
    assert document["seen_patients"] == []
    assert held_out[0] in result.output
    assert set(document["mean"]["dice"]) == {"rv", "myo", "lv", "mean"}
    assert document["mean"]["dice"]["mean"] == pytest.approx(
        np.mean([document["mean"]["dice"][name] for name in ("rv", "myo", "lv")])
    )
    assert document["fingerprint"]["backend"] == "ort"


def test_fold_all_scores_every_patient(bundle_folder, patients_folder, output):
    assert run(bundle_folder, "--data", patients_folder, "--fold", "all", "-o", output).exit_code == 0
    assert json.loads(output.read_text())["n_patients"] == 3


def test_a_perfect_pipeline_scores_one(bundle_folder, patients_folder, output, monkeypatch):
    # What the pipeline returns is scored against the label on the stored grid: the label itself scores 1 and 0 mm.
    class Perfect(bench.accuracy.FramePipeline):
        def segment(self, image_stored):
            result = super().segment(image_stored)
            # The fixture's grey values are 100 per label.
            result.mask[:] = np.clip(np.rint(image_stored / 100), 0, 3)
            return result

    monkeypatch.setattr("bedside.pipeline.FramePipeline", Perfect)
    assert run(bundle_folder, "--data", patients_folder, "--fold", "all", "-o", output).exit_code == 0
    document = json.loads(output.read_text())
    assert document["mean"]["dice"]["mean"] == 1.0
    assert document["mean"]["hd95_mm"]["mean"] == 0.0
    for row in document["clinical"]["agreement"].values():
        assert (row["n"], row["bias"], row["limits"]) == (3, 0.0, [0.0, 0.0])
    for patient in document["clinical"]["patients"]:
        # Boxes of 6 x 10 x 4 (RV), 6 x 8 x 4 (LV) and 12 x 14 x 4 less the LV (MYO), voxels of 0.36 ml, ED like ES.
        assert patient["predicted"] == pytest.approx(
            {
                **{f"lv_{index}": value for index, value in zip(INDEX, (69.12, 69.12, 0, 0), strict=True)},
                **{f"rv_{index}": value for index, value in zip(INDEX, (86.4, 86.4, 0, 0), strict=True)},
                "myo_mass_g": (12 * 14 - 6 * 8) * 4 * 0.36 * 1.05,
            }
        )


def test_a_class_that_nobody_shows_and_nobody_finds_leaves_the_mean(
    bundle_folder, patients_folder, output, monkeypatch, tmp_path
):
    """No RV in labels and masks; of the LV every second row is missed. Counted as 1, the RV would lift the mean."""
    data = tmp_path / "data"
    shutil.copytree(patients_folder, data)
    for path in data.glob("*/*.nii.gz"):
        stored = nib.load(path)
        values = np.asarray(stored.dataobj)
        if path.name.endswith("_gt.nii.gz"):
            values = np.where(values == 1, 0, values)
        nib.save(nib.Nifti1Image(values, stored.affine), path)

    class HalfOfTheLv(bench.accuracy.FramePipeline):
        def segment(self, image_stored):
            result = super().segment(image_stored)
            result.mask[:] = np.clip(np.rint(image_stored / 100), 0, 3)
            result.mask[result.mask == 1] = 0
            result.mask[::2][result.mask[::2] == 3] = 0
            return result

    monkeypatch.setattr("bedside.pipeline.FramePipeline", HalfOfTheLv)
    result = run(bundle_folder, "--data", data, "--fold", "all", "-o", output)
    assert result.exit_code == 0, result.output
    document = json.loads(output.read_text())
    for frame in document["patients"]:
        assert (frame["dice"]["rv"], frame["hd95_mm"]["rv"]) == (None, None)
    mean = document["mean"]["dice"]
    assert mean == pytest.approx({"rv": None, "myo": 1.0, "lv": 2 / 3, "mean": 5 / 6})
    assert document["mean"]["hd95_mm"]["rv"] is None
    assert document["mean"]["hd95_mm"]["mean"] == pytest.approx(document["mean"]["hd95_mm"]["lv"] / 2)
    assert document["std"]["dice"] == pytest.approx({"rv": None, "myo": 0.0, "lv": 0.0}, abs=1e-6)
    assert "mean Dice 0.833" in result.output
    row = next(line.split() for line in result.output.splitlines() if line.split()[:3] == ["mean", "of", "3"])
    assert row[3:7] == ["-", "1.000", "0.667", "0.833"]


def test_the_bland_altman_picture_is_written(bundle_folder, patients_folder, output, tmp_path):
    plot = tmp_path / "pictures" / "plot.png"
    result = run(bundle_folder, "--data", patients_folder, "--fold", "all", "-o", output, "--plot", plot)
    assert result.exit_code == 0, result.output
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert f"wrote {output} and {plot}" in result.output
    assert "LV EDV, ml" in result.output


def test_patients_without_phases_are_named_and_cannot_be_plotted(
    bundle_folder, patients_folder, output, monkeypatch, tmp_path
):
    whole = read_patients(patients_folder)
    alone = [dataclasses.replace(patient, frames=patient.frames[:1]) for patient in whole]
    monkeypatch.setattr("bench.seen.read_patients", lambda _: [*whole[:1], *alone[1:]])
    assert run(bundle_folder, "--data", patients_folder, "--fold", "all", "-o", output).exit_code == 0
    clinical = json.loads(output.read_text())["clinical"]
    assert [patient["id"] for patient in clinical["patients"]] == ["patient901"]
    assert clinical["without_both_phases"] == ["patient902", "patient903"]

    monkeypatch.setattr("bench.seen.read_patients", lambda _: alone)
    other = tmp_path / "other"
    result = run(
        bundle_folder, "--data", patients_folder, "--fold", "all", "-o", other / "a.json", "--plot", other / "p.png"
    )
    assert result.exit_code == 2
    assert "none of these 3 patients has an ED and an ES frame" in result.stderr
    assert not other.exists()


def test_seen_patients_are_refused_by_id(make_bundle, patients_folder, output):
    bundle = make_bundle(seen=[{"id": "patient902", "digest": "0" * 64}, {"id": "patient903", "digest": "1" * 64}])
    result = run(bundle, "--data", patients_folder, "--fold", "all", "-o", output)
    assert result.exit_code == 2
    assert "saw 2 of these patients: patient902, patient903." in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not output.exists()


def test_seen_patients_are_refused_by_content_under_another_name(
    make_bundle, patients_folder, records, output, tmp_path
):
    renamed = tmp_path / "renamed" / "someone-else"
    shutil.copytree(patients_folder / "patient901", renamed)
    for path in list(renamed.iterdir()):
        path.rename(path.with_name(path.name.replace("patient901", "someone-else")))
    bundle = make_bundle(seen=records[:1])
    result = run(bundle, "--data", renamed.parent, "--fold", "all", "-o", output)
    assert result.exit_code == 2
    assert "someone-else" in result.stderr


def test_allow_seen_scores_and_names_them(make_bundle, patients_folder, records, output):
    bundle = make_bundle(seen=records[:1])
    result = run(bundle, "--data", patients_folder, "--fold", "all", "--allow-seen", "-o", output)
    assert result.exit_code == 0
    document = json.loads(output.read_text())
    assert document["seen_patients"] == ["patient901"]
    assert document["n_patients"] == 3
    assert "patient901 *" in result.output


def test_weights_that_do_not_say_are_refused(make_bundle, patients_folder, output):
    bundle = make_bundle(seen=None)
    result = run(bundle, "--data", patients_folder, "-o", output)
    assert result.exit_code == 2
    assert "do not say which patients they saw" in result.stderr
    assert run(bundle, "--data", patients_folder, "--allow-seen", "-o", output).exit_code == 0
    assert json.loads(output.read_text())["seen_patients"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["BUNDLE"], "no data"),
        (["BUNDLE", "--data", "nowhere"], "no data folder nowhere"),
        (["nowhere", "--data", "DATA"], "no bundle nowhere"),
        (["BUNDLE", "--data", "DATA", "-o", "."], "it is a folder"),
        (["BUNDLE", "--data", "DATA", "--plot", "."], "it is a folder"),
    ],
)
def test_bad_input_gives_one_line_and_writes_nothing(
    bundle_folder, patients_folder, tmp_path, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    named = {"BUNDLE": bundle_folder, "DATA": patients_folder}
    result = run(*(named.get(word, word) for word in words))
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_midway_leaves_nothing(bundle_folder, patients_folder, output, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(patients_folder, data)
    label = data / "patient903" / "patient903_frame04_gt.nii.gz"
    label.write_bytes(label.read_bytes()[:200])
    results = tmp_path / "results"
    result = run(bundle_folder, "--data", data, "--fold", "all", "-o", results / "accuracy.json")
    assert result.exit_code == 2
    assert str(label) in result.stderr.replace("\n", "")
    assert not results.exists()


def test_each_patient_counts_once():
    def frame(patient, dice):
        scores = {"rv": dice, "myo": dice, "lv": dice}
        return FrameAccuracy(
            patient_id=patient,
            frame=1,
            phase="ED",
            score=FrameScore(scores, scores),
            reference_ml=scores,
            predicted_ml=scores,
            kept_share=1.0,
            latency_ms=1.0,
        )

    # By frames the mean would be 0.75.
    summary = summarise([frame("a", 1.0), frame("a", 1.0), frame("a", 1.0), frame("b", 0.0)])
    assert summary.patients == 2
    assert summary.mean_dice == 0.5
    assert summary.dice_std["rv"] == pytest.approx(0.5**0.5)
