"""A bundle whose network is understood: bright is LV. And a cine of a bright ball that beats."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cinert.backends import Engine, Model, get_backend
from cinert.bundle_manifest import Parity, TensorSpec
from cinert.bundle_write import BundleContent, write_bundle
from cinert.data.grid import PreprocessingSpec
from cinert.sampling import random_arch
from cinert.spaces import load_space

SHAPE = (12, 32, 32)
PHASES = 6


def _bright_is_lv() -> bytes:
    """Logits: background 1, RV and MYO -9, LV the z-scored grey value."""
    weight = np.array([0, 0, 0, 1], np.float32).reshape(4, 1, 1, 1, 1)
    bias = np.array([1, -9, -9, 0], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "bias"], ["logits"], kernel_shape=[1, 1, 1])],
        "bright",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 1, *SHAPE))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, 4, *SHAPE))],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9).SerializeToString()


def write_bright_bundle(folder: Path, backend: str, labelled: tuple[str, ...] | None = ("background", "lv")) -> Path:
    """As if trained on labels of the LV alone: nobody asks for the structures that it cannot find."""
    space = dataclasses.replace(
        load_space("demo"), name="bright", input_shape_DHW=SHAPE, spacing_mm=(8.0, 4.0, 4.0), strides=((2, 2, 2),) * 2
    )
    onnx = _bright_is_lv()
    if backend == "trt":
        engine = Engine("trt", "fp32", {"plan": b"plan"})
    else:
        model = Model(name="bright", input_shapes=((1, 1, *SHAPE),), make_onnx=lambda: onnx)
        engine = get_backend(backend).compile(model, threads=1)
    write_bundle(
        folder,
        BundleContent(
            arch=random_arch(space, seed=0),
            weights=b"stands for safetensors",
            onnx=onnx,
            engine=engine,
            preprocessing=PreprocessingSpec(spacing_mm=space.spacing_mm, shape_DHW=SHAPE),
            inputs=(TensorSpec("image", (1, 1, *SHAPE)),),
            outputs=(TensorSpec("logits", (1, 4, *SHAPE)),),
            fingerprint={"device": {"name": "test"}},
            parity=Parity(status="passed", relative_logits=0.0, tolerance=1e-3, inputs={"random": 4}),
            versions={},
            seen_patients=(),
            labelled=labelled,
        ),
    )
    return folder


@pytest.fixture
def make_bundle(tmp_path: Path):
    return lambda backend: write_bright_bundle(tmp_path / f"bundle-{backend}", backend)


@pytest.fixture
def nonsense_bundle(tmp_path: Path) -> Path:
    """Shown labels of all structures, it finds the LV alone: no heart looks like that."""
    return write_bright_bundle(tmp_path / "bundle-nonsense", "ort", labelled=None)


@pytest.fixture(scope="session")
def ort_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle to be read only."""
    return write_bright_bundle(tmp_path_factory.mktemp("bundles") / "bundle-ort", "ort")


@pytest.fixture(params=["ort", "openvino"])
def bundle_folder(request: pytest.FixtureRequest, make_bundle) -> Path:
    return make_bundle(request.param)


def beating_ball() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (x, y, z, t), truth of the same shape, affine: 2.5 x 3 x 8 mm, an off-centre ball of 26 to 20 mm."""
    affine = np.diag([2.5, 3.0, 8.0, 1.0])
    affine[:3, 3] = -40, -50, -30
    grid = np.stack(np.meshgrid(np.arange(40), np.arange(36), np.arange(9), indexing="ij"))
    world = grid * np.array([2.5, 3.0, 8.0])[:, None, None, None]
    distance = np.linalg.norm(world - np.array([60.0, 48.0, 30.0])[:, None, None, None], axis=0)
    radius = 23 + 3 * np.cos(2 * np.pi * np.arange(PHASES) / PHASES)
    truth = distance[..., None] < radius
    noise = np.random.default_rng(0).normal(0, 20, truth.shape)
    return (300 + 900 * truth + noise).astype(np.int16), truth, affine


@pytest.fixture
def ball() -> tuple[np.ndarray, np.ndarray]:
    """Image (x, y, z, t) and affine of the beating ball."""
    image, _, affine = beating_ball()
    return image, affine


# A stored order with permuted and flipped axes: (z reversed, x, y reversed).
ODD_ORIENTATION = np.array([[1, 1], [2, -1], [0, -1]])


@pytest.fixture(params=["upright", "odd"])
def cine(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A cine file, and the truth on its stored grid."""
    image, truth, affine = beating_ball()
    stored = nib.Nifti1Image(image, affine)
    stored.header.set_zooms((*stored.header.get_zooms()[:3], 0.04))
    stored.header.set_xyzt_units("mm", "sec")
    reference = nib.Nifti1Image(truth.astype(np.uint8), affine)
    if request.param == "odd":
        stored, reference = stored.as_reoriented(ODD_ORIENTATION), reference.as_reoriented(ODD_ORIENTATION)
    path = tmp_path / "cine.nii.gz"
    nib.save(stored, path)
    return path, np.asarray(reference.dataobj).astype(bool)
