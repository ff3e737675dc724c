"""`cinert report`: a run folder told on one page. A verdict that failed is shown and stops nothing."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from rich.markup import escape

from bench.report_accuracy import accuracy_section
from bench.report_cine import cine_section
from bench.report_document import Block, Bullets, Paragraph, Report, Section, Words, plain
from bench.report_html import to_html
from bench.report_latency import engine_section, estimate_section, latency_section
from bench.report_made import made_section
from bench.report_markdown import to_markdown
from bench.report_network import lut_section, network_section
from bench.report_records import Records, read_records
from bench.report_run import Run
from bench.report_training import curves_section
from cinert import __version__
from cinert.cli import FiniteRange, command, console, print_verdict
from cinert.environment import cpu_name, default_threads
from cinert.errors import BadInputError
from cinert.files import atomic_folder, bundle_around, check_writable, write_text

HTML, MARKDOWN, PICTURES = "report.html", "report.md", "report_pictures"
MISSING = "What is missing"
EXAMPLES = """
cinert report runs/demo
cinert report runs/mine --lut lut.json               # the latency table lies elsewhere
cinert report runs/demo --format md                  # report.md and report_pictures/, for a repository
"""
_SECTIONS: dict[str, Callable[[Run, Records], list[Block]]] = {
    "The network": network_section,
    "Accuracy": accuracy_section,
    "A beating heart, frame by frame": cine_section,
    "Latency against the budget": latency_section,
    "Estimate against measurement": estimate_section,
    "The engine": engine_section,
    "What each part costs on the device": lut_section,
    "Search and training": curves_section,
    "How it was made": made_section,
}


@command("report", examples=EXAMPLES)
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--lut",
    "lut_path",
    type=click.Path(path_type=Path),
    show_default="RUN/lut.json",
    help="The latency table of the run.",
)
@click.option(
    "--format",
    "form",
    default="html",
    type=click.Choice(["html", "md"]),
    help="One HTML file that needs nothing else, or Markdown with a folder of pictures.",
)
@click.option(
    "--embed-mib",
    default=8.0,
    type=FiniteRange(min=0),
    help="A larger overlay is linked from the HTML file and not embedded, in MiB.",
)
def report(*, folder: Path, lut_path: Path | None, form: str, embed_mib: float) -> None:
    """Write RUN/report.html: every verdict, passed or failed, what it rests on, and how the run was made.

    Reads whatever is there of lut.json, config.json, arch.yaml, metrics.json, bundle/, accuracy.json, verify*.json,
    segment.json and overlay.gif or overlay.mp4. What is missing is named in the report, with the command that makes it.
    """
    if not folder.is_dir():
        raise BadInputError(f"there is no run folder {folder}.", hint="make demo writes runs/demo.")
    if lut_path is not None and not lut_path.is_file():
        raise BadInputError(f"there is no LUT {lut_path}.", hint="bench-ops writes one.")
    output = folder / (HTML if form == "html" else MARKDOWN)
    if (bundle := bundle_around(output)) is not None:
        raise BadInputError(
            f"a report in {folder} would break the bundle {bundle}.", hint=f"give the run folder, e.g. {bundle.parent}."
        )
    check_writable(output)
    if output.is_dir():
        raise BadInputError(f"cannot write {output}: it is a folder.")
    lut_path = lut_path or folder / "lut.json"
    write = _write_html if form == "html" else _write_markdown
    page, missing = write(folder, output, lut_path, embed_mib)
    print_verdict(escape(f"wrote {output}. {page.headline.text}"))
    for line in missing:
        console.print(f"missing: {plain(line)}", markup=False)


def _write_html(folder: Path, output: Path, lut: Path, embed_mib: float) -> tuple[Report, list[Words]]:
    with tempfile.TemporaryDirectory() as pictures:
        run = Run(folder=folder, pictures=Path(pictures), lut=lut)
        page = compose(run)
        write_text(output, to_html(page, folder=folder, embed_mib=embed_mib))
    return page, run.missing


def _write_markdown(folder: Path, output: Path, lut: Path, embed_mib: float) -> tuple[Report, list[Words]]:
    del embed_mib  # Markdown embeds nothing.
    with atomic_folder(folder / PICTURES) as pictures:
        run = Run(folder=folder, pictures=pictures, lut=lut)
        page = compose(run)
        text = to_markdown(page, folder=folder, pictures=pictures, picture_folder=PICTURES)
    write_text(output, text)
    return page, run.missing


def compose(run: Run) -> Report:
    """Put a report together; fills the run's verdicts and what is missing."""
    records = read_records(run)
    sections = []
    for title, section in _SECTIONS.items():
        # A section without its files is left out: the verdicts and the last section say what is not there.
        if blocks := _guarded(run, title, section, records):
            sections.append(Section(title, blocks))
    missing: list[Block] = [Bullets(run.missing)] if run.missing else [Paragraph("Nothing.")]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    return Report(
        title=f"CineRT report: {run.folder.resolve().name}",
        written=f"Written {now} by CineRT {__version__} on {cpu_name()}, {default_threads()} threads.",
        verdicts=run.verdicts,
        sections=[*sections, Section(MISSING, missing)],
    )


def _guarded(run: Run, title: str, section: Callable[[Run, Records], list[Block]], records: Records) -> list[Block]:
    """A file from elsewhere may lack any key; the rest of the report is still worth having."""
    try:
        return section(run, records)
    except (BadInputError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        run.missing.append(f"{title}: cannot be told, {type(error).__name__}: {error}")
        return []
