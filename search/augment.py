"""Augmentation by nnU-Net's recipe, cheap enough for a CPU (Isensee 2021, Suppl. Note 4)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from monai.data.meta_obj import set_track_meta
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import (
    RandAdjustContrastd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from monai.transforms.spatial.dictionary import RandFlipd, RandSimulateLowResolutiond
from monai.transforms.transform import Randomizable
from monai.utils.misc import MAX_SEED
from torch import Tensor

from cinert.space import Shape3
from search.data import mix_seed
from search.in_plane_affine import RandInPlaneAffined


class Augmentation:
    """nnU-Net's recipe in its order: rotation, scaling, noise, blur, brightness, contrast, low resolution, gamma.

    Three deviations. Rotation is in plane, by at most 30 degrees, because slices are three times as thick as voxels
    are wide and the reader brings every patient into one orientation. Translation is added: it covers what the
    localiser errs by, and through plane where the heart begins and ends among few slices. Of the mirrorings only that
    of the slice order is kept: whether a stack starts at the base or at the apex differs between scanners, and some
    formats do not say, while left and right mean something.
    """

    def __init__(self, shape_DHW: Shape3) -> None:
        depth, height, width = shape_DHW
        set_track_meta(False)
        self._compose = Compose(
            [
                RandInPlaneAffined(
                    keys=("image", "label"),
                    prob=0.9,
                    rotate_range=(math.radians(30), 0.0, 0.0),
                    scale_range=(0.2, 0.2, 0.2),
                    translate_range=(0.12 * depth, 0.08 * height, 0.08 * width),
                    mode=("bilinear", "nearest"),
                    padding_mode="border",
                ),
                RandFlipd(keys=("image", "label"), prob=0.5, spatial_axis=0),
                RandGaussianNoised(keys="image", prob=0.1, std=0.2),
                RandGaussianSmoothd(keys="image", prob=0.2, sigma_x=(0.0, 0.0), sigma_y=(0.4, 0.8), sigma_z=(0.4, 0.8)),
                RandShiftIntensityd(keys="image", prob=0.15, offsets=0.25),
                RandScaleIntensityd(keys="image", prob=0.3, factors=0.25),
                RandSimulateLowResolutiond(keys="image", prob=0.15, zoom_range=(0.6, 1.0)),
                RandAdjustContrastd(keys="image", prob=0.1, gamma=(0.7, 1.5), invert_image=True, retain_stats=True),
                RandAdjustContrastd(keys="image", prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
            ]
        )
        # Gives each transform generators of its own.
        self._compose.set_random_state(seed=0)
        self._generators = [[each.R for each in _randomizables(step)] for step in self._compose.transforms]

    def __call__(
        self, images_BCDHW: Tensor, labels_BDHW: Tensor, seeds: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Tensor]:
        """Augment each volume of a batch on its own; shapes and dtypes stay.

        Args:
            images_BCDHW: images.
            labels_BDHW: labels 0..3.
            seeds: for each volume the numbers (seed, epoch, ...) that all its changes follow from, whatever was drawn
                before, and whichever process draws it.
        """
        if not len(images_BCDHW):
            return images_BCDHW, labels_BDHW
        pairs: list[dict[str, Tensor]] = []
        for image, label, numbers in zip(images_BCDHW, labels_BDHW, seeds, strict=True):
            self._reseed(mix_seed(*numbers) % MAX_SEED)
            pairs.append(self._compose({"image": image, "label": label[None].float()}))
        images = torch.stack([pair["image"] for pair in pairs])
        labels = torch.stack([pair["label"][0] for pair in pairs])
        return images.float(), labels.round().long()

    def _reseed(self, seed: int) -> None:
        """As `Compose.set_random_state`, which takes 2 ms, because it makes every generator anew."""
        self._compose.R.seed(seed)
        for generators in self._generators:
            own = int(self._compose.R.randint(MAX_SEED, dtype="uint32"))
            for generator in generators:
                generator.seed(own)


def _randomizables(transform: Randomizable) -> Iterator[Randomizable]:
    """A transform and those that it is made of; they share a seed."""
    yield transform
    for part in vars(transform).values():
        if isinstance(part, Randomizable):
            yield from _randomizables(part)
