"""All five folds in one command: each patient is held out once, and an interrupted one goes on."""

import json
import shutil
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner

from cinert.arch import save_arch
from cinert.sampling import random_arch
from search.folds import summarise_folds
from search.train_cli import train_arch


def invoke(*words):
    return CliRunner().invoke(train_arch, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="module")
def words(tmp_path_factory, tiny, patients):
    path = tmp_path_factory.mktemp("arch") / "arch.yaml"
    save_arch(path, random_arch(tiny, 3, paths=1))
    return [path, "--data", patients, "--epochs", 2, "--no-localiser", "--fold", "each"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("five")
    result = invoke(*words, "-o", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_every_patient_is_held_out_once_and_scored(finished, repository):
    folder, said = finished
    summary = json.loads((folder / "folds.json").read_text())
    schema = json.loads((repository / "docs" / "schemas" / "folds.schema.json").read_text())
    jsonschema.validate(summary, schema)
    ids = []
    for number in range(5):
        metrics = json.loads((folder / f"fold-{number}" / "metrics.json").read_text())
        ids += sorted({frame["id"] for frame in metrics["validation"]["frames"]})
        assert summary["folds"][number]["dice"] == metrics["validation"]["mean"]
        assert (folder / f"fold-{number}" / "weights.safetensors").is_file()
    assert sorted(ids) == [f"patient{number}" for number in range(901, 907)]
    assert (summary["patients"]["n"], summary["phantoms"]) == (6, 0)
    assert "Dice on held-out patients" in said
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.split() and line.startswith("  ")}
    assert rows["mean"] == ["6", *(f"{summary['mean'][name]:.3f}" for name in ("rv", "myo", "lv", "mean"))]
    assert rows["std"] == [f"{summary['std'][name]:.3f}" for name in ("rv", "myo", "lv", "mean")]


def test_an_interrupted_one_goes_on_to_the_same(tmp_path, words, finished):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    # As if killed in the fourth fold.
    (folder / "folds.json").unlink()
    shutil.rmtree(folder / "fold-4")
    shutil.rmtree(folder / "fold-3")
    result = invoke(*words, "-o", folder)
    assert result.exit_code == 0, result.output
    assert result.output.count("Continued after epoch 2 of 2.") == 3
    first, second = (json.loads((each / "folds.json").read_text()) for each in (finished[0], folder))
    for summary in (first, second):
        for fold in summary["folds"]:
            del fold["seconds"]
    assert first == second


def test_a_fold_of_other_settings_stops_all_before_work(words, finished):
    result = invoke(*words, "--epochs", 3, "-o", finished[0])
    assert result.exit_code == 2
    assert "epochs 2 there, 3 now" in result.stderr


def test_the_folds_that_a_data_set_brings(tmp_path, words, patients, repository):
    """The same patients as an nnU-Net folder whose splits_final.json has two folds."""
    data = tmp_path / "nnunet"
    for name in ("imagesTr", "labelsTr"):
        (data / name).mkdir(parents=True)
    for path in patients.glob("*/*.nii.gz"):
        case = path.name.removesuffix(".nii.gz").removesuffix("_gt")
        label = path.name.endswith("_gt.nii.gz")
        shutil.copy(path, data / ("labelsTr" if label else "imagesTr") / f"{case}{'' if label else '_0000'}.nii.gz")
    labels = {"background": 0, "RV": 1, "MYO": 2, "LV": 3}
    description = {"channel_names": {"0": "cine"}, "labels": labels, "file_ending": ".nii.gz", "numTraining": 12}
    (data / "dataset.json").write_text(json.dumps(description))
    held = (("patient901", "patient904"), ("patient902",))
    cases = sorted(path.name.removesuffix(".nii.gz") for path in (data / "labelsTr").iterdir())
    splits = [
        {side: [case for case in cases if case.startswith(own) == (side == "val")] for side in ("train", "val")}
        for own in held
    ]
    (data / "splits_final.json").write_text(json.dumps(splits))

    again = [data if word == patients else 1 if word == 2 else word for word in words]
    result = invoke(*again, "-o", tmp_path / "run")

    assert result.exit_code == 0, result.output
    assert "12 cases are counted as 6 patients" in result.stderr
    summary = json.loads((tmp_path / "run" / "folds.json").read_text())
    schema = json.loads((repository / "docs" / "schemas" / "folds.schema.json").read_text())
    jsonschema.validate(summary, schema)
    assert [fold["patients"] for fold in summary["folds"]] == [
        {"train": 4, "validation": 2},
        {"train": 5, "validation": 1},
    ]
    for number, own in enumerate(held):
        metrics = json.loads((tmp_path / "run" / f"fold-{number}" / "metrics.json").read_text())
        assert {frame["id"] for frame in metrics["validation"]["frames"]} == set(own)

    (data / "splits_final.json").write_text(json.dumps(splits[:1]))
    result = invoke(*again, "-o", tmp_path / "other")
    assert result.exit_code == 2
    assert "brings one of its own" in result.stderr


def test_mean_and_deviation_by_hand():
    def result(fold, dice):
        scores = [{"rv": value, "myo": value, "lv": value, "mean": value} for value in dice]
        mean = float(np.mean(dice))
        return SimpleNamespace(
            metrics={
                "settings": {"fold": fold, "seed": 0},
                "patients": {"train": 4, "validation": 1},
                "phantoms": {"train": 3, "validation": fold},
                "seconds": 1.0,
                "validation": {
                    "mean": {"rv": mean, "myo": mean, "lv": mean, "mean": mean},
                    "frames": [{"id": f"p{fold}", "frame": n, "dice": each} for n, each in enumerate(scores)],
                },
            }
        )

    summary = summarise_folds([result(0, [0.7, 0.9]), result(1, [0.6, 0.6])])
    assert summary["mean"]["lv"] == pytest.approx(0.7)
    assert summary["std"]["lv"] == pytest.approx(0.1 * 2**0.5)
    assert summary["patients"]["n"] == 2
    assert summary["phantoms"] == 1
    assert summary["patients"]["mean"]["mean"] == pytest.approx(0.7)
    assert summary["settings"] == {"seed": 0}

    # RV is in no labels and no masks of fold 1: it is averaged over the others.
    without = result(1, [0.6, 0.6])
    for scores in (
        without.metrics["validation"]["mean"],
        *(f["dice"] for f in without.metrics["validation"]["frames"]),
    ):
        scores["rv"] = None
    summary = summarise_folds([result(0, [0.7, 0.9]), without])
    assert (summary["mean"]["rv"], summary["std"]["rv"]) == (pytest.approx(0.8), 0.0)
    assert summary["patients"]["mean"]["rv"] == pytest.approx(0.8)
    assert summary["mean"]["lv"] == pytest.approx(0.7)
