"""What goes wrong in the procedure room, simulated: each kind in a file of its own, by its strength."""

from __future__ import annotations

from bench.corruptions.arrhythmia import mixed_phases
from bench.corruptions.noise import rician_noise
from bench.corruptions.respiration import breathing, shifted_slices
from bench.corruptions.scan import Corruption, Scan
from bench.corruptions.undersampling import undersampled
from bench.corruptions.void import device_void

CORRUPTIONS: dict[str, Corruption] = {
    "noise": Corruption("Rician noise", "standard deviation, % of bright voxels", "%", (5, 10, 20, 30), rician_noise),
    "undersampling": Corruption(
        "undersampled k-space, zero-filled", "acceleration", "x", (2, 4, 6, 8), undersampled, none=1
    ),
    "breathing": Corruption("breathing while measured", "amplitude, mm", "mm", (2, 5, 10, 15), breathing),
    "shift": Corruption("slices shifted", "standard deviation, mm", "mm", (2, 5, 10, 15), shifted_slices),
    "arrhythmia": Corruption("slices of the other phase", "share of slices, %", "%", (10, 20, 30, 50), mixed_phases),
    "void": Corruption("signal void of a device", "radius, mm", "mm", (4, 8, 12, 16), device_void),
}
"""By name; strengths rise."""

__all__ = ["CORRUPTIONS", "Corruption", "Scan"]
