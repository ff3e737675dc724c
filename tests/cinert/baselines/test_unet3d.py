import dataclasses

import pytest
import yaml

from cinert.arch import load_arch, save_arch
from cinert.baselines.unet3d import UNet3d
from cinert.errors import BadInputError
from cinert.spaces import load_space


def test_it_reads_back_and_its_digest_is_of_what_is_deployed(tmp_path, unet):
    save_arch(tmp_path / "unet.yaml", unet)
    again = load_arch(tmp_path / "unet.yaml")
    assert again == unet
    assert again.provenance == {"method": "test"}
    assert again.source == str(tmp_path / "unet.yaml")
    assert again.kind == "unet3d"
    assert again.digest == dataclasses.replace(unet, provenance={}, source="other").digest
    assert again.digest != dataclasses.replace(unet, widths=(4, 8, 16)).digest
    assert again.digest != dataclasses.replace(unet, convs_per_level=3).digest


def test_its_grid_is_the_spaces(unet):
    space = load_space("demo")
    for name in ("input_shape_DHW", "spacing_mm", "in_channels"):
        assert getattr(unet.grid, name) == getattr(space, name)
    assert unet.strides == space.strides


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "unet4d"}, "kind is 'unet4d', which is no baseline"),
        ({"kind": ["unet3d"]}, "kind is ['unet3d'], which is no baseline"),
        ({"attention": True}, "unknown key attention"),
        ({"version": 2}, "version is 2"),
        ({"provenance": "me"}, "provenance is 'me', expected a mapping"),
        ({"input_shape_DHW": [10, 64]}, "input_shape_DHW is [10, 64]: expected three numbers"),
        ({"input_shape_DHW": [0, 64, 56]}, "input_shape_DHW is [0, 64, 56], expected positive sizes"),
        ({"spacing_mm": [10.0, 0, 3.0]}, "expected positive millimetres"),
        ({"in_channels": 0}, "in_channels is 0, expected at least 1"),
        ({"in_channels": True}, "in_channels is True: True is not a whole number"),
        ({"widths": [4, 8]}, "strides is"),
        ({"widths": [4, 8.5, 12]}, "8.5 is not a whole number"),
        ({"widths": 4}, "widths is 4"),
        ({"widths": [4, 0, 12]}, "expected at least 2 positive widths"),
        ({"strides": [[3, 2, 2], [1, 2, 2]]}, "expected factors of 10x64x56, the shape at level 0"),
        ({"strides": [[2, 2, 2], [2, 2, 2]]}, "expected factors of 5x32x28, the shape at level 1"),
        ({"convs_per_level": 0}, "convs_per_level is 0, expected at least 1"),
        ({"norm": "instance"}, "norm is 'instance', expected 'batch'"),
    ],
)
def test_bad_files_are_refused_with_the_reason(tmp_path, unet, change, says):
    path = tmp_path / "unet.yaml"
    path.write_text(yaml.safe_dump({**unet.to_dict(), **change}))
    with pytest.raises(BadInputError) as error:
        load_arch(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_every_key_is_needed(tmp_path, unet):
    path = tmp_path / "unet.yaml"
    document = unet.to_dict()
    for key in document.keys() - {"schema", "kind", "provenance"}:
        path.write_text(yaml.safe_dump({name: value for name, value in document.items() if name != key}))
        with pytest.raises(BadInputError, match=rf"missing key {key}|version is None"):
            load_arch(path)


def test_fewer_levels_than_scales_take_the_first_strides():
    paper = load_space("paper")
    assert UNet3d.for_space(paper, (16, 32, 64), {}).strides == paper.strides[:2]


def test_more_levels_than_scales_are_refused():
    with pytest.raises(BadInputError, match=r"unet3d has 4 widths, and space demo has 3 scales.*or fewer"):
        UNet3d.for_space(load_space("demo"), (4, 8, 12, 16), {})
