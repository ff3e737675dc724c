"""`cinert report`: a run folder told as Markdown with pictures. A verdict that failed is shown and stops nothing."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import click

from bench.report_document import Run, table, verdict_word
from bench.report_model import lut_section, read_model, search_section, training_section
from bench.report_proof import accuracy_section, bundle_section, cine_section, latency_sections
from cinert import __version__
from cinert.cli import command, console
from cinert.environment import cpu_name, default_threads
from cinert.errors import BadInputError
from cinert.files import atomic_folder, check_writable, write_text

REPORT, PICTURES = "report.md", "report_pictures"

Section = Callable[[], list[str]]


@command("report", examples="cinert report runs/demo")
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
def report(*, folder: Path) -> None:
    """Write RUN/report.md: what was done, on which device, and every verdict, passed or failed.

    Reads whatever is there of lut.json, arch.yaml, metrics.json, bundle/, accuracy.json, verify*.json, segment.json
    and overlay.gif. What is missing is named in the report.
    """
    if not folder.is_dir():
        raise BadInputError(f"there is no run folder {folder}.", hint="make demo writes runs/demo.")
    check_writable(folder / REPORT)
    run = write_report(folder)
    failed = [what for what, passed, _ in run.verdicts if passed is False]
    console.print(f"wrote {folder / REPORT}: {len(run.verdicts)} verdicts, {len(failed)} failed", markup=False)
    for what in failed:
        console.print(f"FAILED {what}", markup=False)
    for line in run.missing:
        console.print(f"missing: {line}", markup=False)


def write_report(folder: Path) -> Run:
    """Write report.md and its pictures; returns verdicts and what was missing.

    Raises:
        BadInputError: the folder cannot be written.
    """
    with atomic_folder(folder / PICTURES) as pictures:
        run = Run(folder=folder, pictures=pictures, picture_folder=PICTURES)
        text = _compose(run)
    write_text(folder / REPORT, text)
    return run


def _compose(run: Run) -> str:
    lut, arch, metrics = read_model(run)
    sections: dict[str, Section] = {
        "What each part costs on this device": lambda: lut_section(run, lut, arch),
        "The network that the search found": lambda: search_section(run, arch),
        "Training": lambda: training_section(run, metrics),
        "The engine": lambda: bundle_section(run),
        "Accuracy on held-out patients": lambda: accuracy_section(run),
        "Estimate against measurement": lambda: latency_sections(run),
        "A beating heart, frame by frame": lambda: cine_section(run),
    }
    body: list[str] = []
    for title, section in sections.items():
        lines = _guarded(run, title, section)
        body += [f"## {title}", "", *(lines or ["Nothing to show; see *What is missing*.", ""])]
    return "\n".join([*_head(run), *body, *_missing(run), *_reproduce(run)]) + "\n"


def _guarded(run: Run, title: str, section: Section) -> list[str]:
    """A file from elsewhere may lack any key; the rest of the report is still worth having."""
    try:
        return section()
    except (BadInputError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        run.missing.append(f"*{title}*: cannot be told, {type(error).__name__}: {error}")
        return []


def _head(run: Run) -> list[str]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    rows = [[what, verdict_word(passed), figures] for what, passed, figures in run.verdicts]
    return [
        f"# CineRT report: {run.folder.resolve().name}",
        "",
        f"Written {now} by CineRT {__version__} on {cpu_name()}, {default_threads()} threads.",
        "",
        *(table(["verdict", "", "figures"], rows, align="lll") if rows else ["Nothing was judged."]),
        "",
    ]


def _missing(run: Run) -> list[str]:
    return ["## What is missing", "", *([f"- {line}" for line in run.missing] or ["Nothing."]), ""]


def _reproduce(run: Run) -> list[str]:
    folder = run.folder
    return [
        "## To do it again",
        "",
        "```",
        f"bench-ops --space SPACE -o {folder}/lut.json",
        f"nas-search --lut {folder}/lut.json --data DATA -o {folder}",
        f"train-arch {folder}/arch.yaml --data DATA -o {folder}",
        f"export-engine {folder}/arch.yaml --lut {folder}/lut.json --data DATA -o {folder}/bundle",
        f"evaluate-bundle {folder}/bundle --data DATA -o {folder}/accuracy.json",
        f"bench-engine {folder}/bundle --lut {folder}/lut.json -o {folder}/verify.json",
        f"segment-cine {folder}/bundle CINE.nii.gz -o {folder}/mask.nii.gz --overlay {folder}/overlay.gif"
        f" --report {folder}/segment.json",
        f"cinert report {folder}",
        "```",
    ]
