"""Which layout a folder of labelled patients has; the way in for every command that reads patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cinert.data import acdc, mnms, nnunet
from cinert.data.patients import Patient
from cinert.data.remarks import data_folder
from cinert.errors import BadInputError


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to store patients.

    Attributes:
        name: as people call it.
        picture: which files lie where, in one line.
        markers: glob patterns in the folder, all of which find something.
        read: finds the patients in a folder.
    """

    name: str
    picture: str
    markers: tuple[str, ...]
    read: Callable[[Path], list[Patient]]

    def fits(self, folder: Path) -> bool:
        """Whether the folder has this layout."""
        return all(next(folder.glob(marker), None) is not None for marker in self.markers)


LAYOUTS = (
    Layout("ACDC", acdc.PICTURE, (acdc.MARKER,), acdc.read_acdc),
    Layout("M&Ms", mnms.MNMS_PICTURE, (mnms.MNMS_MARKER,), mnms.read_mnms),
    Layout("M&Ms-2", mnms.MNMS2_PICTURE, (mnms.MNMS2_MARKER,), mnms.read_mnms2),
    Layout("nnU-Net raw", nnunet.PICTURE, nnunet.MARKERS, nnunet.read_nnunet),
)
LAYOUT_NAMES = ", ".join(layout.name for layout in LAYOUTS[:-1]) + f" or {LAYOUTS[-1].name}"


def read_patients(folder: Path) -> list[Patient]:
    """Find the patients in a folder of any known layout, sorted by id.

    Raises:
        BadInputError: there is no such folder, its layout is none or more than one of `LAYOUTS`, or it cannot be used.
    """
    if not folder.is_dir():
        raise BadInputError(f"there is no data folder {folder}.", hint=_layouts_known())
    fitting = [layout for layout in LAYOUTS if layout.fits(folder)]
    if not fitting:
        raise BadInputError(f"{folder} is in no known layout: {_what_is_in(folder)}.", hint=_hint(folder))
    if len(fitting) > 1:
        raise BadInputError(
            f"{folder} is in more than one layout: {' and '.join(layout.name for layout in fitting)}.",
            hint="keep each dataset in a folder of its own.",
        )
    data_folder(folder)
    return fitting[0].read(folder)


def _layouts_known() -> str:
    return "known layouts: " + "; ".join(f"{layout.name}: {layout.picture}" for layout in LAYOUTS) + "."


def _what_is_in(folder: Path) -> str:
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    if not names:
        return "it is empty"
    return f"it holds {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _hint(folder: Path) -> str:
    above = folder.resolve().parent
    deeper = [path for path in sorted(folder.glob("*/")) + sorted(folder.glob("*/*/")) if path.is_dir()]
    for layout in LAYOUTS:
        inside = [marker.removeprefix("*/") for marker in layout.markers if marker.startswith("*/")]
        if inside and all(next(folder.glob(marker), None) for marker in inside):
            return f"this is one patient; give the folder above it, {above}."
        for path in deeper:
            if layout.fits(path):
                return f"try {path}."
    return _layouts_known()
