"""What a NIfTI header says of space and time, read as those who write them mean it.

Three fields say how large a voxel is: pixdim, which every writer fills, the qform, which takes its lengths from pixdim,
and the sform, which has lengths of its own. In well-known data sets, ACDC as it is downloaded among them, the sform was
written with columns of unit length; ITK and MONAI go by pixdim there, and so do we.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from cinert.errors import BadInputError

# Codes of the standard; nibabel raises KeyError for those that it does not name.
_SPACE, _TIME = 0x07, 0x38
_MM_PER_UNIT = {1: 1e3, 2: 1.0, 3: 1e-3}
_MS_PER_UNIT = {8: 1e3, 16: 1.0, 24: 1e-3}
# Of matrices, colours, vectors in space, points and rotations: a fifth axis that is no time.
_COMPONENTS = {1004, 1005, 1006, 1008, 1010, 2003, 2004}
_SAME = 0.01
"""Relative difference of lengths that rounding explains."""
_FLAT = 1e-3
"""Volume that three directions of unit length span at least."""


def voxel_affine(header: Any, stored_pixdim: NDArray[Any], *, what: str) -> tuple[NDArray[np.float64], str]:
    """Where the voxels lie.

    The sform, where its columns are as long as pixdim says; else the qform; else the sform's directions with pixdim's
    lengths. Where neither is coded, pixdim about the image's centre.

    Args:
        header: nibabel's, which has 1 where a pixdim of 0 is stored.
        stored_pixdim: pixdim as stored.
        what: the file, in errors.

    Returns:
        4 x 4, stored voxel index to world coordinates in mm; and in words what was taken in place of the sform, empty
        where nothing was.

    Raises:
        BadInputError: nothing that is coded is a grid, or a pixdim that was never set contradicts the sform.
    """
    unit = _MM_PER_UNIT.get(int(header["xyzt_units"]) & _SPACE, 1.0)
    pixdim = np.abs(np.asarray(stored_pixdim[1:4], dtype=np.float64)) * unit
    known = bool(np.isfinite(pixdim).all() and pixdim.all())
    sform, qform = _coded(header.get_sform, unit), _coded(header.get_qform, unit) if known else None
    if sform is not None:
        lengths = np.linalg.norm(sform[:3, :3], axis=0)
        if not known or np.allclose(lengths, pixdim, rtol=_SAME):
            return sform, ""
        stated = f"voxels of {_by(pixdim)} mm in pixdim, but {_by(lengths)} mm in its sform"
        if np.allclose(pixdim, unit):
            # What nibabel leaves where only the sform was set. Neither is sure, and volumes depend on it.
            raise BadInputError(f"{what} states {stated}.", hint="repair its header, so that both agree.")
        if qform is not None:
            return qform, f"{stated}: its qform is taken"
        sform[:3, :3] *= pixdim / lengths
        return sform, f"{stated}: the directions of its sform and the lengths of pixdim are taken"
    if qform is not None:
        return qform, ""
    if known and not int(header["sform_code"]) > 0 and not int(header["qform_code"]) > 0:
        return _scaled(header.get_base_affine(), unit), ""
    raise BadInputError(
        f"{what} has an affine that no voxel grid can have.", hint="repair its sform or qform, and pixdim."
    )


def time_step_ms(header: Any, axis: int) -> float | None:
    """Time from one phase to the next, as the header has it; None where it does not say.

    Args:
        header: nibabel's.
        axis: of the file, that time runs along, counted from 0.
    """
    unit = _MS_PER_UNIT.get(int(header["xyzt_units"]) & _TIME)
    step = float(header["pixdim"][axis + 1])
    return step * unit if unit is not None and np.isfinite(step) and step > 0 else None


def axes_of(header: Any, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Where space and time are among the axes of a file, whatever axes of length 1 its writer put between and behind.

    Args:
        header: nibabel's.
        shape: of the file, three axes or more.

    Returns:
        (x, y, z) or (x, y, z, t), as axes of the file; None where more than one further axis is longer than 1, or the
        header says that it is no time.
    """
    longer = [axis for axis in range(3, len(shape)) if shape[axis] != 1]
    if len(longer) > 1 or (longer and int(header["intent_code"]) in _COMPONENTS):
        return None
    if longer:
        return 0, 1, 2, longer[0]
    return (0, 1, 2, 3) if len(shape) > 3 else (0, 1, 2)


def _coded(get: Any, unit: float) -> NDArray[np.float64] | None:
    """The sform or qform in mm; None where it is not coded, or is no grid."""
    try:
        affine, _ = get(coded=True)
    except (ValueError, HeaderDataError):
        return None  # a quaternion that no rotation has
    if affine is None:
        return None
    scaled = _scaled(affine, unit)
    lengths = np.linalg.norm(scaled[:3, :3], axis=0)
    if not np.isfinite(scaled).all() or not lengths.all():
        return None
    return scaled if abs(np.linalg.det(scaled[:3, :3] / lengths)) > _FLAT else None


def _scaled(affine: Any, unit: float) -> NDArray[np.float64]:
    scaled = np.array(affine, dtype=np.float64)
    scaled[:3] *= unit
    return scaled


def _by(lengths_mm: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.4g}" for value in lengths_mm)
