"""NIfTI volumes, label maps and cines: read with every check that later stages rely on, written whole or not at all.

Arrays keep their *stored* axes; `cinert.data.grid` turns them to the network's axes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from cinert.errors import BadInputError
from cinert.files import atomic_path

CLASSES = ("background", "RV", "MYO", "LV")

# What nibabel, gzip and numpy raise on files that are cut short, garbled, or claim more voxels than there is memory.
_READ_ERRORS = (
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    ImageFileError,
    HeaderDataError,
)
_Nifti1Image: Any = nib.Nifti1Image  # untyped in nibabel
_MILLISECONDS_PER_UNIT = {"sec": 1e3, "msec": 1.0, "usec": 1e-3}


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
        header: nibabel's, of the file; `write_mask` takes it, so that a mask keeps the cine's time step and codes.
        time_step_ms: time from one phase to the next; None where the file does not say.
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
        The image (stored axes, float32) and where it lies.

    Raises:
        BadInputError: the file is missing, cut short, no NIfTI, of another dimension, not on a usable grid, has no such
            phase, or holds NaN or infinity.
    """
    image, geometry, _ = _read(path, "image", ndim=3, volume=volume)
    return image, geometry


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
    values, geometry, _ = _read(path, "label map", ndim=3, volume=volume)
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
    return label, geometry


def read_cine(path: Path) -> Cine:
    """Read a 4D cine, (x, y, z, t).

    Raises:
        BadInputError: as `read_image`, with 4D in place of 3D.
    """
    image, geometry, header = _read(path, "cine", ndim=4)
    per_unit = _MILLISECONDS_PER_UNIT.get(header.get_xyzt_units()[1])
    step = float(header["pixdim"][4])
    return Cine(image, geometry, header, step * per_unit if per_unit and np.isfinite(step) and step > 0 else None)


def write_mask(path: Path, mask: NDArray[np.integer[Any]], *, like: Any) -> None:
    """Write labels as a uint8 NIfTI on the grid that `like` describes, whole or not at all.

    Args:
        path: ends in .nii or .nii.gz.
        mask: (x, y, z) or (x, y, z, t), stored axes, 0..3.
        like: a `Geometry`, or nibabel's header of the cine (keeps time step, units and codes too).

    Raises:
        BadInputError: wrong suffix, or the path cannot be written.
        ValueError: the mask does not lie on the grid of `like`.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise BadInputError(f"cannot write a mask to {path}.", hint="the name has to end in .nii or .nii.gz.")
    shape = like.shape if isinstance(like, Geometry) else tuple(like.get_data_shape()[:3])
    if mask.shape[:3] != shape or mask.ndim not in (3, 4):
        raise ValueError(f"a mask of shape {mask.shape} does not lie on the grid {shape}")
    if isinstance(like, Geometry):
        image = _Nifti1Image(mask.astype(np.uint8), like.affine)
        image.header.set_xyzt_units("mm")
    else:
        header = like.copy()
        header.set_data_dtype(np.uint8)
        header["cal_min"], header["cal_max"] = 0, 0
        image = _Nifti1Image(mask.astype(np.uint8), None, header)
    # Labels are never scaled; a slope kept from the image would turn 1 into something else.
    image.header.set_slope_inter(1, 0)
    with atomic_path(path) as partial:
        nib.save(image, partial)


def _read(path: Path, what: str, *, ndim: int, volume: int | None = None) -> tuple[NDArray[np.float32], Geometry, Any]:
    if not path.is_file():
        reason = "it is a folder" if path.is_dir() else "there is no such file"
        raise BadInputError(
            f"cannot read the {what} {path}: {reason}.", hint="give the path of a .nii or .nii.gz file."
        )
    try:
        file: Any = nib.load(path)
        if not isinstance(file, nib.Nifti1Image):
            raise BadInputError(f"{what} {path} is {type(file).__name__}, not NIfTI.", hint="convert it to .nii.gz.")
        if volume is None:
            shape = _squeezed(file.shape, ndim)
            _check_header(file, shape, path, what, ndim)
            values = file.get_fdata(dtype=np.float32, caching="unchanged").reshape(shape, order="F")
        else:
            _check_header(file, tuple(file.shape), path, what, 4)
            if volume >= file.shape[3]:
                raise BadInputError(
                    f"{what} {path} has {file.shape[3]} phases, so there is no phase {volume} counted from 0."
                )
            values = np.asarray(file.dataobj[..., volume], dtype=np.float32, order="F")
            shape = values.shape
    except _READ_ERRORS as error:
        raise BadInputError(
            f"cannot read the {what} {path}: {_reason(error)}.",
            hint="is it a whole NIfTI file? A copy that was interrupted looks like this.",
        ) from error
    if not np.isfinite(values).all():
        count = int(values.size - np.isfinite(values).sum())
        raise BadInputError(
            f"{what} {path} holds {count} voxels that are NaN or infinite.", hint="export the series again."
        )
    return values, Geometry((shape[0], shape[1], shape[2]), file.affine), file.header


def _reason(error: BaseException) -> str:
    if isinstance(error, EOFError):
        return "the compressed data ends too early"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _squeezed(shape: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Drop axes of length 1 beyond `ndim`: many converters write (x, y, z, 1)."""
    kept = tuple(shape)
    while len(kept) > ndim and kept[-1] == 1:
        kept = kept[:-1]
    return kept


def _check_header(file: Any, shape: tuple[int, ...], path: Path, what: str, ndim: int) -> None:
    if len(shape) != ndim:
        hint = (
            "a cine has the axes (x, y, z, t)."
            if ndim == 4
            else "take one phase of a cine; volumes have axes (x, y, z)."
        )
        raise BadInputError(f"{what} {path} is {len(shape)}D, of shape {shape}, not {ndim}D.", hint=hint)
    if 0 in shape:
        raise BadInputError(f"{what} {path} holds no voxels: its shape is {shape}.")
    if file.get_data_dtype().kind not in "iuf":
        raise BadInputError(
            f"{what} {path} holds {file.get_data_dtype()} voxels.", hint="export it as real grey values."
        )
    if not np.isfinite(file.affine).all() or abs(np.linalg.det(file.affine[:3, :3])) < 1e-6:
        raise BadInputError(
            f"{what} {path} has an affine that no voxel grid can have.", hint="repair its sform or qform."
        )
    stated = np.asarray(file.header.get_zooms()[:3], dtype=np.float64)
    spacing = np.linalg.norm(file.affine[:3, :3], axis=0)
    # Two spacings in one file: whichever is taken silently, volumes in ml may be wrong by any factor.
    if not np.allclose(stated, spacing, rtol=0.01):
        raise BadInputError(
            f"{what} {path} states voxels of {_mm(stated)} mm in pixdim, but {_mm(spacing)} mm in its affine.",
            hint="repair its sform or qform, so that both agree.",
        )


def _mm(spacing: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.4g}" for value in spacing)
