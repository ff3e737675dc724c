"""export-engine --triton: what Triton's own description of its configuration makes of ours, and that the model runs."""

import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from google.protobuf import text_format

from cinert.backends import Engine
from cinert.bundle import Bundle, open_bundle
from cinert.errors import BadInputError
from cinert.localiser_net import LocaliserNet
from export.cli import export_engine
from export.triton import config_text, triton_models, write_triton
from search.localise import LocaliserSettings, save_localiser


def run(*arguments: object) -> Result:
    return CliRunner().invoke(export_engine, [str(argument) for argument in arguments])


def parse(text: str):
    module = pytest.importorskip(
        "tritonclient.grpc.model_config_pb2", reason="tritonclient is not installed (make install)"
    )
    return text_format.Parse(text, module.ModelConfig()), module


@pytest.fixture
def repository(arch_file: Path, tmp_path: Path) -> Path:
    result = run(arch_file, "--backend", "ort", "--threads", 1, "--triton", tmp_path / "models")
    assert result.exit_code == 0, result.output
    return tmp_path / "models"


@pytest.fixture
def bundle(repository: Path, arch_file: Path) -> Bundle:
    return open_bundle(arch_file.parent / "bundle")


def test_triton_reads_the_configuration(repository: Path, bundle: Bundle) -> None:
    (folder,) = repository.iterdir()
    config, module = parse((folder / "config.pbtxt").read_text())

    assert config.name == folder.name == f"cinert_{bundle.digest[:8]}"
    assert (config.platform, config.max_batch_size) == ("onnxruntime_onnx", 0)
    (image,), (logits,) = config.input, config.output
    assert (image.name, tuple(image.dims)) == ("image", bundle.manifest.inputs[0].shape)
    assert (logits.name, tuple(logits.dims)) == ("logits", bundle.manifest.outputs[0].shape)
    assert image.data_type == logits.data_type == module.TYPE_FP32
    (group,) = config.instance_group
    assert (group.count, group.kind) == (1, module.ModelInstanceGroup.KIND_CPU)
    assert not config.HasField("dynamic_batching")
    assert list(config.version_policy.specific.versions) == [1]
    (warmup,) = config.model_warmup
    assert tuple(warmup.inputs["image"].dims) == bundle.manifest.inputs[0].shape
    assert warmup.batch_size == 1
    assert config.parameters["cinert_bundle"].string_value == bundle.digest
    assert config.parameters["sha256_model.onnx"].string_value == bundle.manifest.files["ort-fp32.onnx"]


def test_the_model_is_the_bundles_engine(repository: Path, bundle: Bundle) -> None:
    """Run as Triton's ONNX Runtime would, with names and shapes from the configuration."""
    import onnxruntime

    (folder,) = repository.iterdir()
    config, _ = parse((folder / "config.pbtxt").read_text())
    image = np.random.default_rng(0).standard_normal(tuple(config.input[0].dims), dtype=np.float32)
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])

    (logits,) = session.run([config.output[0].name], {config.input[0].name: image})

    assert logits.shape == tuple(config.output[0].dims)
    with bundle.load_runner(threads=1) as runner:
        np.testing.assert_allclose(logits, runner.run(image), rtol=0, atol=1e-4 * np.abs(logits).max())


def test_the_folder_says_what_a_client_has_to_do(repository: Path, bundle: Bundle) -> None:
    (folder,) = repository.iterdir()

    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "1/model.onnx", "README.md", "SHA256SUMS", "config.pbtxt", "preprocessing.json"
    }  # fmt: skip
    text = (folder / "README.md").read_text()
    for words in ("Preprocessing is not in the model", "no localiser", bundle.digest, "background, RV, MYO, LV"):
        assert words in text
    assert (folder / "preprocessing.json").read_bytes() == (bundle.folder / "preprocessing.json").read_bytes()
    check = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    assert check.stdout == "1/model.onnx: OK\n"


def test_the_readmes_code_is_python_and_uses_what_there_is(repository: Path) -> None:
    (folder,) = repository.iterdir()
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names: dict = {}

    compile(code, "README", "exec")
    exec("\n".join(line for line in code.splitlines() if line.startswith(("from cinert", "spec"))), names)
    assert names["spec"].shape_DHW == (4, 16, 16)


def test_a_localiser_is_a_model_of_its_own(arch_file: Path, tmp_path: Path) -> None:
    save_localiser(arch_file.parent / "localiser.safetensors", LocaliserNet(), LocaliserSettings(), [])

    result = run(arch_file, "--backend", "ort", "--threads", 1, "--triton", tmp_path / "models")

    assert result.exit_code == 0, result.output
    network, localiser = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert localiser == f"{network}_localiser"
    config, _ = parse((tmp_path / "models" / localiser / "config.pbtxt").read_text())
    assert len(config.input) == len(config.output) == 1
    assert localiser in (tmp_path / "models" / network / "README.md").read_text()


def as_tensorrt(bundle: Bundle) -> Bundle:
    files = {"sm90.plan": b"plan for 9.0", "timing": b"cache"}
    engine = Engine("trt", "fp16", files, build={"compute_capabilities": ["9.0"]})
    manifest = replace(bundle.manifest, backend="trt", precision="fp16", fingerprint={"device": {"kind": "cuda"}})
    return replace(bundle, manifest=manifest, engine=engine)


def test_a_plan_runs_on_the_gpu(bundle: Bundle, tmp_path: Path) -> None:
    (folder,) = write_triton(tmp_path / "trt", as_tensorrt(bundle))

    config, module = parse((folder / "config.pbtxt").read_text())
    assert config.platform == "tensorrt_plan"
    assert config.instance_group[0].kind == module.ModelInstanceGroup.KIND_GPU
    assert config.optimization.cuda.graphs
    plan = (folder / "1" / "model.plan").read_bytes()
    assert plan == b"plan for 9.0"
    assert config.parameters["sha256_model.plan"].string_value == hashlib.sha256(plan).hexdigest()


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_a_back_end_that_triton_cannot_run_is_refused_before_the_build(
    arch_file: Path, tmp_path: Path, backend: str
) -> None:
    result = run(arch_file, "--backend", backend, "--triton", tmp_path / "models")

    assert result.exit_code == 2
    assert result.output == (
        f"export-engine: --triton: Triton has no platform for the back end '{backend}'. Hint: choose one of ort, trt"
        " with --backend.\n"
    )
    assert not (arch_file.parent / "bundle").exists()
    assert not (tmp_path / "models").exists()


def test_a_file_in_the_place_of_the_repository(arch_file: Path, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("x")

    result = run(arch_file, "--backend", "ort", "--triton", tmp_path / "models")

    assert result.exit_code == 2
    assert "has to be a folder" in result.output


def test_another_bundle_is_another_model_and_nothing_foreign_is_replaced(repository: Path, bundle: Bundle) -> None:
    write_triton(repository, bundle)
    (folder,) = repository.iterdir()
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "config.pbtxt").write_text("# mine\n")

    with pytest.raises(BadInputError, match="something else is there"):
        write_triton(repository, bundle)
    assert (folder / "config.pbtxt").read_text() == "# mine\n"


def test_the_configuration_says_why(bundle: Bundle) -> None:
    (model,) = triton_models(bundle)

    assert "Dynamic batching is off, because it waits" in config_text(model)
