"""To k-space and back, slice by slice; phase encoding runs along H."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_kspace(image_DHW: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Centred 2D Fourier transform of every slice."""
    shifted = np.fft.fftshift(np.fft.fft2(image_DHW, axes=(1, 2)), axes=(1, 2))
    return shifted.astype(np.complex64)


def to_image(kspace_DHW: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Magnitude of the inverse of `to_kspace`."""
    return np.abs(np.fft.ifft2(np.fft.ifftshift(kspace_DHW, axes=(1, 2)), axes=(1, 2))).astype(np.float32)
