"""What a balanced SSFP cine of the phantom heart looks like, slice by slice.

Blood is bright, muscle dark grey, fat bright, lung nearly black. A voxel's brightness is that of its tissues by their
share in it: edges are one voxel wide in the plane, and thick slices average several depths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinert.data.heart_draw import PatientDraw, beat_curve
from cinert.data.heart_model import HeartPhase, crescent_shape, heart_phase, roundness

Array = NDArray[np.float32]
_ndimage: Any = ndimage  # untyped in scipy

# Brightness on the scale of an int16 cine, where blood is around 700.
BLOOD, MUSCLE, FAT, LUNG, LIVER, SKELETAL, PAPILLARY = 700.0, 190.0, 560.0, 35.0, 260.0, 170.0, 210.0
_DEPTHS_PER_SLICE = 5
_RV_WALL_MM = 3.0
_FAT_MM = 4.0
_ATRIAL_WALL_MM = 3.0
# From the right ventricle.
_PAPILLARY_ANGLES = (np.radians(115), np.radians(-115))


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything about a patient that no phase changes, in the box around the heart or in the whole image.

    Attributes:
        patient: the draw.
        box: the part of (x, y) that holds the heart.
        rho: (x, y, z) distance of the box's voxel centres from the left ventricle's axis, mm, divided by `roundness`.
        crescent: thickness of the right ventricle at each voxel's angle, 0..1.
        rough: relative roughness of the endocardium, which the image shows and the labels ignore.
        fat: share of the epicardial fat's thickness at each voxel's angle.
        papillary: (x, y, z) cosine of each voxel's angle from each of the two papillary muscles.
        swirl: relative brightness of blood at each voxel of the box, mean 1.
        around: (x, y, z) brightness without the heart.
        bias: (x, y, z) sensitivity of the receive coils.
        noise: standard deviation in each channel.
    """

    patient: PatientDraw
    box: tuple[slice, slice]
    rho: Array
    crescent: Array
    rough: Array
    fat: Array
    papillary: tuple[NDArray[np.float64], ...]
    swirl: Array
    around: Array
    bias: Array
    noise: float


def make_scene(patient: PatientDraw, rng: np.random.Generator) -> Scene:
    """Lay out the still parts of a patient's images."""
    x_mm, y_mm = (
        ((np.arange(n) - (n - 1) / 2) * step).astype(np.float32)
        for n, step in zip(patient.shape[:2], patient.spacing_mm[:2], strict=True)
    )
    depth_mm = _depths(patient)
    # Each slice is another breath hold.
    breath = rng.normal(0, 1.2, (2, patient.shape[2]))
    middle_mm = patient.length_mm / 2
    axis_mm = [
        patient.centre_mm[k] + patient.tilt[k] * (depth_mm - middle_mm) + breath[k] for k in range(2)
    ]  # of the left ventricle in each slice
    box = (_around(x_mm, patient.centre_mm[0], 100.0), _around(y_mm, patient.centre_mm[1], 100.0))
    dx = x_mm[box[0], None, None] - axis_mm[0].astype(np.float32)
    dy = y_mm[None, box[1], None] - axis_mm[1].astype(np.float32)
    angle = np.arctan2(dy, dx)
    rho = np.hypot(dx, dy) / roundness(patient, angle).astype(np.float32)
    return Scene(
        patient,
        box,
        rho,
        crescent_shape(patient, angle).astype(np.float32),
        _harmonics(angle, depth_mm, rng, tuple(range(2, 17))) * np.float32(0.025),
        np.clip(0.5 + 0.6 * _harmonics(angle, depth_mm, rng, (1, 2, 3)), 0.1, 1.3).astype(np.float32),
        tuple(np.cos(angle - (patient.rv_angle + around)) for around in _PAPILLARY_ANGLES),
        1 + np.float32(0.06) * _texture(rho.shape, 4.0 / patient.spacing_mm[0], rng),
        _surroundings(patient, x_mm, y_mm, depth_mm, rng),
        _coil_sensitivity(patient, x_mm, y_mm, rng),
        noise=float(BLOOD / rng.uniform(35, 70)),
    )


def render(scene: Scene, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.int16], NDArray[np.uint8]]]:
    """Yield image and label of each phase, (x, y, z)."""
    patient = scene.patient
    # Blood in the right ventricle flows more slowly through the slice, and looks a little darker.
    flow = np.array([rng.uniform(0.75, 0.95), rng.uniform(0.95, 1.1)])
    for ejected in beat_curve(patient.phases, patient.es_index):
        phase = heart_phase(patient, float(ejected))
        image = scene.around.copy()
        # Inflow brightens blood a little while the ventricles fill.
        blood = BLOOD * flow * (1 + 0.05 * ejected)
        image[scene.box] = _draw_heart(scene, phase, blood)
        yield _measure(image, scene, rng), label(scene, phase)


def label(scene: Scene, phase: HeartPhase) -> NDArray[np.uint8]:
    """Labels of the voxel centres: 0 background, 1 RV, 2 MYO, 3 LV with its papillary muscles, as in ACDC."""
    depth = _depths(scene.patient)
    endo, epi = phase.endo_radius(depth), phase.epi_radius(depth)
    rv = epi + phase.crescent(depth) * scene.crescent
    inside = np.zeros(scene.patient.shape, dtype=np.uint8)
    heart = np.where((scene.rho < rv) & (scene.crescent > 0), np.uint8(1), np.uint8(0))
    heart[scene.rho < epi] = 2
    heart[scene.rho < endo] = 3
    inside[scene.box] = heart
    return inside


def _draw_heart(scene: Scene, phase: HeartPhase, blood: NDArray[np.float64]) -> Array:
    """Average the heart over the depths within each slice; outside it the surroundings show through."""
    thickness = scene.patient.spacing_mm[2]
    offsets = ((np.arange(_DEPTHS_PER_SLICE) + 0.5) / _DEPTHS_PER_SLICE - 0.5) * thickness
    around = scene.around[scene.box]
    total = np.zeros_like(around)
    for offset in offsets:
        total += _one_depth(scene, phase, _depths(scene.patient) + offset, blood, around)
    return total / np.float32(_DEPTHS_PER_SLICE)


def _one_depth(
    scene: Scene, phase: HeartPhase, depth: NDArray[np.float64], blood: NDArray[np.float64], around: Array
) -> Array:
    pixel = scene.patient.spacing_mm[0]

    def within(radius: NDArray[Any]) -> Array:
        """Share of the voxel that lies inside a radius."""
        share = np.clip((radius.astype(np.float32) - scene.rho) / np.float32(pixel) + np.float32(0.5), 0, 1)
        covered: Array = share * (radius > 0)
        return covered

    # Above the valve plane the same outlines go on as atria with a thin wall.
    above = depth < phase.base_mm
    shown = np.maximum(depth, phase.base_mm)
    epi = phase.epi_radius(shown) * np.where(above, 0.82, 1)
    endo = np.where(above, epi - _ATRIAL_WALL_MM, phase.endo_radius(shown))
    crescent = phase.crescent(shown) * scene.crescent * np.where(above, 0.75, 1)
    rv = epi + crescent
    outer = rv + np.float32(_RV_WALL_MM) * np.minimum(crescent / 4, 1)
    fat = outer + np.float32(_FAT_MM) * scene.fat * (epi > 0)

    value = around
    value = _over(value, FAT, within(fat))
    value = _over(value, MUSCLE, within(outer))
    value = _over(value, blood[0] * scene.swirl, within(rv * (1 + 0.5 * scene.rough)) * (crescent > 0))
    value = _over(value, MUSCLE, within(np.broadcast_to(epi, (1, 1, epi.size))))
    value = _over(value, blood[1] * scene.swirl, within(endo * (1 + scene.rough)))
    return _over(value, PAPILLARY, _papillary(scene, phase, depth, endo, pixel))


def _papillary(
    scene: Scene, phase: HeartPhase, depth: NDArray[np.float64], endo: NDArray[np.float64], pixel: float
) -> Array:
    """Two muscles that stand on the free wall at mid-ventricle; they thicken and move inwards as the cavity shrinks."""
    share = (depth - phase.base_mm) / phase.cavity_mm
    size = np.where(
        (share > 0.25) & (share < 0.75), 4.5 * np.sqrt(np.clip(1 - ((share - 0.5) / 0.25) ** 2, 0, None)), 0
    )
    there = size > 0
    reach, rho = np.maximum(endo - 5.0, 0.35 * endo)[there], scene.rho[..., there]
    shares = np.zeros_like(scene.rho)
    for cosine in scene.papillary:
        gap = np.sqrt(rho**2 + (reach**2).astype(np.float32) - 2 * rho * reach.astype(np.float32) * cosine[..., there])
        covered = np.clip((size[there].astype(np.float32) - gap) / np.float32(pixel) + 0.5, 0, 1)
        shares[..., there] = np.maximum(shares[..., there], covered)
    return shares


def _surroundings(
    patient: PatientDraw, x_mm: Array, y_mm: Array, depth_mm: NDArray[np.float64], rng: np.random.Generator
) -> Array:
    """Chest wall, lung, liver, stomach, spine and aorta; slices differ as the body does along the heart's axis."""
    shape = patient.shape
    x, y = x_mm[:, None, None], y_mm[None, :, None]
    z = (depth_mm - patient.length_mm / 2).astype(np.float32)
    pixel = patient.spacing_mm[0]
    rv = patient.rv_angle
    # The chest wall lies beyond the right ventricle, the diaphragm below, the spine behind.
    chest = np.array([patient.centre_mm[0], patient.centre_mm[1]]) + 20 * np.array([np.cos(rv), np.sin(rv)])
    u, v = x - np.float32(chest[0]), y - np.float32(chest[1])
    texture = _texture(shape, 6.0 / pixel, rng)
    fine = _texture(shape, 1.5 / pixel, rng)

    def ellipse(
        cx: float, cy: float, rx: float, ry: float, tilt: float = 0.0, drift: tuple[float, float] = (0, 0)
    ) -> Array:
        a, b = u - np.float32(cx) - np.float32(drift[0]) * z, v - np.float32(cy) - np.float32(drift[1]) * z
        c, s = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
        p, q = (c * a + s * b) / np.float32(rx), (c * b - s * a) / np.float32(ry)
        # First-order distance to the outline, so that its edge is one pixel wide.
        level = np.sqrt(p**2 + q**2)
        covered: Array = np.clip((1 - level) * np.float32(min(rx, ry) / pixel) + 0.5, 0, 1)
        return covered

    jitter = rng.uniform(0.82, 1.18, 12).astype(np.float32)
    body_rx, body_ry = 150 * jitter[0], 165 * jitter[1]
    fat_mm = 14 + 10 * (patient.weight_kg - 50) / 50
    image = np.full(shape, 4.0, dtype=np.float32)
    centre = (body_rx - 72 * jitter[2], 35 * jitter[3])
    image = _over(image, FAT * (1 + 0.1 * texture), ellipse(*centre, body_rx, body_ry))
    image = _over(
        image, SKELETAL * (1 + 0.2 * texture + 0.25 * fine), ellipse(*centre, body_rx - fat_mm, body_ry - fat_mm)
    )
    image = _over(image, FAT * 0.8 * (1 + 0.3 * texture), ellipse(*centre, body_rx - fat_mm - 9, body_ry - fat_mm - 9))
    lung = ellipse(centre[0] - 4, centre[1] - 42, body_rx - fat_mm - 13, body_ry - fat_mm - 50, 0.0, (0.0, 0.1))
    image = _over(image, LUNG * (1 + 0.3 * fine) + _vessels(patient, rng), lung)
    # The diaphragm rises towards the apex, and with it the liver and the stomach.
    liver = ellipse(5.0, 118 * jitter[4], 105 * jitter[5], 72, 0.15, (0.0, -0.25))
    image = _over(image, LIVER * jitter[6] * (1 + 0.07 * texture + 0.05 * fine) + 0.6 * _vessels(patient, rng), liver)
    stomach = ellipse(98 * jitter[7], 62, 42 * jitter[8], 46, 0.4, (0.1, -0.35))
    image = _over(image, LIVER * (0.75 * jitter[9] + 0.5 * texture + 0.2 * fine), stomach)
    image = _over(image, FAT * 0.7, ellipse(92, 128, 30, 34))
    image = _over(image, SKELETAL * 1.5 * (1 + 0.3 * texture), ellipse(92, 130, 24, 27))
    return _over(image, BLOOD * jitter[10], ellipse(78 * jitter[11], 78, 11, 12, 0.0, (0.1, 0.0)))


def _vessels(patient: PatientDraw, rng: np.random.Generator) -> Array:
    """Scattered bright dots and short streaks, as vessels cut by a slice look."""
    image = np.zeros(patient.shape, dtype=np.float32)
    count = patient.shape[2] * 140
    where = tuple(rng.integers(0, n, count) for n in patient.shape)
    image[where] = rng.uniform(0.1, 1.0, count) ** 3
    pixel = patient.spacing_mm[0]
    blurred = _ndimage.gaussian_filter(image, (1.3 / pixel, 1.3 / pixel, 0.3))
    vessels: Array = (blurred * np.float32(9e3 / pixel**2)).astype(np.float32)
    return vessels


def _texture(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Array:
    noise = _ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), (sigma, sigma, 0.6))
    texture: Array = (noise / noise.std()).astype(np.float32)
    return texture


def _coil_sensitivity(patient: PatientDraw, x_mm: Array, y_mm: Array, rng: np.random.Generator) -> Array:
    """Coils lie on the chest, so tissue far from it is darker; smooth over the image."""
    towards = patient.rv_angle + rng.normal(0, 0.4)
    x, y = x_mm[:, None] / 150, y_mm[None, :] / 150
    a, b = x * np.cos(towards) + y * np.sin(towards), y * np.cos(towards) - x * np.sin(towards)
    c = rng.normal(0, 0.08, 3)
    field = np.exp(0.3 * a + c[0] * b + c[1] * a * b - 0.12 * a**2 + c[2] * b**2)
    sensitivity: Array = field.astype(np.float32)[:, :, None]
    return sensitivity


def _measure(image: Array, scene: Scene, rng: np.random.Generator) -> NDArray[np.int16]:
    """Sensitivity, then the magnitude of a complex signal with Gaussian noise in both channels (Rician)."""
    signal = image * scene.bias
    signal += np.float32(scene.noise) * rng.standard_normal(image.shape, dtype=np.float32)
    other = np.float32(scene.noise) * rng.standard_normal(image.shape, dtype=np.float32)
    magnitude: NDArray[np.int16] = np.clip(np.rint(np.hypot(signal, other)), 0, 4095).astype(np.int16)
    return magnitude


def _over(below: Array, value: float | Array | NDArray[Any], share: Array) -> Array:
    """Cover `below` with a tissue that fills `share` of each voxel."""
    return (below + share * (np.asarray(value, dtype=np.float32) - below)).astype(np.float32, copy=False)


def _depths(patient: PatientDraw) -> NDArray[np.float64]:
    """Depth of each slice's middle below the valve plane at end diastole, mm."""
    return (np.arange(patient.shape[2], dtype=np.float64) - patient.base_slice + 0.5) * patient.spacing_mm[2]


def _around(positions_mm: Array, centre_mm: float, reach_mm: float) -> slice:
    within = np.flatnonzero(np.abs(positions_mm - centre_mm) <= reach_mm)
    return slice(int(within[0]), int(within[-1]) + 1)


def _harmonics(angle: Array, depth_mm: NDArray[np.float64], rng: np.random.Generator, orders: tuple[int, ...]) -> Array:
    """A smooth function around the axis with a phase that wanders over depth, of unit variance."""
    total = np.zeros_like(angle)
    for order in orders:
        turn = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.8, depth_mm.size).cumsum()
        total += np.cos(order * angle + turn.astype(np.float32))
    return (total * np.float32(np.sqrt(2 / len(orders)))).astype(np.float32)
