"""Samples of a LUT that is being measured, beside its file, so that a killed run goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cinert.cli import errors
from cinert.environment import binding_differences
from cinert.errors import BadInputError
from cinert.files import read_json, sha256_of, write_json
from cinert.resume import refuse_other_settings
from cinert.timing import Protocol, TimingStats, Visit, Visits, anchor_floor, is_tight, summarise

_SAVE_EVERY_S = 15.0


class Checkpoint:
    """Samples so far.

    Args:
        output: the LUT's path; the checkpoint is a hidden file beside it.
        header: what an interrupted run must share to be continued; `fingerprint` is compared by what binds.
        restart: begin anew, whatever lies there. So does `--allow-busy` after a run without it, and says so: what such
            a run waited for is not what this one takes.

    Raises:
        BadInputError: the checkpoint there cannot be read, or was begun otherwise; it is left as it is.
    """

    def __init__(self, output: Path, header: Mapping[str, Any], *, restart: bool = False) -> None:
        self.path = checkpoint_path(output)
        self._header = dict(header)
        self._saved_at = 0.0
        self.visits: dict[str, Visits] = {}
        if self.path.is_file() and not restart:
            self.visits = self._samples_there(output)

    def _samples_there(self, output: Path) -> dict[str, Visits]:
        hint = "choose another output with -o, or start anew with --restart."
        try:
            document = read_json(self.path, "the checkpoint")
            was = dict(document["header"])
            strict = not was["protocol"]["tolerant"] and self._header["protocol"]["tolerant"]
            if strict:
                was["protocol"] = {**was["protocol"], "tolerant": True}
            visits = {name: [Visit(*visit) for visit in row] for name, row in document["visits"].items()}
        except BadInputError as error:
            raise BadInputError(error.message, hint=hint) from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadInputError(f"{self.path} is no checkpoint of bench-ops.", hint=hint) from error
        refuse_other_settings(output, _plain(was), _plain(self._header))
        if differences := binding_differences(was.get("fingerprint", {}), self._header.get("fingerprint", {})):
            raise BadInputError(f"{output} was begun on another device: {'; '.join(differences)}.", hint=hint)
        if strict:
            errors.print(
                f"Note: {self.path} was begun without --allow-busy; with it the measurement begins afresh.",
                markup=False,
            )
            return {}
        return visits

    def waiting(self, names: Iterable[str], protocol: Protocol) -> list[str]:
        """The rows that need more samples."""
        floor = anchor_floor(self.visits)
        return [name for name in names if not is_tight(self.visits.get(name, []), protocol, floor)]

    def save(self, *, force: bool = False) -> None:
        """Store the samples, at most every few seconds."""
        now = time.monotonic()
        if force or now - self._saved_at >= _SAVE_EVERY_S:
            write_json(self.path, {"header": self._header, "visits": self.visits})
            self._saved_at = now

    def summaries(self, protocol: Protocol) -> dict[str, TimingStats]:
        """Summarise every row."""
        floor = anchor_floor(self.visits)
        return {name: summarise(visits, protocol, floor) for name, visits in self.visits.items()}


def checkpoint_path(output: Path) -> Path:
    """Where the samples of an unfinished LUT lie; the file is removed when the LUT is written."""
    return output.with_name(f".{output.name}.partial")


def _plain(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header without the fingerprint, and with a word for its long lists."""
    plain = {key: value for key, value in header.items() if key != "fingerprint"}
    if "networks" in plain:
        plain["networks"] = f"{len(plain['networks'])} ({sha256_of(repr(plain['networks']).encode())[:8]})"
    return plain
