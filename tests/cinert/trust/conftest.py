"""A bundle whose engine is never loaded, and a key pair."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cinert.backends import Engine
from cinert.bundle_manifest import Parity, TensorSpec
from cinert.bundle_write import BundleContent, write_bundle
from cinert.data.grid import PreprocessingSpec
from cinert.sampling import random_arch
from cinert.spaces import load_space
from cinert.trust.keys import PRIVATE, PUBLIC, make_keys

SHAPE = (4, 16, 16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    space = dataclasses.replace(load_space("demo"), name="tiny", input_shape_DHW=SHAPE)
    return write_bundle(
        tmp_path / "bundle",
        BundleContent(
            arch=random_arch(space, seed=0),
            weights=b"stands for safetensors",
            onnx=b"stands for ONNX",
            engine=Engine("ort", "fp32", {"onnx": b"stands for an engine"}),
            preprocessing=PreprocessingSpec(spacing_mm=space.spacing_mm, shape_DHW=SHAPE),
            inputs=(TensorSpec("image", (1, 1, *SHAPE)),),
            outputs=(TensorSpec("logits", (1, 4, *SHAPE)),),
            fingerprint={"device": {"name": "test"}},
            parity=Parity(status="passed", relative_logits=0.0, tolerance=1e-3, inputs={"random": 4}),
            versions={},
            seen_patients=(),
        ),
    ).folder


@dataclasses.dataclass(frozen=True)
class Keys:
    private: Path
    public: Path


@pytest.fixture
def make_pair(tmp_path: Path):
    def make_pair(name: str, password: str | None = None) -> Keys:
        make_keys(tmp_path / name, password)
        return Keys(tmp_path / name / PRIVATE, tmp_path / name / PUBLIC)

    return make_pair


@pytest.fixture
def keys(make_pair) -> Keys:
    return make_pair("keys")
