"""NIfTI volumes, label maps and cines: read with every check that later stages rely on, written whole or not at all.

Arrays keep their *stored* axes; `cinert.data.grid` turns them to the network's axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from cinert.data.bounds import STEP_MS, is_cine_step
from cinert.data.nifti_file import NiftiFile, open_nifti, quiet
from cinert.data.nifti_header import axes_of, time_step_ms
from cinert.data.remarks import say_once
from cinert.errors import BadInputError
from cinert.files import atomic_path

CLASSES = ("background", "RV", "MYO", "LV")


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """Where the voxels of a stored 3D volume lie.

    Attributes:
        shape: voxels along the stored axes.
        affine: 4 x 4, float64: stored voxel index to world coordinates in mm (x to the Right, y Anterior, z Superior).
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along the stored axes."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, whatever the angles between the axes."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    def same_grid(self, other: Geometry, *, tolerance_mm: float = 0.1) -> bool:
        """Whether every voxel of `other` lies where the voxel of this volume with the same index lies."""
        if self.shape != other.shape:
            return False
        # An affine difference is linear in the index, so it is largest in a corner of the volume.
        corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
        corners[:, :3] *= np.subtract(self.shape, 1)
        return bool(np.abs(corners @ (self.affine - other.affine).T).max() <= tolerance_mm)


class Cine(NamedTuple):
    """A cine series: every phase of one slice stack.

    Attributes:
        image: (x, y, z, t), float32, stored axes.
        geometry: of one phase.
        header: nibabel's, of the file; `write_mask` takes it, so that a mask keeps the cine's header.
        time_step_ms: time from one phase to the next; None where the file does not say, or says what no cine has.
        notes: what the user should know of how it was read, a sentence each.
    """

    image: NDArray[np.float32]
    geometry: Geometry
    header: Any
    time_step_ms: float | None
    notes: tuple[str, ...] = ()


def read_image(path: Path, *, volume: int | None = None) -> tuple[NDArray[np.float32], Geometry]:
    """Read a 3D image.

    Args:
        path: of the file.
        volume: phase to take from a 4D file, counted from 0; None for a 3D file.

    Returns:
        The image (stored axes, float32) and where it lies. Grey values that float32 does not hold well are given in
        another unit.

    Raises:
        BadInputError: the file is missing, cut short, no NIfTI, of another dimension, not on a usable grid, has no such
            phase, or holds NaN or infinity.
    """
    file, volume = _open_volume(path, "image", volume)
    return file.voxels(volume, grey=True), _geometry(file)


def read_label(
    path: Path, *, volume: int | None = None, stored: tuple[int, ...] = (0, 1, 2, 3)
) -> tuple[NDArray[np.uint8], Geometry]:
    """Read a 3D label map as 0 background, 1 RV, 2 MYO, 3 LV.

    Args:
        path: of the file.
        volume: as `read_image`.
        stored: value that stands in the file for each of our four.

    Raises:
        BadInputError: as `read_image`, and if a value is none of those stored.
    """
    file, volume = _open_volume(path, "label map", volume)
    values = file.voxels(volume, grey=False)
    label = np.zeros(values.shape, dtype=np.uint8, order="F")
    known = np.zeros(values.shape, dtype=bool, order="F")
    for number, value in enumerate(stored):
        hit = values == value
        label[hit] = number
        known |= hit
    if not known.all():
        wrong = values[~known]
        meaning = ", ".join(f"{value} {name}" for value, name in sorted(zip(stored, CLASSES, strict=True)))
        raise BadInputError(
            f"label map {path} holds the value {wrong[0]:g} in {wrong.size} voxels.",
            hint=f"its labels are {meaning}; convert other conventions first.",
        )
    return label, _geometry(file)


def read_cine(path: Path) -> Cine:
    """Read a cine, (x, y, z, t) or (x, y, z, 1, t). A 3D file is a cine of one phase.

    Raises:
        BadInputError: as `read_image`, with 4D in place of 3D.
    """
    file = open_nifti(path, "cine")
    image = file.voxels(grey=True)
    step_ms = None
    if image.ndim < 4:
        image = image[..., None]
    elif image.shape[3] > 1:
        step_ms = cine_step_ms(path, time_step_ms(file.image.header, file.axes[3]))
    return Cine(image, _geometry(file), file.image.header, step_ms)


def cine_step_ms(path: Path, step_ms: float | None) -> float | None:
    """The time step of a cine; None, and a line that says so, where it is one that no cine has.

    Args:
        path: of the cine.
        step_ms: as its files have it.
    """
    if step_ms is None or is_cine_step(step_ms):
        return step_ms
    least, most = STEP_MS
    say_once(
        path,
        "time step",
        f"the phases of {path} are said to be {step_ms:g} ms apart, which is no cine's time step ({least:g} to"
        f" {most:g} ms): it is taken as unknown.",
    )
    return None


def write_mask(path: Path, mask: NDArray[np.integer[Any]], *, like: Any) -> None:
    """Write labels as a uint8 NIfTI on the grid that `like` describes, whole or not at all.

    Args:
        path: ends in .nii or .nii.gz.
        mask: (x, y, z) or (x, y, z, t), stored axes, 0..3.
        like: a `Geometry`, or nibabel's header of the cine: the mask keeps it, with sform, qform, their codes, pixdim,
            units and intent; only type, scaling and display range are the mask's own.

    Raises:
        BadInputError: wrong suffix, or the path cannot be written.
        ValueError: the mask does not lie on the grid of `like`.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise BadInputError(f"cannot write a mask to {path}.", hint="the name has to end in .nii or .nii.gz.")
    shape = like.shape if isinstance(like, Geometry) else tuple(like.get_data_shape()[:3])
    if mask.shape[:3] != shape or mask.ndim not in (3, 4):
        raise ValueError(f"a mask of shape {mask.shape} does not lie on the grid {shape}")
    with quiet():
        image = _mask_image(mask.astype(np.uint8), like)
        with atomic_path(path) as partial:
            nib.save(image, partial)


def _mask_image(mask: NDArray[np.uint8], like: Any) -> Any:
    single: Any = nib.Nifti1Image
    if isinstance(like, Geometry):
        image = single(mask, like.affine)
        image.header.set_xyzt_units("mm")
        return image
    if isinstance(like, nib.Nifti2Header):
        single = nib.Nifti2Image
    # Of a pair, or of NIfTI-2: the same fields in a single file's header.
    header = single.header_class(like.binaryblock, like.endianness, check=False)
    header.extensions[:] = like.extensions
    header["magic"], header["vox_offset"] = single.header_class.single_magic, 0
    stored = like.get_data_shape()
    if len(stored) == 3 and mask.shape[3:] == (1,):
        mask = mask[..., 0]
    elif mask.ndim == 4 and (axes := axes_of(like, stored)) is not None:
        header["pixdim"][4] = header["pixdim"][axes[-1] + 1]
    header.set_data_dtype(np.uint8)
    # Labels are never scaled; a slope kept from the image would turn 1 into something else.
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 0
    return single(mask, None, header)


def _open_volume(path: Path, what: str, volume: int | None) -> tuple[NiftiFile, int | None]:
    """Open a 3D file, or a 4D one that has the phase; the phase to read of it."""
    file = open_nifti(path, what)
    phases = file.shape[3] if len(file.shape) > 3 else None
    if volume is None and phases == 1:
        return file, 0
    if volume is None and phases is not None:
        raise BadInputError(
            f"{what} {path} is {len(file.image.shape)}D, of shape {file.image.shape}, not 3D.",
            hint="take one phase of a cine; volumes have axes (x, y, z).",
        )
    if volume is not None and phases is None:
        raise BadInputError(
            f"{what} {path} is 3D, of shape {file.shape}, not 4D.", hint="a cine has the axes (x, y, z, t)."
        )
    if volume is not None and phases is not None and volume >= phases:
        raise BadInputError(f"{what} {path} has {phases} phases, so there is no phase {volume} counted from 0.")
    return file, volume


def _geometry(file: NiftiFile) -> Geometry:
    x, y, z = file.shape[:3]
    return Geometry((x, y, z), file.affine)
