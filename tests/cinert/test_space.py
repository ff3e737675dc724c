import copy

import pytest
import yaml

from cinert.errors import BadInputError
from cinert.space import PRESETS, Space
from cinert.spaces import load_space


@pytest.mark.parametrize("name", PRESETS)
def test_preset_reads_back_what_it_writes(name):
    space = load_space(name)
    assert space.name == name
    again = Space.from_dict(yaml.safe_load(yaml.safe_dump(space.to_dict())), source="copy")
    assert again == space
    assert again.digest == space.digest


@pytest.mark.parametrize("name", PRESETS)
def test_presets_keep_the_field_of_view(name):
    space = load_space(name)
    view_mm = [size * step for size, step in zip(space.input_shape_DHW, space.spacing_mm, strict=True)]
    assert view_mm == pytest.approx([100, 200, 175])


def test_paper_has_the_published_settings():
    space = load_space("paper")
    assert (space.layers, space.nodes, space.partial_channels) == (8, 3, 4)
    assert space.shapes_DHW == ((20, 128, 112), (10, 64, 56), (5, 32, 28), (5, 16, 14))
    assert len(space.ops) == 6


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("strides", [[2, 2, 2], [2, 2, 2], [2, 2, 2]], "5x32x28"),
        ("strides", [[2, 2, 2]], "3 entries"),
        ("widths", [16, 32, 64, 126], "partial_channels"),
        ("ops", ["conv", "attention"], "attention"),
        ("ops", ["zero"], "yields something"),
        ("layers", 1, "layers"),
        ("layers", "eight", "'eight' is not a whole number"),
        ("layers", True, "True is not a whole number"),
        ("stem_kernel", 2, "stem_kernel"),
        ("relaxation", "both", "separate, joint"),
        ("norm", "instance", "batch"),
        ("input_shape_DHW", [20, 128], "three numbers"),
        ("spacing_mm", [0, 1, 1], "positive"),
        ("version", 2, "version is 2"),
        ("schema", "other", "'other'"),
    ],
)
def test_bad_values_are_named(key, value, says):
    document = copy.deepcopy(load_space("paper").to_dict())
    document[key] = value
    with pytest.raises(BadInputError, match=r"my\.yaml") as error:
        Space.from_dict(document, source="my.yaml")
    assert says in str(error.value)
    assert key in str(error.value)


def test_unknown_and_missing_keys_are_named(tmp_path):
    document = load_space("demo").to_dict()
    with pytest.raises(BadInputError, match="unknown key attention"):
        Space.from_dict({**document, "attention": True}, source="my.yaml")
    del document["widths"]
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(BadInputError, match=r"my\.yaml: missing key widths"):
        load_space(str(path))


def test_a_name_that_is_neither_preset_nor_file():
    with pytest.raises(BadInputError, match="neither a preset nor a file") as error:
        load_space("papr")
    assert "paper" in (error.value.hint or "")
