"""MONAI's random affine map where it turns within slices alone, at a quarter of its cost.

Across slices such a map is one of its own, so that a slice is sampled in two dimensions and slices are mixed by a small
matrix. MONAI samples in three dimensions and in double precision. Draws and results are its own, up to rounding.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms.spatial.dictionary import RandAffined
from torch import Tensor
from torch.nn import functional


class RandInPlaneAffined(RandAffined):
    """`RandAffined` for rotations about the first axis, scaling and translation; padded with the border.

    Args:
        arguments: of `RandAffined`, but no shear and no other size; modes are `bilinear` and `nearest`.
    """

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Map each of the keys alike, as `RandAffined` would; tensors are (1, D, H, W)."""
        del lazy
        mapped = dict(data)
        self.randomize(None)
        self.rand_affine.randomize()
        if not self._do_transform:
            return mapped
        draw = self.rand_affine.rand_affine_grid
        # Without a grid it draws as with one, and gives the matrix alone.
        draw(next(iter(data.values())).shape[1:], lazy=True)
        matrix = draw.get_transformation_matrix()
        assert matrix is not None
        for key, mode in self.key_iterator(mapped, self.mode):
            mapped[key] = resampled(mapped[key][0], matrix, nearest=mode == "nearest")[None]
        return mapped


def resampled(volume_DHW: Tensor, matrix: Tensor, *, nearest: bool) -> Tensor:
    """Sample a volume where a matrix sends its voxels; beyond the border lies what lies on it.

    Args:
        volume_DHW: float32.
        matrix: (4, 4), from voxels to where they are sampled, about the volume's centre; slices go to slices.
        nearest: takes the nearest voxel, else interpolates linearly.
    """
    depth, height, width = volume_DHW.shape
    z = (matrix[0, 0] * _centred(depth) + matrix[0, 3] + (depth - 1) / 2).clamp(0, depth - 1)
    grid = functional.affine_grid(
        _normalised(matrix[1:3, [2, 1, 3]][[1, 0]], height, width)[None].to(volume_DHW),
        [1, 1, height, width],
        align_corners=False,
    )
    sampled = functional.grid_sample(
        volume_DHW[None], grid, mode="nearest" if nearest else "bilinear", padding_mode="border", align_corners=False
    )[0]
    if nearest:
        return sampled[z.round().long().to(volume_DHW.device)]
    # Row by row the weights of the two slices between which each one lies.
    mixing = (1 - (z[:, None] - torch.arange(depth)).abs()).clamp(min=0).to(volume_DHW)
    return (mixing @ sampled.flatten(1)).view_as(volume_DHW)


def _centred(size: int) -> Tensor:
    return torch.arange(size) - (size - 1) / 2


def _normalised(xy: Tensor, height: int, width: int) -> Tensor:
    """The rows (x, y) of a map of voxels about the centre, for coordinates from -1 to 1 from edge to edge."""
    half = torch.tensor([width / 2, height / 2])
    return torch.cat((xy[:, :2] * half / half[:, None], xy[:, 2:] / half[:, None]), dim=1)
