import copy

import numpy as np
import pytest
import yaml

from cinert.arch import arch_from_dict
from cinert.errors import BadInputError
from cinert.spaces import CELL_PRESETS, USHAPE_PRESETS, load_any_space, load_space, space_from_dict
from cinert.ushape.choices import arch_of, choices_of, crossed, mutated, options_of, random_ushape
from cinert.ushape.space import UShapeSpace


@pytest.mark.parametrize("name", USHAPE_PRESETS)
def test_preset_reads_back_what_it_writes(name):
    space = load_any_space(name)
    assert space.name == name
    again = space_from_dict(yaml.safe_load(yaml.safe_dump(space.to_dict())), source="copy")
    assert again == space
    assert again.digest == space.digest


def test_presets_hold_every_heart_of_acdc():
    # 152 x 134 mm at most, over 160 labelled frames.
    for name in USHAPE_PRESETS:
        for grid in load_any_space(name).grids:
            assert grid.field_of_view_mm == pytest.approx((100, 160, 160))


def test_a_space_of_cells_is_asked_for_and_one_of_u_shapes_given():
    with pytest.raises(BadInputError, match="U-shaped") as error:
        load_space("cardiac-small")
    assert all(name in str(error.value.hint) for name in CELL_PRESETS)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("grids", [], "at least one"),
        ("grids", [{"shape_DHW": [10, 92, 96], "spacing_mm": [10, 1, 1]}], "factors of 10x23x24"),
        ("grids", [{"shape_DHW": [10, 96, 96]}], "missing key spacing_mm"),
        ("grids", [{"shape_DHW": [10, 96, 96], "spacing_mm": [10, -1, 1]}], "positive"),
        (
            "grids",
            [{"shape_DHW": [10, 96, 96], "spacing_mm": [10, step, step]} for step in (1, 2)],
            "same field of view",
        ),
        ("widths", [[8, 8], [16], [24], [32]], "rise"),
        ("widths", [[8], [16], [24], [0]], "positive"),
        ("strides", [[1, 2, 2]], "3 entries"),
        ("widths", [[8], ["wide"], [24], [32]], "'wide' is not a whole number"),
        ("blocks", [["inplane"], ["attention"], ["conv"], ["conv"]], "known blocks"),
        ("blocks", [["inplane"], ["conv", "conv"], ["conv"], ["conv"]], "each once"),
        ("encoder_depths", [[0], [0], [1], [1]], "from 0, 1, 1, 1 on"),
        ("decoder_depths", [[0], [1], [1]], "from 1, 1, 1 on"),
        ("stem_kernel", [1, 4, 4], "odd"),
        ("down", "average", "maxpool, strided"),
        ("join", "multiply", "concat, add"),
        ("residual", "yes", "true or false"),
        ("in_channels", 0, "at least 1"),
        ("version", 9, "version is 9"),
    ],
)
def test_bad_values_are_named(key, value, says):
    document = copy.deepcopy(load_any_space("cardiac-small").to_dict())
    document[key] = value
    with pytest.raises(BadInputError) as error:
        UShapeSpace.from_dict(document, source="my.yaml")
    assert says in str(error.value)
    assert key in str(error.value) or key == "grids"


def test_unknown_and_missing_keys_are_named():
    document = load_any_space("cardiac").to_dict()
    with pytest.raises(BadInputError, match="unknown key layers"):
        UShapeSpace.from_dict({**document, "layers": 8}, source="my.yaml")
    del document["blocks"]
    with pytest.raises(BadInputError, match="missing key blocks"):
        UShapeSpace.from_dict(document, source="my.yaml")


@pytest.mark.parametrize("name", USHAPE_PRESETS)
def test_random_networks_are_of_the_space_and_read_back(name):
    space, rng = load_any_space(name), np.random.default_rng(0)
    archs = [random_ushape(space, rng) for _ in range(50)]
    assert len({arch.digest for arch in archs}) == 50
    for arch in archs:
        assert arch_from_dict(arch.to_dict(), source="copy").digest == arch.digest
        assert arch_of(space, choices_of(arch), source="again").digest == arch.digest
    # Every option of every choice is drawn by somebody.
    seen = {(key, option) for arch in archs for key, option in choices_of(arch).items()}
    assert {("grid", number) for number in range(len(space.grids))} <= seen


def test_digest_is_of_what_is_deployed():
    space, rng = load_any_space("cardiac-small"), np.random.default_rng(1)
    arch = random_ushape(space, rng)
    choices = choices_of(arch)
    # A block beyond a level's depth is not there.
    choices["encoder.1.depth"] = 1
    a = arch_of(space, {**choices, "encoder.1.2": "inplane"}, source="a")
    b = arch_of(space, {**choices, "encoder.1.2": "conv"}, source="b")
    assert a.digest == b.digest


def test_children_take_each_choice_from_a_parent_or_anew():
    space, rng = load_any_space("cardiac-small"), np.random.default_rng(2)
    a, b = random_ushape(space, rng), random_ushape(space, rng)
    assert mutated(a, rng, rate=0).digest == a.digest
    child = choices_of(crossed(a, b, rng))
    parents = [choices_of(a), choices_of(b)]
    options = options_of(space)
    for key, option in child.items():
        # What lies beyond a level's depth is not kept.
        assert option in {parent[key] for parent in parents} | {options[key][0]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"grid": 9}, "has 3 grids"),
        ({"grid": "fine"}, "position of a grid"),
        ({"shape": {"widths": [9, 16, 24, 32]}}, "widths"),
        ({"shape": {"decoder": [["conv"], ["conv"], ["conv"]]}}, "decoder"),
        ({"shape": {"encoder": [["inplane"] * 5, ["conv"], ["conv"], ["conv"]]}}, "depths"),
        ({"shape": {"join": "add"}}, "that of the space"),
        ({"shape": {"stem_stride": [1, 1, 1]}}, "that of the space"),
        ({"estimate": [1]}, "estimate"),
        ({"colour": "red"}, "unknown key colour"),
    ],
)
def test_a_network_of_another_space_is_refused_by_name(change, says):
    space = load_any_space("cardiac-small")
    document = arch_of(space, {name: options[0] for name, options in options_of(space).items()}, source="x").to_dict()
    shape = change.pop("shape", {}) if "shape" in change else {}
    document = {**document, **change, "shape": {**document["shape"], **shape}}
    with pytest.raises(BadInputError, match=r"my\.yaml") as error:
        arch_from_dict(document, source="my.yaml")
    assert says in str(error.value)
