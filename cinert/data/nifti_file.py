"""A NIfTI file on disk: opened with every check of its header, before its voxels are read."""

from __future__ import annotations

import contextlib
import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from cinert.data.bounds import check_axes, check_geometry
from cinert.data.nifti_header import axes_of, voxel_affine
from cinert.data.remarks import say_once
from cinert.errors import BadInputError

SUFFIXES = (".nii.gz", ".nii", ".hdr")
"""Of NIfTI files; .hdr is the header of a pair, whose voxels lie beside it in a file that ends in .img."""

# What nibabel, gzip and numpy raise on files that are cut short, garbled, or claim more voxels than there is memory.
_READ_ERRORS = (
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    MemoryError,
    ImageFileError,
    HeaderDataError,
)
_Nifti1Pair: Any = nib.Nifti1Pair  # untyped in nibabel; NIfTI-2 and single files derive from it
_Nifti1Image: Any = nib.Nifti1Image
_USUAL = (1e-12, 1e12)
"""Largest grey values whose squares and sums float32 holds with room to spare."""
_FAR = 1e5
"""Steps of stored integers, beyond which an offset leaves float32 too few bits for them."""
_OFFSET = 1e3
"""Grey values that lie this many times further from 0 than from each other."""


@dataclass(frozen=True, slots=True, eq=False)
class NiftiFile:
    """A file whose header was checked.

    Attributes:
        path: of the file.
        what: it is, in errors.
        image: nibabel's.
        affine: 4 x 4, stored voxel index to world coordinates in mm.
        axes: of the file, that are x, y, z and, where there is one, t.
    """

    path: Path
    what: str
    image: Any
    affine: NDArray[np.float64]
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Along `axes`."""
        return tuple(self.image.shape[axis] for axis in self.axes)

    def voxels(self, volume: int | None = None, *, grey: bool) -> NDArray[np.float32]:
        """Read the voxels, or those of one phase.

        Args:
            volume: phase, counted from 0; None reads the whole file.
            grey: they are grey values, whose unit and offset mean nothing: where float32 does not hold them well, they
                are given in another unit. Labels are given as they are.

        Raises:
            BadInputError: they cannot be read, or hold NaN or infinity.
        """
        with reading(self.path, self.what), np.errstate(over="ignore", invalid="ignore"):
            values = self._scaled(volume) if self._far_scaling() else self._stored(volume)
            if not np.isfinite(values).all():
                count = int(values.size - np.isfinite(values).sum())
                raise BadInputError(
                    f"{self.what} {self.path} holds {count} voxels that are NaN or infinite.",
                    hint="export the series again.",
                )
            return np.asarray(_in_usual_unit(values) if grey else values, dtype=np.float32, order="F")

    def _far_scaling(self) -> bool:
        """Whether slope and offset of the file lead out of float32, in which nibabel scales."""
        slope, inter = abs(float(self.image.dataobj.slope)), abs(float(self.image.dataobj.inter))
        return not (_USUAL[0] < slope < _USUAL[1] and inter < min(_USUAL[1], _FAR * slope))

    def _stored(self, volume: int | None) -> NDArray[np.floating[Any]]:
        wide = self.image.get_data_dtype().kind == "f" and self.image.get_data_dtype().itemsize > np.float32().itemsize
        dtype = np.dtype(np.float64 if wide else np.float32)
        if volume is None:
            whole: NDArray[np.floating[Any]] = np.asanyarray(self.image.dataobj, dtype=dtype)
            return whole.reshape(self.shape, order="F")
        further = range(3, len(self.image.shape))
        place = (slice(None),) * 3 + tuple(volume if axis == self.axes[3] else 0 for axis in further)
        return np.asarray(self.image.dataobj[place], dtype=dtype, order="F")

    def _scaled(self, volume: int | None) -> NDArray[np.floating[Any]]:
        proxy = self.image.dataobj
        stored: NDArray[np.float64] = np.asarray(proxy.get_unscaled(), dtype=np.float64)
        values = (stored * float(proxy.slope) + float(proxy.inter)).reshape(self.shape, order="F")
        return values if volume is None else values[..., volume]


def open_nifti(path: Path, what: str) -> NiftiFile:
    """Open a file and check its header.

    Args:
        path: of a .nii, .nii.gz, .hdr or .img file.
        what: it is, in errors.

    Raises:
        BadInputError: it is missing, cut short, no NIfTI, holds no real numbers, has other axes than (x, y, z) and
            time, or does not lie on a grid that a heart's stack can have.
    """
    if not path.is_file():
        reason = "it is a folder" if path.is_dir() else "there is no such file"
        raise BadInputError(
            f"cannot read the {what} {path}: {reason}.", hint="give the path of a .nii or .nii.gz file."
        )
    with reading(path, what):
        image: Any = nib.load(path)
        if not isinstance(image, _Nifti1Pair):
            raise BadInputError(f"{what} {path} is {type(image).__name__}, not NIfTI.", hint="convert it to .nii.gz.")
        _check_voxels(image, path, what)
        axes = axes_of(image.header, image.shape)
        if axes is None:
            raise BadInputError(
                f"{what} {path} is {len(image.shape)}D, of shape {image.shape}, and not all of it is space and time.",
                hint="a cine has the axes (x, y, z, t).",
            )
        stored = _stored_header(image)
        if isinstance(image, _Nifti1Image) and stored["vox_offset"] < image.header.sizeof_hdr:
            raise BadInputError(
                f"{what} {path} says that its voxels begin at byte {stored['vox_offset']:g}, within its header.",
                hint="write it anew with the tool that it comes from.",
            )
        affine, taken = voxel_affine(image.header, stored["pixdim"], what=f"{what} {path}")
        spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
        check_geometry(image.shape[:3], spacing_mm, what=f"{what} {path}")
        check_axes(image.shape[:3], spacing_mm, what=f"{what} {path}")
    if taken:
        say_once(path, taken.partition(":")[2], f"{what} {path} states {taken}, here and in further files alike.")
    return NiftiFile(path, what, image, affine, axes)


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """One line for whatever nibabel raises on a file that cannot be read; what nibabel would print is not printed.

    Raises:
        BadInputError: names the file and the reason.
    """
    try:
        with quiet():
            yield
    except _READ_ERRORS as error:
        raise BadInputError(
            f"cannot read the {what} {path}: {_reason(error)}.",
            hint="is it a whole NIfTI file? A copy that was interrupted looks like this.",
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep nibabel from writing to stderr which fields of a header it repairs; what matters is checked here."""
    logger: logging.Logger = nib.imageglobals.logger
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def is_nifti_name(name: str) -> bool:
    """Whether a file of this name is a NIfTI file, and none that a Mac leaves beside one."""
    return name.endswith(SUFFIXES) and not name.startswith(".")


def content_files(path: Path) -> tuple[Path, ...]:
    """The files that an image consists of: a pair is two."""
    if path.suffix not in (".hdr", ".img"):
        return (path,)
    return path.with_suffix(".hdr"), path.with_suffix(".img")


def same_image(path: Path, other: Path) -> bool:
    """Whether two files hold the same voxels in the same place, one of them compressed or a pair, say.

    Raises:
        BadInputError: one of them cannot be read.
    """
    with reading(path, "image"):
        images: list[Any] = [nib.load(each) for each in (path, other)]
        first, second = images
        return bool(
            first.shape == second.shape
            and np.allclose(first.affine, second.affine, equal_nan=True)
            and np.array_equal(first.dataobj, second.dataobj)
        )


def _check_voxels(image: Any, path: Path, what: str) -> None:
    shape, stored = tuple(image.shape), image.get_data_dtype()
    if len(shape) < 3:
        raise BadInputError(
            f"{what} {path} is {len(shape)}D, of shape {shape}, not 3D.", hint="volumes have axes (x, y, z)."
        )
    if 0 in shape:
        raise BadInputError(f"{what} {path} holds no voxels: its shape is {shape}.")
    if stored.kind not in "iuf":
        kind = "colour" if stored.names else str(stored)
        raise BadInputError(f"{what} {path} holds {kind} voxels.", hint="export it as real grey values.")


def _stored_header(image: Any) -> Any:
    """As the file has it: nibabel turns a pixdim of 0 into 1, among others."""
    with image.file_map["header" if "header" in image.file_map else "image"].get_prepare_fileobj("rb") as stream:
        return type(image.header).from_fileobj(stream, check=False)


def _in_usual_unit(values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    low, high = float(values.min()), float(values.max())
    if values.dtype == np.float64 and 0 < _OFFSET * (high - low) < max(-low, high):
        # Rounded to float32 around a large offset, the picture would be lost.
        values, low, high = values - low, 0.0, high - low
    peak = max(-low, high)
    if peak == 0 or _USUAL[0] <= peak <= _USUAL[1]:
        return values
    # By a power of two, which rounds nothing.
    scaled: NDArray[np.floating[Any]] = np.ldexp(values, -int(np.frexp(peak)[1]))
    return scaled


def _reason(error: BaseException) -> str:
    if isinstance(error, EOFError):
        return "the compressed data ends too early"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
