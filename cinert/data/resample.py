"""Linear interpolation along one axis as a matrix, so that resampling a volume is three matrix products."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class AxisMap:
    """Where the voxels of one network axis lie on one image axis, in voxel indices.

    The image is resampled about its centre to a whole number of network voxels, then cropped or padded by whole voxels.
    A network axis with the image's own spacing therefore falls on its voxels exactly, whatever the parities.

    Attributes:
        image_size: voxels of the image, counted in the network's direction.
        network_size: voxels of the network.
        step: network spacing over image spacing.
        shift: network voxels by which the field of view is moved from the image's centre.
    """

    image_size: int
    network_size: int
    step: float
    shift: int = 0

    @property
    def _resampled(self) -> int:
        """Network voxels that the whole image takes."""
        return max(1, round(self.image_size / self.step))

    @property
    def _before(self) -> int:
        """Network voxels before the image; negative where it is cropped."""
        return (self.network_size - self._resampled) // 2 - self.shift

    @property
    def _first(self) -> float:
        """Image index of network voxel 0."""
        return (self.image_size - 1) / 2 - ((self._resampled - 1) / 2 + self._before) * self.step

    def image_index(self) -> NDArray[np.float64]:
        """Image index (fractional) of each network voxel."""
        return np.arange(self.network_size, dtype=np.float64) * self.step + self._first

    @property
    def holds_image(self) -> bool:
        """Whether the network's field of view is at least as long as the image."""
        return self.image_size <= self.network_size * self.step * (1 + 1e-6)

    def squeezed(self, limit: float) -> AxisMap:
        """The same map with its step stretched until the image fits, if a factor of at most `limit` does it."""
        factor = self.image_size / (self.network_size * self.step)
        return replace(self, step=self.step * factor) if 1 < factor <= limit * (1 + 1e-6) else self

    def centred_on(self, position: float) -> AxisMap:
        """The same map with its field of view centred on an image index, to within half a network voxel.

        At least one network voxel stays inside the image.
        """
        unmoved = replace(self, shift=0)
        middle = unmoved._first + (self.network_size - 1) / 2 * self.step
        # Ties are common, and the same image stored the other way round must not fall to the other side by rounding.
        moved = math.floor((position - middle) / self.step + 0.5 + 1e-6)
        return replace(
            self, shift=min(max(moved, unmoved._before - self.network_size + 1), unmoved._before + self._resampled - 1)
        )

    def network_index(self) -> NDArray[np.float64]:
        """Network index (fractional) of each image voxel."""
        return (np.arange(self.image_size, dtype=np.float64) - self._first) / self.step


def inside(index: NDArray[np.float64], size: int) -> slice:
    """The run of positions that fall within voxels 0..size-1, whose extent is -0.5..size-0.5."""
    within = np.flatnonzero((index > -0.5 - 1e-6) & (index < size - 0.5 + 1e-6))
    return slice(int(within[0]), int(within[-1]) + 1) if within.size else slice(0, 0)


def interpolation_matrix(index: NDArray[np.float64], size: int, *, support: float = 1.0) -> NDArray[np.float32]:
    """Weights that read a signal of `size` samples at fractional positions.

    A triangle of half-width `support` samples: 1 is linear interpolation; the ratio of the spacings, when that is
    above 1, is the anti-aliasing filter of Pillow and of torch's `antialias=True`. Beyond the outermost sample the
    signal is constant. A sampled triangle of fractional width does not quite reproduce a ramp (by up to 0.09 samples);
    rows away from the border are corrected to first order, so that no coordinate moves.

    Args:
        index: (n,) positions in samples.
        size: samples in the signal.
        support: half-width of the triangle, at least 1.

    Returns:
        (n, size), rows sum to 1.
    """
    samples = np.arange(size)
    position = np.clip(index, 0, size - 1)[:, None]
    weights = np.clip(1 - np.abs(samples - position) / support, 0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    if support > 1:
        mean = weights @ samples[:, None]
        offset = samples - mean
        variance = (weights * offset**2).sum(axis=1, keepdims=True)
        whole = (position > support - 1 - 1e-6) & (position < size - support + 1e-6) & (variance > 0)
        weights *= np.where(whole, 1 + (position - mean) / np.where(variance > 0, variance, 1) * offset, 1)
    return weights.astype(np.float32)
