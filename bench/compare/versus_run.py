"""The networks of `--suite ours-vs-designed` from the options of `bench-compare` to page, JSON and picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from bench.compare.document import held_out
from bench.compare.follow import StageBars
from bench.compare.run import Hold, run_all
from bench.compare.setting import Setting, open_run
from bench.compare.stages import Job, Stage
from bench.compare.versus import OURS, SUITE, versus_document
from bench.compare.versus_page import draw_versus, versus_page
from cinert.cli import console, errors
from cinert.errors import BadInputError
from cinert.files import write_json, write_text
from cinert.provenance import counted
from cinert.ushape.space import UShapeSpace


def require_ushape_lut(setting: Setting) -> None:
    """Refuse a comparison whose searches would find no space of U-shapes.

    Raises:
        BadInputError: there is no LUT, or it is of a space of cells.
    """
    if setting.lut is None or not isinstance(setting.lut.space, UShapeSpace):
        given = "no LUT is given" if setting.lut is None else f"LUT {setting.lut.source} is of a space of cells"
        raise BadInputError(
            f"--suite {SUITE} searches U-shapes, and {given}.",
            hint="measure one with bench-ops --space cardiac-small, and give it with --lut.",
        )


class VersusReport(StageBars):
    """Progress bars, and page, JSON and picture that are written again after each network.

    Args:
        setting: of the comparison.
        jobs: chosen networks by name.
    """

    def __init__(self, setting: Setting, jobs: Mapping[str, Job]) -> None:
        self._setting, self._jobs = setting, jobs

    def network_done(self, job: Job) -> None:
        """Say what is known of it, and write the report."""
        document = self.write()
        run = next(run for row in document["networks"] for run in row["runs"] if run["network"] == job.name)
        said = [f"{job.name}: {run['state']}"]
        said += [] if run["reason"] is None else [run["reason"]]
        said += [] if run["dice"] is None else [f"mean Dice {run['dice']['mean']['mean']:.4f}"]
        said += [] if run["latency"] is None else [f"p50 {run['latency']['p50_ms']:.2f} ms"]
        errors.print(", ".join(said), markup=False)

    def write(self) -> dict[str, Any]:
        """Write page, JSON and picture; returns the document."""
        document = versus_document(self._setting, self._jobs)
        folder = self._setting.folder
        if any(run["state"] == "finished" for row in document["networks"] for run in row["runs"]):
            draw_versus(folder / f"{SUITE}.png", document)
        write_text(folder / f"{SUITE}.md", versus_page(document, picture=f"{SUITE}.png"))
        write_json(folder / f"{SUITE}.json", document)
        return document


def run_versus(setting: Setting, jobs: Mapping[str, Job], *, until: Stage, hold: Hold, restart: bool) -> list[str]:
    """Take all networks through the stages, write the report, and print who is ahead.

    Args:
        setting: of the comparison.
        jobs: chosen networks by name.
        until: last stage to do.
        hold: takes a device for computing or measuring.
        restart: throw away what the run folder holds.

    Returns:
        Names of the networks that failed.

    Raises:
        BadInputError: no LUT of U-shapes, or the folder holds another comparison.
    """
    require_ushape_lut(setting)
    open_run(setting, restart=restart)
    report = VersusReport(setting, jobs)
    report.write()
    run_all(list(jobs.values()), until=until, hold=hold, watch=report)
    document = report.write()
    console.print(_table(document))
    console.print(f"wrote {setting.folder / SUITE}.md, .json and .png", markup=False)
    return [run["network"] for row in document["networks"] for run in row["runs"] if run["state"] == "failed"]


def _table(document: Mapping[str, Any]) -> Table:
    table = Table(title=f"{OURS} against the best designed network: Dice on {counted(*held_out(document))}",
                  box=box.SIMPLE_HEAD, padding=0)  # fmt: skip
    for name in ("latency ms", "against", "ours less that", "95 % interval", "ahead", "seeds"):
        table.add_column(name, justify="left" if name == "against" else "right", no_wrap=True)
    for duel in document["duels"]:
        low, high = duel["interval"]
        table.add_row(
            f"{duel['latency_ms']:g}",
            duel["against"],
            f"{duel['difference']:+.4f}",
            f"{low:+.4f} to {high:+.4f}",
            f"{duel['patients_ahead']} of {duel['patients']}",
            str(len(duel["seeds"])),
        )
    return table
