"""From the options of bench-compare to what its networks share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.compare.setting import Setting, Terms
from cinert.backends import resolve_backend
from cinert.cli import progress_bar
from cinert.environment import binding_differences, default_threads, fingerprint
from cinert.errors import BadInputError
from cinert.progress import shown_as
from cinert.spaces import cells_only, load_space
from latency.lut import Lut, load_lut
from search.data import load_fold
from search.device import resolve_device

_DESIGNED_FOR = "small"
"""Space of cells whose grid designed networks read that have none of their own."""


def prepare(
    folder: Path,
    data: Path,
    fold: int,
    terms: Terms,
    *,
    lut_path: Path | None,
    foreign_lut: bool,
    space_name: str | None,
    device: str,
    engine_device: str,
    backend: str | None,
    precision: str | None,
    threads: int | None,
    own_grids: bool = False,
) -> Setting:
    """Resolve devices, prices and space, and read the data.

    Args:
        folder: of the run.
        data: folder of patients.
        fold: whose patients are held out.
        terms: what every network is given.
        lut_path: prices of the device that measures, or None.
        foreign_lut: take those of another device too.
        space_name: None for the LUT's own.
        device: where to search and train.
        engine_device: where engines run.
        backend: None for the LUT's, or the fastest here.
        precision: None for the LUT's, or fp32.
        threads: None for the LUT's, or the physical cores.
        own_grids: let each network read the grid that it states; a LUT of U-shapes then brings no space of cells, and
            designed networks are made for `small` unless a space is named.

    Raises:
        BadInputError: a file that cannot be used, a LUT of another device, or options that do not go together.
        BackendUnavailableError: the back end or the device is not here.
    """
    lut = None if lut_path is None else load_lut(lut_path)
    if space_name is not None or own_grids:
        space = load_space(space_name or _DESIGNED_FOR)
    elif lut is not None:
        space = cells_only(lut.space)
    else:
        raise BadInputError("neither --space nor --lut is given.", hint="a LUT brings its space along.")
    chosen_precision: Any = precision or ("fp32" if lut is None else lut.precision)
    if chosen_precision == "int8":
        raise BadInputError(
            "engines in int8 take calibration frames, which no comparison has.", hint="--precision fp16."
        )
    engine_backend = resolve_backend(
        backend or ("auto" if lut is None else lut.backend), engine_device, chosen_precision
    )
    where = resolve_device(device)
    if terms.clock == "cpu" and where.type != "cpu":
        raise BadInputError(f"--clock cpu says nothing of work on {where}.", hint="count by --clock wall.")
    engine_threads = threads or (default_threads() if lut is None else int(lut.fingerprint["threads"]))
    here = fingerprint(engine_backend, device=engine_device, threads=engine_threads, precision=chosen_precision)
    lut_is_of_here = lut is not None and _is_of_here(lut, here, foreign_lut=foreign_lut)
    with progress_bar() as bar:
        found = load_fold(data, space, fold, progress=shown_as(bar, "reading"))
    return Setting(
        folder=folder,
        space=space,
        lut=lut,
        lut_is_of_here=lut_is_of_here,
        data_folder=data,
        data=found,
        terms=terms,
        device=where,
        backend=engine_backend,
        engine_device=engine_device,
        precision=chosen_precision,
        threads=engine_threads,
        own_grids=own_grids,
    )


def _is_of_here(lut: Lut, here: dict[str, Any], *, foreign_lut: bool) -> bool:
    """Hold the LUT's device against the one that will measure."""
    differences = binding_differences(lut.fingerprint, here)
    if differences and not foreign_lut:
        raise BadInputError(
            f"LUT {lut.source} is of another device: {'; '.join(differences)}.",
            hint="give one measured here with bench-ops, or say --foreign-lut to search with it all the same.",
        )
    return not differences
