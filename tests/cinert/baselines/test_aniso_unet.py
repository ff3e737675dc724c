import pytest
import torch

from cinert.baselines.aniso_unet import AnisoUNet
from cinert.baselines.kinds import design, read_baseline
from cinert.errors import BadInputError
from cinert.network import build_network, random_weights
from cinert.spaces import load_space


@pytest.fixture(scope="module")
def aniso():
    return design("aniso-unet", load_space("small"), (20, 32, 48, 56))


def test_it_reads_back_and_keeps_its_digest(aniso):
    again = read_baseline(aniso.to_dict(), source="copy.yaml")
    assert isinstance(again, AnisoUNet)
    assert again.digest == aniso.digest
    assert again.widths == (20, 32, 48, 56)


def test_its_crop_holds_every_heart_of_acdc(aniso):
    # 152 x 134 mm at most, over 160 labelled frames.
    extent_mm = [size * step for size, step in zip(aniso.input_shape_DHW, aniso.spacing_mm, strict=True)]
    assert extent_mm == pytest.approx([100, 160, 160])


def test_coarse_levels_alone_see_across_slices(aniso):
    assert aniso.shape.encoder == (("inplane",), ("inplane", "inplane"), ("inplane", "conv"), ("inplane", "conv"))
    assert aniso.shape.decoder == (("inplane",), ("inplane", "inplane"), ("inplane", "conv"))
    network = random_weights(build_network(aniso), seed=0)
    x = torch.randn(1, 1, *aniso.input_shape_DHW)
    changed = x.clone()
    changed[:, :, 5] += 1
    with torch.no_grad():
        differs = (network(x) != network(changed)).flatten(3).any(dim=3)[0].any(dim=0).tolist()
    # Three 3x3x3 kernels: one at the turning point, one on either way.
    assert differs == [2 <= number <= 8 for number in range(10)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"widths": [20, 32, 48]}, "strides"),
        ({"encoder": [["inplane"], ["attention"], ["conv"], ["conv"]]}, "known blocks"),
        ({"stem_stride": [1, 5, 5]}, "stem_stride is [1, 5, 5], expected factors of 10x96x96"),
        ({"colour": 1}, "unknown key colour"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_by_key(aniso, change, says):
    document = aniso.to_dict()
    with pytest.raises(BadInputError) as error:
        read_baseline({**document, "shape": {**document["shape"], **change}}, source="my.yaml")
    assert says in str(error.value)
