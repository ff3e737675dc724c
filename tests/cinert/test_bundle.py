"""A bundle is read as it was written: a changed, missing or added file is refused before anything is loaded."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import cinert.bundle
import cinert.bundle_write
from cinert.backends import Engine
from cinert.bundle import Bundle, open_bundle
from cinert.bundle_manifest import ESTIMATE_KEYS, MANIFEST, Parity, TensorSpec
from cinert.bundle_write import BundleContent, add_quality, check_bundle_target, write_bundle
from cinert.data.grid import PreprocessingSpec
from cinert.errors import BackendUnavailableError, BadInputError, ExitCode
from cinert.files import sha256_of_file
from cinert.provenance import Provenance
from cinert.quality import CALIBRATION, FEATURES, QualityModel, Term, VolumeRange
from cinert.sampling import random_arch
from cinert.spaces import load_space

SHAPE = (4, 16, 16)
SPACE = dataclasses.replace(load_space("demo"), name="tiny", input_shape_DHW=SHAPE)
IMAGE, LOGITS = TensorSpec("image", (1, 1, *SHAPE)), TensorSpec("logits", (1, 4, *SHAPE))


def _pointwise_onnx() -> bytes:
    """A 1x1x1 convolution from the image to four logits: 0, x, 2x and 3x."""
    weight = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1, 1)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight"], ["logits"], kernel_shape=[1, 1, 1])],
        "pointwise",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, IMAGE.shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, LOGITS.shape)],
        [numpy_helper.from_array(weight, "weight")],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return model.SerializeToString()


def _write(folder: Path, **changes: object) -> Bundle:
    model = _pointwise_onnx()
    content = {
        "arch": random_arch(SPACE, seed=0),
        "weights": b"stands for safetensors",
        "onnx": model,
        "engine": Engine("ort", "fp32", {"onnx": model}),
        "preprocessing": PreprocessingSpec(spacing_mm=SPACE.spacing_mm, shape_DHW=SHAPE),
        "inputs": (IMAGE,),
        "outputs": (LOGITS,),
        "fingerprint": {"device": {"name": "test"}},
        "parity": Parity(status="passed", relative_logits=1e-6, tolerance=1e-3, inputs={"random": 4}),
        "versions": {"cinert": "0"},
        "seen_patients": ({"id": "patient001", "digest": "ab"},),
        "estimate": dict(zip(ESTIMATE_KEYS, (2.0, 1.5, 2.5, 2.1, 3.0, 400.0), strict=True)),
        "lut": {"id": "0123", "device": "another machine"},
    }
    return write_bundle(folder, BundleContent(**{**content, **changes}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _write(tmp_path / "bundle").folder


def _edit_manifest(folder: Path, **changes: object) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**document, **changes}))


@pytest.fixture
def nothing_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was read before its hash was checked")

    monkeypatch.setattr(cinert.bundle, "arch_from_dict", refuse)
    monkeypatch.setattr(cinert.bundle.PreprocessingSpec, "from_dict", refuse)
    monkeypatch.setattr(cinert.bundle, "Engine", refuse)


def test_what_was_written_is_read_back(folder: Path) -> None:
    bundle = open_bundle(folder)

    assert bundle.arch.digest == random_arch(SPACE, seed=0).digest
    assert bundle.preprocessing.shape_DHW == SHAPE
    assert dict(bundle.engine.files) == {"onnx": _pointwise_onnx()}
    assert (bundle.backend, bundle.precision) == ("ort", "fp32")
    assert bundle.seen_patients == ({"id": "patient001", "digest": "ab"},)
    assert bundle.estimate is not None
    assert bundle.estimate["high_ms"] == 2.5
    assert bundle.manifest.lut == {"id": "0123", "device": "another machine"}
    assert bundle.digest == sha256_of_file(folder / MANIFEST)
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "arch.yaml", "weights.safetensors", "model.onnx", "preprocessing.json", "ort-fp32.onnx"
    }  # fmt: skip


def test_the_engine_runs(folder: Path) -> None:
    image = np.random.default_rng(0).standard_normal(IMAGE.shape, dtype=np.float32)

    with open_bundle(folder).load_runner(threads=1) as runner:
        logits = runner.run(image)

    np.testing.assert_allclose(logits, image * np.arange(4, dtype=np.float32)[None, :, None, None, None], rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["arch.yaml", "weights.safetensors", "model.onnx", "preprocessing.json", "ort-fp32.onnx"]
)
@pytest.mark.usefixtures("nothing_is_read")
class TestAFileThatDiffersIsRefusedBeforeAnythingIsRead:
    def test_one_changed_byte(self, folder: Path, name: str) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

        with pytest.raises(BadInputError, match=rf"{name} is not the file that was exported"):
            open_bundle(folder)

    def test_missing(self, folder: Path, name: str) -> None:
        (folder / name).unlink()

        with pytest.raises(BadInputError, match=f"lacks the file {name}"):
            open_bundle(folder)

    def test_link_to_the_same_content(self, folder: Path, name: str) -> None:
        (folder / name).rename(folder.parent / "elsewhere")
        (folder / name).symlink_to(folder.parent / "elsewhere")

        with pytest.raises(BadInputError, match=f"lacks the file {name}"):
            open_bundle(folder)


@pytest.mark.usefixtures("nothing_is_read")
def test_a_file_that_the_manifest_does_not_list_is_refused(folder: Path) -> None:
    (folder / "openvino-fp32.xml").write_text("<net/>")

    with pytest.raises(BadInputError, match=r"openvino-fp32\.xml, which its manifest does not list"):
        open_bundle(folder)


@pytest.mark.usefixtures("nothing_is_read")
def test_a_folder_that_the_manifest_does_not_list_is_refused(folder: Path) -> None:
    (folder / "more").mkdir()

    with pytest.raises(BadInputError, match="holds more, which its manifest does not list"):
        open_bundle(folder)


@pytest.mark.usefixtures("nothing_is_read")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "other"}, "schema is 'other'"),
        ({"version": 2}, "version is 2"),
        ({"surprise": 1}, "unknown key surprise"),
        ({"backend": "abacus"}, "unknown back end 'abacus'"),
        ({"precision": "fp7"}, "unknown precision 'fp7'"),
        ({"engine": []}, "engine lists no file"),
        ({"engine": ["other.onnx"]}, "does not list 'other.onnx'"),
        ({"files": {"../arch.yaml": "0" * 64}}, "no plain file name"),
        ({"files": {"arch.yaml": "xyz"}}, "expected a SHA-256"),
        ({"inputs": [{"name": "image", "shape": [0], "dtype": "float32"}]}, "positive whole numbers"),
        ({"parity": {"status": "hoped"}}, "parity: missing key"),
        ({"estimate": {"ms": 1.0}}, "estimate: missing key"),
        ({"seen_patients": [{"id": "patient001"}]}, "missing key digest"),
        ({"provenance": "phantoms"}, "provenance is 'phantoms'"),
        ({"provenance": {"patients": 1}}, "provenance: missing key"),
        ({"created": None}, "created is None"),
    ],
)
def test_a_manifest_that_does_not_hold_is_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    _edit_manifest(folder, **changes)

    with pytest.raises(BadInputError, match=message) as caught:
        open_bundle(folder)

    assert "manifest.json" in str(caught.value)


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    spec = PreprocessingSpec(spacing_mm=SPACE.spacing_mm, shape_DHW=(4, 16, 8))

    with pytest.raises(BadInputError, match="do not fit preprocessing"):
        _write(tmp_path / "bundle", preprocessing=spec)


def test_an_engine_that_takes_something_else_is_refused(tmp_path: Path) -> None:
    shape = (1, 1, 4, 16, 8)
    bundle = _write(
        tmp_path / "bundle",
        inputs=(TensorSpec("image", shape),),
        outputs=(TensorSpec("logits", (1, 4, 4, 16, 8)),),
        preprocessing=PreprocessingSpec(spacing_mm=SPACE.spacing_mm, shape_DHW=(4, 16, 8)),
    )

    with pytest.raises(BadInputError, match=r"ort-fp32\.onnx takes"):
        bundle.load_runner(threads=1)


def test_a_back_end_that_is_not_here_is_exit_code_3(tmp_path: Path) -> None:
    bundle = _write(tmp_path / "bundle", engine=Engine("trt", "fp32", {"plan": b"plan"}))

    with pytest.raises(BackendUnavailableError, match="trt is not available because") as caught:
        bundle.load_runner()

    assert caught.value.exit_code == ExitCode.UNAVAILABLE


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "bundle"
    if what == "empty":
        path.mkdir()
    elif what == "file":
        path.write_text("")

    with pytest.raises(BadInputError, match="bundle"):
        open_bundle(path)


def test_an_older_bundle_is_replaced_as_a_whole(folder: Path) -> None:
    _write(folder, engine=Engine("trt", "fp32", {"plan": b"plan"}))

    assert (folder / "trt-fp32.plan").is_file()
    assert not (folder / "ort-fp32.onnx").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("beside", ["bundle", "nothing"])
def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path, beside: str) -> None:
    folder = tmp_path / "bundle"
    if beside == "bundle":
        _write(folder)
    folder.mkdir(exist_ok=True)
    (folder / "thesis.tex").write_text("years of work")

    with pytest.raises(BadInputError, match=r"thesis\.tex, which would be lost"):
        _write(folder)

    assert (folder / "thesis.tex").read_text() == "years of work"


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    for path in (tmp_path / "file", tmp_path / "file" / "bundle"):
        with pytest.raises(BadInputError, match="cannot write"):
            check_bundle_target(path)


def test_a_write_that_fails_leaves_the_older_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / MANIFEST).read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cinert.bundle_write, "save_arch", fail)
    with pytest.raises(BadInputError, match="No space left"):
        _write(folder)

    assert (folder / MANIFEST).read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_weights_that_do_not_say_whom_they_saw_are_unknown_and_not_nobody(tmp_path: Path) -> None:
    assert _write(tmp_path / "bundle", seen_patients=None).seen_patients is None


def test_reading_a_bundle_needs_no_training_library() -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'monai', 'onnx', 'matplotlib']))"
    code = f"{blocked}; import cinert.bundle; print('read')"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout == "read\n", done.stderr


QUALITY = QualityModel(
    intercept=1.0,
    terms={name: Term(0.0, 0.0, 1.0, 0.1) for name in FEATURES},
    volumes={name: VolumeRange(4.0, 0.5) for name in ("rv", "myo", "lv")},
    threshold=0.6,
    good_dice=0.7,
    calibration=dict.fromkeys(CALIBRATION, 1),
    judged={},
)


def test_a_calibrated_score_is_pinned_like_any_other_file(folder: Path) -> None:
    before = open_bundle(folder)
    assert before.quality is None
    after = add_quality(before, QUALITY)

    assert open_bundle(folder).quality == after.quality == QUALITY
    assert after.digest == sha256_of_file(folder / MANIFEST) != before.digest
    assert {name: after.manifest.files[name] for name in before.manifest.files} == dict(before.manifest.files)
    assert after.engine == before.engine
    (folder / "quality.json").write_text((folder / "quality.json").read_text().replace("0.6", "0.1"))
    with pytest.raises(BadInputError, match=r"quality.json is not the file that was exported"):
        open_bundle(folder)


def test_a_score_is_calibrated_again_in_place_of_the_first(folder: Path) -> None:
    add_quality(add_quality(open_bundle(folder), QUALITY), dataclasses.replace(QUALITY, threshold=0.5))
    bundle = open_bundle(folder)
    assert bundle.quality is not None
    assert bundle.quality.threshold == 0.5


def test_a_bundle_that_was_changed_meanwhile_is_left_alone(folder: Path) -> None:
    bundle = open_bundle(folder)
    _edit_manifest(folder, created="later")
    with pytest.raises(BadInputError, match="changed meanwhile"):
        add_quality(bundle, QUALITY)
    assert open_bundle(folder).quality is None


def test_the_manifest_counts_patients_and_phantoms(tmp_path: Path) -> None:
    seen = [{"id": f"patient{number}", "digest": "ab", "phantom": number > 0} for number in range(3)]

    bundle = _write(tmp_path / "bundle", seen_patients=tuple(seen), labelled=("background", "lv"))

    assert json.loads((bundle.folder / MANIFEST).read_text())["provenance"] == {
        "patients": 1,
        "phantoms": 2,
        "unknown": 0,
        "classes": ["background", "lv"],
    }
    assert [dict(record) for record in bundle.seen_patients or ()] == seen
    assert bundle.findable == ("background", "lv")


def test_a_bundle_of_before_that_does_not_count_is_read(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    del document["provenance"]
    (folder / MANIFEST).write_text(json.dumps(document))

    bundle = open_bundle(folder)

    assert bundle.manifest.provenance == Provenance(patients=0, phantoms=0, unknown=1, classes=None)
    assert bundle.findable == ("background", "rv", "myo", "lv")


def test_weights_that_do_not_say_whom_they_saw_have_no_provenance(tmp_path: Path) -> None:
    assert _write(tmp_path / "bundle", seen_patients=None).manifest.provenance is None
