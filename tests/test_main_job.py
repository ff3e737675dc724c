"""The main job end to end, by the commands that a user types, on a space that takes a minute."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from cinert.arch import load_arch
from cinert.spaces import load_space
from latency.lut import load_lut


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


def run(work, *words, expect=0):
    """Run a console script of this environment, as a user would, in an empty folder."""
    script = Path(sys.executable).parent / words[0]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [script, *map(str, words[1:])], cwd=work, env=environment, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == expect, f"{' '.join(map(str, words))}\n{result.stdout}\n{result.stderr}"
    return result


def test_from_phantom_to_mask(work):
    document = load_space("demo").to_dict()
    # Coarse, but with the field of view of every preset.
    document.update(name="coarse", input_shape_DHW=[10, 32, 28], spacing_mm=[10.0, 6.25, 6.25], widths=[4, 8, 8])
    (work / "coarse.yaml").write_text(yaml.safe_dump(document))
    run(work, "make-phantom", "data", "--patients", 3, "--seed", 3)
    few = ["--networks", 10, "--allow-busy"]
    run(work, "bench-ops", "--space", "coarse.yaml", "--backend", "ort", *few, "-o", "ort_lut.json")
    # The owner's commands, word for word but for the LUT's name: data from $CINERT_DATA, weights beside the arch file.
    os.environ["CINERT_DATA"] = str(work / "data")
    try:
        run(work, "nas-search", "--lut", "ort_lut.json", "--epochs", 2, "-o", "run")
        arch = load_arch(work / "run" / "arch.yaml")
        assert arch.estimate is not None
        assert arch.estimate["lut"] == load_lut(work / "ort_lut.json").id
        trained = run(work, "train-arch", "run/arch.yaml", "--epochs", 2, "--localiser-steps", 30, "-o", "run")
        assert "Dice on 1 held-out phantom," in trained.stdout
        run(work, "export-engine", "run/arch.yaml", "--backend", "ort", "--lut", "ort_lut.json")
        bundle = work / "run" / "bundle"
        manifest = json.loads((bundle / "manifest.json").read_text())
        assert manifest["parity"]["status"] == "passed"
        assert [manifest["provenance"][name] for name in ("patients", "phantoms", "unknown")] == [0, 2, 0]
        scored = run(work, "evaluate-bundle", bundle, "-o", "accuracy.json").stdout
        assert "on 1 phantom, mean HD95" in scored
        assert "patients" not in scored
        accuracy = json.loads((work / "accuracy.json").read_text())
        assert accuracy["n_patients"] == accuracy["n_phantoms"] == 1
        assert {item["phantom"] for item in accuracy["patients"]} == {True}
        assert accuracy["seen_patients"] == []
        refused = run(work, "evaluate-bundle", bundle, "--fold", "all", "-o", "all.json", expect=2)
        assert "seen" in refused.stderr
        assert not (work / "all.json").exists()
    finally:
        del os.environ["CINERT_DATA"]
    # A verdict may fail on a busy machine; the file is written all the same.
    script = Path(sys.executable).parent / "bench-engine"
    words = [script, bundle, "--lut", "ort_lut.json", "--frames", "60", "-o", "verify.json"]
    verified = subprocess.run(list(map(str, words)), cwd=work, capture_output=True, text=True, timeout=600)
    assert verified.returncode in {0, 1}, verified.stderr
    verify = json.loads((work / "verify.json").read_text())
    assert verify["estimate"]["ms"] == pytest.approx(arch.estimate["ms"], rel=1e-3)
    assert verify["measured"]["p50_ms"] > 0
    cine = work / "data" / "patient901" / "patient901_4d.nii.gz"
    # Two epochs hardly teach what a heart looks like.
    outputs = ["--overlay", "overlay.gif", "--report", "segment.json", "--force"]
    segmented = run(work, "segment-cine", bundle, cine, "-o", "mask.nii.gz", *outputs)
    assert segmented.stdout.splitlines()[0].endswith("trained on 2 phantoms, on no patient")
    assert json.loads((work / "segment.json").read_text())["provenance"]["phantoms"] == 2
    image, mask = nibabel.load(cine), nibabel.load(work / "mask.nii.gz")
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine)
    assert (work / "overlay.gif").read_bytes()[:3] == b"GIF"
    run(work, "cinert", "report", "run")
    assert (work / "run" / "report.html").is_file()
