"""nas-search in a space of U-shapes, as a user runs it."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

from cinert.arch import load_arch
from cinert.network import build_network
from cinert.ushape.arch import UShapeArch
from cinert.ushape.choices import random_ushape
from latency.estimate import estimate
from latency.lut import save_lut
from latency.ushape.pricer import UShapePricer
from search.cli import nas_search
from search.train_cli import train_arch

AFFINE = np.diag([-4.0, -4.0, 10.0, 1.0])


@pytest.fixture(scope="module")
def lut(made_up_terms, tiny_u):
    return made_up_terms(tiny_u)


@pytest.fixture(scope="module")
def budget_ms(lut, tiny_u):
    """That half of all networks meet."""
    pricer, rng = UShapePricer(tiny_u, lut), np.random.default_rng(0)
    return float(np.median([pricer.upper_ms(random_ushape(tiny_u, rng)) for _ in range(100)]))


@pytest.fixture(scope="module")
def work(tmp_path_factory, lut):
    """A LUT, and eight patients in ACDC's layout."""
    root = tmp_path_factory.mktemp("oneshot")
    save_lut(root / "lut.json", lut)
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(24), np.arange(24), indexing="ij")
    for number in range(901, 911):
        folder = root / "acdc" / f"patient{number}"
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text("ED: 1\nES: 3\nGroup: NOR\n")
        for frame in (1, 3):
            radius = np.hypot(x - 12, y - 12 + rng.normal())
            label = np.where(np.hypot(x - 12, y - 4) < 3, 1, np.where(radius < 4, 3, np.where(radius < 6, 2, 0)))
            label = np.repeat(label[..., None], 4, axis=2).astype(np.uint8)
            grey = np.array([100, 600, 200, 700])[label] + 20 * rng.standard_normal(label.shape)
            stem = folder / f"patient{number}_frame{frame:02d}"
            nib.save(nib.Nifti1Image(grey.astype(np.int16), AFFINE), f"{stem}.nii.gz")
            nib.save(nib.Nifti1Image(label, AFFINE), f"{stem}_gt.nii.gz")
    return root


def run(work, *words):
    asked = ["--lut", work / "lut.json", "--data", work / "acdc", "--device", "cpu", "--epochs", 4, *words]
    return CliRunner().invoke(nas_search, list(map(str, asked)))


@pytest.fixture(scope="module")
def found(work, budget_ms):
    result = run(work, "--budget-ms", budget_ms, "--least-share", 0.5, "-o", work / "run")
    assert result.exit_code == 0, result.output
    return result.output


def test_it_writes_a_network_within_the_budget(work, found, lut, budget_ms):
    arch = load_arch(work / "run" / "arch.yaml")
    assert isinstance(arch, UShapeArch)
    assert 0.5 * budget_ms <= estimate(arch, lut).high_ms <= budget_ms
    assert arch.estimate["lut"] == lut.id
    assert arch.provenance["method"] == "cinert"
    assert len(arch.provenance["seen_patients"]) == 8
    assert (work / "run" / "arch.png").read_bytes().startswith(b"\x89PNG")
    assert "ahead of the fifth by" in found
    assert f"--init {work / 'run'}" in found


def test_what_is_inherited_fits_the_network_and_says_whom_it_saw(work, found):
    arch = load_arch(work / "run" / "arch.yaml")
    with safe_open(work / "run" / "inherited.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        values = json.loads(file.metadata()["cinert"])
    network = build_network(arch)
    network.load_state_dict(tensors)
    assert values["arch_digest"] == arch.digest
    assert values["seen_patients"] == arch.provenance["seen_patients"]
    # Statistics of its own, not those of a fresh batch norm.
    assert all(
        not torch.equal(module.running_mean, torch.zeros_like(module.running_mean))
        for module in network.modules()
        if isinstance(module, torch.nn.BatchNorm3d)
    )


def test_weights_and_scores_come_from_different_patients(work, found):
    config = json.loads((work / "run" / "config.json").read_text())
    weights, scores = set(config["weight_patients"]), set(config["arch_patients"])
    assert len(weights) == 6
    assert len(scores) == 2
    assert not weights & scores


def test_the_same_command_goes_on_and_ends_alike(work, found, budget_ms):
    before = load_arch(work / "run" / "arch.yaml").digest
    result = run(work, "--budget-ms", budget_ms, "--least-share", 0.5, "-o", work / "run")
    assert result.exit_code == 0, result.output
    assert "Continued after epoch 4 of 4" in result.output
    assert load_arch(work / "run" / "arch.yaml").digest == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--method", "zeng2020"], "--method zeng2020 searches cells, and space tiny-u is one of U-shapes"),
        (["--pareto", "4"], "--pareto means nothing in space tiny-u"),
        (["--paths", "3"], "--paths means nothing in space tiny-u"),
        (["--budget-ms", "0.001", "-o", "RUN/none"], "none of 20000 networks of space tiny-u"),
        (["--budget-ms", "BUDGET", "--seed", "5", "-o", "RUN/run"], "seed"),
        (["--space", "small"], "lacks 63 parts"),
    ],
)
def test_what_cannot_be_done_is_one_line(work, found, budget_ms, words, says):
    words = [word.replace("RUN", str(work)).replace("BUDGET", str(budget_ms)) for word in words]
    result = run(work, *(["-o", str(work / "other")] if "-o" not in words else []), *words)
    assert result.exit_code == 2, result.output
    assert says in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not (work / "other" / "arch.yaml").exists()


def test_a_training_begins_with_what_the_search_left(work, found):
    words = [work / "run" / "arch.yaml", "--data", work / "acdc", "--device", "cpu", "--epochs", 1, "--no-localiser"]
    result = CliRunner().invoke(train_arch, [*map(str, words), "--init", str(work / "run"), "-o", str(work / "t")])
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert f"Begins with {work / 'run' / 'inherited.safetensors'}" in said
    with safe_open(work / "t" / "weights.safetensors", framework="pt") as file:
        values = json.loads(file.metadata()["cinert"])
    assert {record["id"] for record in values["seen_patients"]} == {
        record["id"] for record in load_arch(work / "run" / "arch.yaml").provenance["seen_patients"]
    }
