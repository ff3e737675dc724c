"""The augmentation: as MONAI computes it, whatever was drawn before."""

import itertools
import math

import pytest
import torch
from monai.transforms.spatial.dictionary import RandAffined

from search.augment import Augmentation
from search.in_plane_affine import RandInPlaneAffined


def volumes(shape, count=1):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, *shape, generator=generator)
    return images, torch.randint(4, (count, *shape), generator=generator)


@pytest.mark.parametrize("shape", [(10, 24, 20), (7, 15, 18), (1, 9, 8), (4, 6, 1)])
def test_maps_within_slices_are_monais(shape):
    given = {
        "keys": ("image", "label"),
        "prob": 0.9,
        "rotate_range": (math.radians(30), 0.0, 0.0),
        "scale_range": (0.2, 0.2, 0.2),
        "translate_range": (0.3 * shape[0], 0.2 * shape[1], 0.2 * shape[2]),
        "mode": ("bilinear", "nearest"),
        "padding_mode": "border",
    }
    ours, theirs = RandInPlaneAffined(**given), RandAffined(**given)
    (images, labels), moved, differing = volumes(shape), 0, 0
    for seed in range(20):
        pair = {"image": images[0], "label": labels[:1].float()}
        found, expected = (each.set_random_state(seed)(dict(pair)) for each in (ours, theirs))
        assert found.keys() == expected.keys()
        torch.testing.assert_close(found["image"], expected["image"], rtol=0, atol=1e-4)
        differing += int((found["label"] != expected["label"]).sum())
        moved += not torch.equal(found["image"], images[0])
    # Where two voxels are equally near, rounding decides.
    assert differing <= 1e-3 * 20 * labels.numel()
    assert 10 < moved < 20


def test_a_volume_is_the_same_whatever_was_drawn_before_and_beside_it():
    images, labels = volumes((4, 16, 16), count=3)
    augment = Augmentation((4, 16, 16))
    seeds = [(0, 5, 1, 0, place) for place in range(3)]
    together = augment(images, labels, seeds)
    alone = Augmentation((4, 16, 16))(images[2:], labels[2:], seeds[2:])
    again = augment(images, labels, seeds)
    for first, second, third in zip(together, again, alone, strict=True):
        assert torch.equal(first, second)
        assert torch.equal(first[2:], third)
    assert not torch.equal(together[0], images)
    assert together[0].dtype == torch.float32
    assert together[1].dtype == torch.int64
    assert set(together[1].unique().tolist()) <= {0, 1, 2, 3}


def test_other_seeds_are_other_volumes():
    images, labels = volumes((4, 16, 16))
    augment = Augmentation((4, 16, 16))
    found = [augment(images, labels, [(0, epoch, 1, 0, 0)])[0] for epoch in range(4)]
    assert all(not torch.equal(first, second) for first, second in itertools.pairwise(found))


def test_generators_are_seeded_as_monai_seeds_them():
    ours, theirs = Augmentation((4, 16, 16)), Augmentation((4, 16, 16))
    # As after some volumes: a generator may hold half of a pair of normal numbers.
    for generators in ours._generators:
        for generator in generators:
            generator.normal()
    ours._reseed(2**32 - 1)
    theirs._compose.set_random_state(seed=2**32 - 1)
    pair = {"image": volumes((4, 16, 16))[0][0], "label": torch.zeros(1, 4, 16, 16)}
    for step, same in zip(ours._compose.transforms, theirs._compose.transforms, strict=True):
        assert step.R.normal() == same.R.normal(), step
    ours._reseed(17)
    theirs._compose.set_random_state(seed=17)
    found, expected = (each._compose(dict(pair)) for each in (ours, theirs))
    assert torch.equal(found["image"], expected["image"])


def test_a_share_may_be_empty():
    images, labels = volumes((4, 16, 16))
    found = Augmentation((4, 16, 16))(images[:0], labels[:0], [])
    assert [each.shape for each in found] == [(0, 1, 4, 16, 16), (0, 4, 16, 16)]
