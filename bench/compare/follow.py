"""What a user sees of a comparison: bars while it runs, a line after each network, page and picture so far."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from bench.compare.document import comparison_document, entries, held_out, is_measured
from bench.compare.markdown import to_markdown
from bench.compare.picture import draw_comparison
from bench.compare.setting import Setting
from bench.compare.stages import Job
from bench.compare.suites import SUITES
from bench.compare.tables import comparison_table
from cinert.cli import console, errors, progress_bar
from cinert.files import write_json, write_text
from cinert.progress import Advance
from cinert.provenance import kind


class StageBars:
    """Progress of the stages of a comparison."""

    @contextlib.contextmanager
    def stage(self, title: str) -> Iterator[Advance]:
        """One bar after the other."""
        with progress_bar() as bar:
            task = bar.add_task(title, total=None)
            yield lambda what, done, total: bar.update(
                task, description=f"{title}: {what}", completed=done, total=total
            )


class Report(StageBars):
    """Progress bars, and page, JSON and picture that are written again after each network.

    Args:
        suite: name of the table.
        setting: of the comparison.
        jobs: chosen networks by name.
        not_run: reasons, of networks that do not fit the space.
        random: names of the random networks among `jobs`.
    """

    def __init__(
        self, suite: str, setting: Setting, jobs: dict[str, Job], not_run: dict[str, str], random: list[str]
    ) -> None:
        self._suite, self._setting, self._jobs, self._not_run, self._random = suite, setting, jobs, not_run, random

    def network_done(self, job: Job) -> None:
        """Say what is known of it, and write the report."""
        document = self.write()
        entry = next(entry for entry in entries(document) if entry["network"] == job.name)
        errors.print(f"{job.name}: {entry['state']}{_said(entry, kind(*held_out(document)))}", markup=False)

    def write(self) -> dict[str, Any]:
        """Write page, JSON and picture; returns the document."""
        document = comparison_document(SUITES[self._suite], self._setting, self._jobs, self._not_run, self._random)
        folder = self._setting.folder
        if any(is_measured(entry) for entry in entries(document)):
            draw_comparison(folder / f"{self._suite}.png", document)
        write_text(folder / f"{self._suite}.md", to_markdown(document, picture=f"{self._suite}.png"))
        write_json(folder / f"{self._suite}.json", document)
        return document

    def show(self, document: dict[str, Any]) -> None:
        """Print the table, the paper's figures in columns of their own."""
        console.print(comparison_table(document))
        drawn = any(is_measured(entry) for entry in entries(document))
        console.print(
            f"wrote {self._setting.folder / self._suite}.md{', .json and .png' if drawn else ' and .json'}",
            markup=False,
        )


def _said(entry: Mapping[str, Any], who: str) -> str:
    ours = entry["ours"]
    said = [] if entry["reason"] is None else [entry["reason"]]
    if ours["dice"] is not None:
        said.append(f"mean Dice of {who} {ours['dice']['mean']['mean']:.3f}")
    if ours["latency"] is not None:
        said.append(f"p50 {ours['latency']['p50_ms']:.2f} ms")
    return "".join(f", {part}" for part in said)
