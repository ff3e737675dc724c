"""`cinert baseline`, and the way of what it writes through every stage."""

import json

import pytest
import yaml
from click.testing import CliRunner
from safetensors import safe_open

from bench.accuracy_cli import evaluate_bundle
from bench.baseline_cli import baseline
from bench.engine_cli import bench_engine
from cinert.arch import load_arch
from cinert.baselines.kinds import KINDS, kind_with
from cinert.baselines.networks import NETWORKS
from cinert.bundle import open_bundle
from cinert.data.phantom import write_phantom
from cinert.space import PRESETS
from cinert.spaces import load_space
from export.cli import export_engine
from latency.lut import save_lut
from search.train_cli import train_arch


def invoke(command, *words):
    return CliRunner().invoke(command, [str(word) for word in words])


def good(command, *words):
    result = invoke(command, *words)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_kind_has_a_module():
    assert KINDS.keys() == NETWORKS.keys()


@pytest.mark.parametrize("space", ["demo", "small", "paper"])
def test_widths_double_from_scale_to_scale(tmp_path, space):
    path = tmp_path / "runs" / "arch.yaml"
    assert f"Next: train-arch {path}" in good(baseline, "unet3d", "--space", space, "-o", path)
    arch = load_arch(path)
    assert arch.widths == (12, 24, 48, 96)[: load_space(space).scales]
    assert arch.provenance["space"] == {"name": space, "digest": load_space(space).digest}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_written_for_every_space(tmp_path, kind):
    for space in PRESETS:
        path = tmp_path / f"{space}.yaml"
        good(baseline, kind, "--space", space, "-o", path)
        arch = load_arch(path)
        assert arch.kind == kind
        assert arch.widths == kind_with(kind, "published").widths_in(load_space(space))
        shape, own_plane = load_space(space).input_shape_DHW, kind == "aniso-unet"
        assert arch.grid.input_shape_DHW == ((shape[0], 96, 96) if own_plane else shape)


def test_components_are_chosen(tmp_path):
    good(baseline, "ica-unet", "--space", "paper", "--components", 3, "-o", tmp_path / "three.yaml")
    good(baseline, "ica-unet", "--space", "paper", "-o", tmp_path / "four.yaml")
    assert [load_arch(tmp_path / f"{name}.yaml").components for name in ("three", "four")] == [3, 4]


@pytest.mark.parametrize("kind", ["nas-unet", "bix-nas"])
def test_cells_are_the_authors_unless_the_user_says_otherwise(tmp_path, kind):
    for cells in ("published", "ours"):
        good(baseline, kind, "--space", "small", "--cells", cells, "-o", tmp_path / f"{cells}.yaml")
    good(baseline, kind, "--space", "small", "-o", tmp_path / "published.yaml")
    assert load_arch(tmp_path / "published.yaml").cells == "published"
    assert not hasattr(load_arch(tmp_path / "ours.yaml"), "cells")


def test_nas_unet_can_have_a_norm_that_folds(tmp_path):
    good(baseline, "nas-unet", "--space", "small", "--norm", "batch", "-o", tmp_path / "batch.yaml")
    assert load_arch(tmp_path / "batch.yaml").norm == "batch"


def test_a_2d_network_may_have_more_levels_than_the_space_has_scales(tmp_path):
    good(baseline, "unet2d", "--space", "paper", "--widths", "64,128,256,512,1024", "-o", tmp_path / "d5.yaml")
    assert load_arch(tmp_path / "d5.yaml").strides == ((1, 2, 2),) * 4


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["unet4d", "--space", "small"], "'unet4d' is not"),
        (["unet3d", "--space", "huge"], "space 'huge' is neither a preset nor a file"),
        (["unet3d", "--space", "small", "--widths", "4,4,4,4,4"], "has 5 widths, and space small has 4 scales"),
        (["unet3d", "--space", "small", "--widths", "12"], "widths is [12], expected at least 2 positive widths"),
        (["unet2d", "--space", "small", "--widths", "4,4,4,4,4"], "factors of 10x8x7, the shape at level 3"),
        (["unet3d", "--space", "small", "--components", "3"], "--components is for ica-unet, not for unet3d"),
        (["ica-unet", "--space", "small", "--components", "0"], "0 is not in the range x>=1"),
        (["unet3d", "--space", "small", "--cells", "ours"], "--cells is for nas-unet and bix-nas, not for unet3d"),
        (["unet3d", "--space", "small", "--norm", "group"], "norm is 'group', expected 'batch'"),
        (["aniso-unet", "--space", "small", "--norm", "batch"], "aniso-unet has no choice of norms"),
        (["nas-unet", "--space", "small", "--cells", "ours", "--norm", "group"], "expected 'batch'"),
        (["bix-nas", "--space", "small", "--widths", "48,48"], "are of 4 levels, and there are 2 widths"),
        (["unet3d", "--space", "small", "--widths", "12,x"], "'12,x' is no list of positive widths"),
        (["unet3d", "--space", "small", "--widths", "12,24,0,96"], "no list of positive widths"),
    ],
)
def test_bad_input_is_said_and_nothing_is_written(tmp_path, words, says):
    result = invoke(baseline, *words, "-o", tmp_path / "unet.yaml")
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_another_architecture_is_not_overwritten(tmp_path):
    path = tmp_path / "arch.yaml"
    good(baseline, "unet3d", "--space", "small", "-o", path)
    good(baseline, "unet3d", "--space", "small", "-o", path)
    before = path.read_text()
    result = invoke(baseline, "unet3d", "--space", "small", "--widths", "4,8,16,32", "-o", path)
    assert result.exit_code == 2
    assert f"{path} holds another architecture" in result.output
    assert path.read_text() == before


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "data"
    write_phantom(folder, patients=3, seed=0)
    return folder


# In three dimensions and in two, with norms that stay in the engine, and with convolutions that iterations share.
@pytest.fixture(scope="module", params=["unet3d", "nnunet-resenc", "nas-unet", "bix-nas --cells ours"])
def run(request, tmp_path_factory, patients):
    """A tiny network trained for one epoch on three phantom patients: (run folder, data)."""
    folder = tmp_path_factory.mktemp(request.param.split()[0])
    document = load_space("demo").to_dict()
    document.update(name="tiny", input_shape_DHW=[4, 16, 16], spacing_mm=[25.0, 12.5, 12.5], widths=[4, 8, 12])
    document.update(strides=[[2, 2, 2], [1, 2, 2]])
    (folder / "space.yaml").write_text(yaml.safe_dump(document))
    arch = folder / "run" / "arch.yaml"
    good(baseline, *request.param.split(), "--space", folder / "space.yaml", "--widths", "4,8,12", "-o", arch)
    good(train_arch, arch, "--data", patients, "--epochs", 1, "--localiser-steps", 2, "--device", "cpu")
    return folder / "run", patients


# Notes of third parties while a program is exported or loaded; they concern their own code.
def test_it_goes_through_every_stage(run, tmp_path):
    folder, data = run
    arch = load_arch(folder / "arch.yaml")
    with safe_open(folder / "weights.safetensors", framework="np") as stream:
        record = json.loads(stream.metadata()["cinert"])
    assert record["arch_digest"] == arch.digest
    assert len(record["seen_patients"]) == 2

    path = tmp_path / "bundle"
    good(export_engine, folder / "arch.yaml", "--threads", 1, "--backend", "ort", "--data", data, "-o", path)
    bundle = open_bundle(path)
    assert bundle.arch == arch
    assert bundle.estimate is None
    assert [dict(patient) for patient in bundle.seen_patients] == record["seen_patients"]

    good(evaluate_bundle, path, "--data", data, "--threads", 1, "-o", tmp_path / "accuracy.json")
    assert json.loads((tmp_path / "accuracy.json").read_text())["n_patients"] == 1

    # A verdict may fail on a busy machine; the measurement is written all the same.
    result = invoke(bench_engine, path, "--threads", 1, "--frames", 5, "-o", tmp_path / "verify.json")
    assert result.exit_code in (0, 1), result.output
    assert json.loads((tmp_path / "verify.json").read_text())["estimate"] is None


def test_a_lut_does_not_price_it(run, made_up_lut, tmp_path):
    folder, _ = run
    lut = made_up_lut(load_space("demo"), lambda key: 1.0)
    save_lut(tmp_path / "lut.json", lut)
    out = tmp_path / "bundle"
    result = invoke(export_engine, folder / "arch.yaml", "--backend", "ort", "--lut", tmp_path / "lut.json", "-o", out)
    assert result.exit_code == 2
    kind = load_arch(folder / "arch.yaml").kind
    assert f"is a baseline ({kind}), and a LUT prices the parts of searched networks" in result.output
    assert not out.exists()
