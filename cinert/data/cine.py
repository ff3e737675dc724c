"""One way in for a cine, whatever it is stored as."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom.misc import is_dicom

from cinert.data.bounds import check_geometry
from cinert.data.dicom import read_dicom_cine
from cinert.data.dicom_files import ends_as_image
from cinert.data.nifti import Cine, cine_step_ms, read_cine
from cinert.errors import BadInputError


def open_cine(path: Path, series: Sequence[str] = ()) -> Cine:
    """Read a NIfTI file, 4D or of one phase, or the DICOM series in a folder.

    Args:
        path: a .nii, .nii.gz, .hdr or .img file, or a folder.
        series: UIDs or numbers of the DICOM series to read, where the folder holds several.

    Raises:
        BadInputError: as `read_cine` and `read_dicom_cine`; the series lies on a grid that no heart's stack has; or a
            series is named for a file.
    """
    if path.is_dir():
        cine = read_dicom_cine(path, series)
        check_geometry(cine.geometry.shape, cine.geometry.spacing_mm, what=f"the series in {path}")
        return cine._replace(time_step_ms=cine_step_ms(path, cine.time_step_ms))
    if path.is_file() and (is_dicom(path) or ends_as_image(path)):
        raise BadInputError(
            f"{path} is one image of a DICOM series.", hint=f"give the folder of the series, {path.parent}."
        )
    if series:
        raise BadInputError(f"{path} is no DICOM folder, so it has no series {', '.join(series)}.")
    return read_cine(path)
