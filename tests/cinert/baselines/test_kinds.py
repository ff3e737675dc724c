"""The files of all kinds: what they hold, what is refused, and that the schema says the same."""

import dataclasses
import json

import pytest
import yaml
from jsonschema import Draft202012Validator

from cinert.arch import load_arch, save_arch
from cinert.baselines.kinds import KINDS
from cinert.errors import BadInputError
from cinert.space import PRESETS
from cinert.spaces import load_space

IN_PLANE = ("unet2d", "nas-unet", "bix-nas", "msu-net")
"""Kinds that keep the slices apart."""
PUBLISHED_ONES = ["published nas-unet", "published bix-nas"]
LEVELLED = [kind for kind in KINDS if kind != "aniso-unet"]
"""Kinds on the grid of a space; aniso-unet has levels and an in-plane grid of its own."""
OF_A_SPACE = [kind for kind in LEVELLED if not kind.startswith("nnunet")]
"""Kinds that take the levels of a space; nnU-Net plans its own."""


@pytest.fixture(scope="module")
def schema(repository):
    document = json.loads((repository / "docs" / "schemas" / "baseline.schema.json").read_text())
    return Draft202012Validator(document)


def refusal(path, document):
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(BadInputError) as error:
        load_arch(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_it_reads_back_and_its_digest_is_of_what_is_deployed(tmp_path, make, kind):
    arch = make(kind)
    save_arch(tmp_path / "arch.yaml", arch)
    again = load_arch(tmp_path / "arch.yaml")
    assert again == arch
    assert again.digest == dataclasses.replace(arch, provenance={}, source="other").digest
    wider = (
        {"shape": dataclasses.replace(arch.shape, widths=(4, 6, 9))} if kind == "aniso-unet" else {"widths": (4, 6, 9)}
    )
    assert again.digest != dataclasses.replace(arch, **wider).digest


def test_digests_tell_the_kinds_apart(make):
    assert len({make(kind).digest for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", [*KINDS, *PUBLISHED_ONES])
def test_the_schema_knows_every_key_of_every_kind(schema, make, kind):
    document = make(kind).to_dict()
    assert [error.message for error in schema.iter_errors(document)] == []
    for key in document.keys() - {"provenance"}:
        assert not schema.is_valid({name: value for name, value in document.items() if name != key}), key
    assert not schema.is_valid({**document, "surprise": 1})


@pytest.mark.parametrize("kind", [*KINDS, *PUBLISHED_ONES])
def test_a_key_of_another_kind_is_refused(tmp_path, schema, make, kind):
    document = make(kind).to_dict()
    keys = {key for other in KINDS for key in make(other).to_dict()}
    for key in keys - document.keys():
        stranger = {**document, key: 1}
        assert f"unknown key {key}" in refusal(tmp_path / "arch.yaml", stranger)
        assert not schema.is_valid(stranger)


@pytest.mark.parametrize("kind", OF_A_SPACE)
@pytest.mark.parametrize("preset", PRESETS)
def test_default_widths_fit_every_space(preset, kind):
    space = load_space(preset)
    arch = KINDS[kind].for_space(space, KINDS[kind].widths_in(space), {})
    assert len(arch.widths) == space.scales
    if kind in IN_PLANE:
        assert arch.strides == ((1, 2, 2),) * (space.scales - 1)
    else:
        assert arch.strides == space.strides


@pytest.mark.parametrize("kind", [*LEVELLED, *PUBLISHED_ONES])
def test_a_norm_of_another_kind_is_refused(tmp_path, schema, make, kind):
    document = make(kind).to_dict()
    other = "batch" if document["norm"] == "instance" else "instance"
    assert f"norm is '{other}', expected '{document['norm']}'" in refusal(
        tmp_path / "a.yaml", document | {"norm": other}
    )
    assert not schema.is_valid(document | {"norm": other})


@pytest.mark.parametrize("kind", LEVELLED)
def test_strides_that_do_not_divide_are_refused(tmp_path, make, kind):
    document = {**make(kind).to_dict(), "input_shape_DHW": [6, 12, 18]}
    assert "expected factors of " in refusal(tmp_path / "arch.yaml", document)
    assert "x9, the shape at level 1" in refusal(tmp_path / "arch.yaml", document)


@pytest.mark.parametrize("kind", IN_PLANE)
def test_a_2d_network_has_no_stride_along_the_slices(tmp_path, make, kind):
    document = {**make(kind).to_dict(), "strides": [[2, 2, 2], [1, 2, 2]]}
    assert "expected 1 along D, because a 2D network keeps the slices apart" in refusal(tmp_path / "a.yaml", document)


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("unet2d", {"convs_per_level": 0}, "convs_per_level is 0, expected at least 1"),
        ("ica-unet", {"components": 0}, "components is 0, expected at least 1"),
        ("ica-unet", {"components": 3.5}, "3.5 is not a whole number"),
        ("ica-unet", {"convs_per_level": 0}, "convs_per_level is 0, expected at least 1"),
        ("msu-net", {"scales": 0}, "scales is 0, expected 1 to 2, the number of levels below the image's"),
        ("msu-net", {"scales": 3}, "scales is 3, expected 1 to 2"),
        ("msu-net", {"convs_per_level": 0}, "convs_per_level is 0, expected at least 1"),
        ("nnunet", {"kernels": [[1, 3, 3], [3, 3, 3]]}, "expected 3 entries, one a width"),
        ("nnunet", {"kernels": [[1, 3, 3], [3, 2, 3], [3, 3, 3]]}, "expected odd sizes, to be centred"),
        ("nnunet", {"convs_per_level": 0}, "convs_per_level is 0, expected at least 1"),
        ("nnunet", {"input_shape_DHW": [2, 4, 4]}, "expected more than one voxel at the coarsest level"),
        ("nnunet-resenc", {"blocks": [1, 3]}, "expected 3 positive numbers, one a width"),
        ("nnunet-resenc", {"blocks": [1, 0, 3]}, "expected 3 positive numbers, one a width"),
        ("nnunet-resenc", {"blocks": []}, "expected 3 positive numbers, one a width"),
        ("nas-unet", {"down_cell": "conv"}, "down_cell is 'conv': expected a list of nodes"),
        ("nas-unet", {"down_cell": ["conv"]}, "expected a list of nodes, each a list of edges [input, op]"),
        ("nas-unet", {"down_cell": [["conv"]]}, "expected edges [input, op]"),
        ("nas-unet", {"down_cell": [[["0", "conv"]]]}, "'0' is not a whole number"),
        ("nas-unet", {"down_cell": []}, "expected nodes with at least one edge each"),
        ("nas-unet", {"up_cell": [[], [[0, "conv"]], [[0, "conv"]]]}, "expected nodes with at least one edge each"),
        ("nas-unet", {"down_cell": [[[2, "conv"]]]}, "expected inputs below 2 for node 2"),
        ("nas-unet", {"down_cell": [[[0, "identity"]]]}, "expected one of maxpool, avgpool, cweight, conv"),
        ("nas-unet", {"up_cell": [[[1, "maxpool"]]]}, "expected one of cweight, conv, dilated, depthwise on input 1"),
        ("nas-unet", {"up_cell": [[[0, "conv5"]]]}, "expected one of identity, maxpool"),
        ("nas-unet", {"up_cell": [[[0, "conv"]]]}, "expected 3 nodes, as down_cell has"),
        ("bix-nas", {"iterations": 0}, "iterations is 0, expected at least 1"),
        ("bix-nas", {"iterations": 2}, "expected 3 stages"),
        ("bix-nas", {"convs_per_level": 0}, "convs_per_level is 0, expected at least 1"),
        ("bix-nas", {"skips": [[[0], [1]]] * 5}, "expected 3 levels in each stage"),
        ("bix-nas", {"skips": [[[0], [1], [3]]] * 5}, "expected different levels from 0 to 2"),
        ("bix-nas", {"skips": [[[0], [1, 1], [2]]] * 5}, "expected different levels from 0 to 2"),
        ("bix-nas", {"skips": [[[0], [1], []]] * 5}, "expected a level to read for the coarsest block"),
        ("bix-nas", {"skips": 3}, "skips is 3: expected a list of stages"),
        ("bix-nas", {"skips": [[0, 1, 2]] * 5}, "expected the levels that are read as a list"),
    ],
)
def test_bad_files_are_refused_with_the_reason(tmp_path, make, kind, change, says):
    assert says in refusal(tmp_path / "arch.yaml", {**make(kind).to_dict(), **change})
