"""What the commands write is what docs/schemas says, and a schema that accepts anything would be noticed."""

import copy
import json
import shutil
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from safetensors import safe_open

from bench.quality_document import calibration_record, robustness_document
from bench.quality_fit import Aim, fit_quality
from bench.quality_worth import cross_validated, unseen_corruption_auroc, worth
from bench.robustness import MaskSample
from cinert.quality import FEATURES
from cinert.space import PRESETS
from cinert.spaces import USHAPE_PRESETS, load_any_space, load_space
from cinert.ushape.arch import UShapeArch
from latency.calibration import GROUP_NAMES, CalibrationNetwork, fit_calibration
from latency.lut import load_lut

SCHEMAS = Path(__file__).resolve().parent.parent / "docs" / "schemas"
NAMES = sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.schema.json"))
WRITTEN = (
    "accuracy",
    "arch",
    "baseline",
    "certificate",
    "cine-report",
    "lut",
    "manifest",
    "metrics",
    "model",
    "preprocessing",
    "quality",
    "robustness",
    "space",
    "ushape",
    "ushape-space",
    "verify",
    "weights",
)
SHARED = ("estimate", "fingerprint", "provenance")
"""Parts that other schemas refer to."""
ELSEWHERE = ("audit-line", "comparison", "folds", "ranking", "sweep", "versus")
"""Checked beside the code that writes them."""


def read_schema(name):
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text())


REGISTRY = Registry().with_resources(
    (f"urn:cinert:{name}", Resource.from_contents(read_schema(name))) for name in NAMES
)


def validator(name):
    return Draft202012Validator(read_schema(name), registry=REGISTRY)


def complaints(name, document):
    # Through JSON, so that tuples and numpy numbers cannot pass for what a file holds.
    plain = json.loads(json.dumps(document))
    return [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(plain)]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("schemas")


def run(*words, expect=(0,)):
    (entry,) = entry_points(group="console_scripts", name=words[0])
    result = CliRunner().invoke(entry.load(), [str(word) for word in words[1:]])
    assert result.exit_code in expect, result.output


@pytest.fixture(scope="module")
def documents(work):
    """Run every command on a tiny space and three phantom patients; what they wrote, by schema."""
    space = load_space("demo").to_dict()
    space.update(
        name="tiny",
        layers=2,
        input_shape_DHW=[4, 16, 16],
        spacing_mm=[25.0, 12.5, 12.5],
        strides=[[2, 2, 2]],
        widths=[4, 8],
        ops=["conv", "identity", "zero"],
    )
    (work / "space.yaml").write_text(yaml.safe_dump(space))
    data, lut, folder = work / "data", work / "lut.json", work / "run"
    bundle = folder / "bundle"
    run("make-phantom", data, "--patients", 3)
    few = ["--threads", 1, "--networks", 10, "--allow-busy"]
    run("bench-ops", "--space", work / "space.yaml", "--backend", "ort", *few, "-o", lut)
    model = ["--nets", 5, "--calibrate", 8, "--allow-busy", "--no-plot", "-o", work / "model.json"]
    run("bench-model", "--lut", lut, *model)
    run("nas-search", "--lut", lut, "--data", data, "--epochs", 2, "--device", "cpu", "-o", folder)
    run("cinert", "baseline", "unet3d", "--space", work / "space.yaml", "-o", work / "unet.yaml")
    run(
        "train-arch",
        folder / "arch.yaml",
        "--data",
        data,
        "--epochs",
        2,
        "--localiser-steps",
        2,
        "--device",
        "cpu",
        "-o",
        folder,
    )
    run("export-engine", folder / "arch.yaml", "--backend", "ort", "--threads", 1, "--lut", lut, "--data", data)
    run("evaluate-bundle", bundle, "--data", data, "--threads", 1, "-o", work / "accuracy.json")
    # A verdict may fail on a busy machine; the file is written all the same.
    run("bench-engine", bundle, "--lut", lut, "--threads", 1, "--frames", 20, "-o", work / "verify.json", expect=(0, 1))
    paced = ["--mode", "paced", "--fps", 500, "--frames", 459, "--budget-ms", 60000, "-o", work / "paced.json"]
    run("bench-engine", bundle, "--threads", 1, *paced, expect=(0, 1))
    cine = data / "patient901" / "patient901_4d.nii.gz"
    # Two epochs hardly teach what a heart looks like.
    masks = ["-o", work / "mask.nii.gz", "--report", work / "segment.json", "--force"]
    run("segment-cine", bundle, cine, "--threads", 1, *masks)
    with safe_open(folder / "weights.safetensors", framework="np") as stream:
        weights = json.loads(stream.metadata()["cinert"])
    files = {
        "lut": lut,
        "arch": folder / "arch.yaml",
        "baseline": work / "unet.yaml",
        "metrics": folder / "metrics.json",
        "model": work / "model.json",
        "manifest": bundle / "manifest.json",
        "preprocessing": bundle / "preprocessing.json",
        "accuracy": work / "accuracy.json",
        "verify": work / "verify.json",
        "certificate": folder / "bundle.certificate.json",
        "cine-report": work / "segment.json",
    }
    found = {name: yaml.safe_load(path.read_text()) for name, path in files.items()}
    cardiac = load_any_space("cardiac-small")
    shaped = {
        "ushape": UShapeArch(space=cardiac, grid_number=1, shape=cardiac.smallest).to_dict(),
        "ushape-space": cardiac.to_dict(),
    }
    quality = quality_documents(found["accuracy"]["fingerprint"])
    return {**found, **quality, **shaped, "space": space, "weights": weights}


def quality_documents(fingerprint):
    """As calibrate-quality and bench-robustness write them, of made-up masks: real ones take minutes."""
    samples = [
        MaskSample(
            patient_id=f"patient{patient:03}",
            frame=1,
            phase="ED",
            corruption=corruption,
            strength=strength,
            dice=dict.fromkeys(("rv", "myo", "lv"), dice),
            features={**dict.fromkeys(FEATURES, 0.1), "entropy": 1 - dice, "jump": None},
            volumes_ml={"rv": 90.0, "myo": 110.0, "lv": 100.0},
            reference_ml={"rv": 90.0, "myo": 110.0, "lv": 100.0 + patient},
            previous="none",
        )
        for patient in range(4)
        for corruption, strength, dice in (("clean", 0.0, 0.9), ("noise", 20.0, 0.6), ("void", 8.0, 0.8))
    ]
    aim = Aim(0.7, 0.9)
    scored, unseen = cross_validated(samples, aim), unseen_corruption_auroc(samples, aim)
    patients = [{"id": "patient000", "digest": "ab"}]
    model = replace(
        fit_quality(samples, aim),
        calibration=calibration_record(samples, aim, patients, seed=0),
        judged={**worth(scored, aim.good_dice), "unseen_corruption_auroc": unseen},
    )
    robustness = robustness_document(
        scored,
        aim,
        judged_by="cross-validation",
        unseen=unseen,
        fold=0,
        seed=0,
        phantoms=0,
        bundle={"folder": "bundle", "digest": "ab" * 32, "arch_digest": "cd" * 8},
        fingerprint=fingerprint,
    )
    return {"quality": model.to_dict(), "robustness": robustness}


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_schemas(name):
    document = read_schema(name)
    Draft202012Validator.check_schema(document)
    assert document["$id"] == f"urn:cinert:{name}"
    assert document["title"]


def test_every_schema_is_checked_here():
    assert sorted([*WRITTEN, *SHARED, *ELSEWHERE]) == NAMES


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    assert complaints("space", load_space(name).to_dict()) == []


@pytest.mark.parametrize("name", USHAPE_PRESETS)
def test_presets_of_u_shaped_networks(name):
    assert complaints("ushape-space", load_any_space(name).to_dict()) == []


@pytest.mark.parametrize("name", WRITTEN)
def test_what_the_commands_write_is_as_the_schema_says(documents, name):
    assert complaints(name, documents[name]) == []


@pytest.mark.parametrize("name", WRITTEN)
def test_the_schema_misses_every_key_and_knows_no_other(documents, name):
    document = documents[name]
    for key in read_schema(name)["required"]:
        assert complaints(name, {other: value for other, value in document.items() if other != key}), key
    assert complaints(name, {**document, "surprise": 1})


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("space", ["ops", 0], "conv 5d"),
        ("arch", ["paths", 0, 0], "up"),
        ("arch", ["space", "layers"], 1),
        ("ushape-space", ["blocks", 0, 0], "attention"),
        ("ushape-space", ["grids", 0, "spacing_mm", 0], 0),
        ("ushape", ["shape", "down"], "average"),
        ("ushape", ["shape", "encoder", 1, 0], "attention"),
        ("ushape", ["grid"], -1),
        ("baseline", ["kind"], "unet4d"),
        ("baseline", ["widths"], [8]),
        ("lut", ["rows", 0, "p50_ms"], -1),
        ("lut", ["fingerprint", "backend"], "none"),
        ("lut", ["prices", "composition"], "product"),
        ("lut", ["prices", "parts", 0, "from_networks"], 1.5),
        ("lut", ["prices", "terms"], {"rounding": {"channels_in": 1, "channels_out": 1}, "own": True, "terms": []}),
        ("lut", ["load", "p99_interval"], [1.0]),
        ("lut", ["calibration"], {"factors": {"glue": 0.9}}),
        ("manifest", ["files", "arch.yaml"], "0"),
        ("manifest", ["parity", "status"], "failed"),
        ("verify", ["measured", "mode"], "sprint"),
        ("verify", ["estimate", "ms"], "fast"),
        ("verify", ["machine", "changed"], None),
        ("verify", ["frame_to_mask", "memory", "samples"], 0),
        ("certificate", ["frames"], 458),
        ("certificate", ["misses"], 1),
        ("certificate", ["statistics", "confidence"], 0.5),
        ("accuracy", ["patients", 0, "dice", "lv"], 1.5),
        ("accuracy", ["mean", "hd95_mm", "mean"], None),
        ("accuracy", ["clinical", "patients", 0, "predicted", "lv_ef_percent"], 101),
        ("accuracy", ["clinical", "agreement", "lv_edv_ml", "limits"], [0.0]),
        ("weights", ["seen_patients"], None),
        ("preprocessing", ["spacing_mm", 0], 0),
        ("cine-report", ["cine", "shape"], [1, 2, 3]),
        ("cine-report", ["frames", 0, "quality"], 1.5),
        ("quality", ["terms", "jump", "weight"], -1),
        ("quality", ["calibration", "catch"], 2),
        ("robustness", ["judged_by"], "nobody"),
        ("robustness", ["masks", 0, "score"], None),
    ],
)
def test_wrong_values_are_noticed(documents, name, path, value):
    document = copy.deepcopy(documents[name])
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert complaints(name, document)


def test_a_calibrated_lut_is_valid_too(documents, work):
    lut = load_lut(work / "lut.json")
    groups = dict.fromkeys(GROUP_NAMES, 2.0)
    networks = [
        CalibrationNetwork(name=f"{seed:016x}", source="bench-model", group_ms=groups, measured_ms=11.0 + seed, fps=fps)
        for seed, fps in enumerate([None, *[100.0] * 9])
    ]
    calibrated = replace(lut, calibration=fit_calibration(networks, lut=lut.id))
    assert complaints("lut", calibrated.to_dict()) == []


def test_files_without_an_estimate_are_valid_too(documents, work):
    bundle = work / "plain" / "bundle"
    (work / "plain").mkdir()
    for name in ("arch.yaml", "weights.safetensors"):
        shutil.copy(work / "run" / name, work / "plain" / name)
    run("export-engine", work / "plain" / "arch.yaml", "--backend", "ort", "--threads", 1)
    run("bench-engine", bundle, "--threads", 1, "--frames", 5, "-o", work / "plain.json", expect=(0, 1))
    verify = json.loads((work / "plain.json").read_text())
    assert verify["estimate"] is None
    assert complaints("verify", verify) == []
    assert complaints("manifest", json.loads((bundle / "manifest.json").read_text())) == []
