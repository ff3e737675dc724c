"""The command `cinert audit-verify`."""

from __future__ import annotations

from pathlib import Path

import click

from bedside.audit.verify import verify_audit
from cinert.cli import command, console
from cinert.errors import VerdictError


@command(
    "audit-verify",
    examples="""
cinert audit-verify audit.jsonl
cinert audit-verify audit.jsonl --head 3f1c...   # printed by an earlier check
""",
)
@click.argument("path", metavar="LOG", type=click.Path(path_type=Path))
@click.option(
    "--head", metavar="HASH", help="Hash of a line that has to be in the log, as an earlier check printed it."
)
def audit_verify(path: Path, head: str | None) -> None:
    """Say whether an audit log is whole and unchanged, and what it holds.

    Every line carries the hash of the line before. A changed, removed or moved line is named, and the exit code is 1.
    Lines that were cut off at the end, or a log that was written anew from some line on, show only against the hash of
    a later line: note the one that is printed here in another place, and give it to --head.
    """
    report = verify_audit(path, head=head)
    states = ", ".join(f"{count} {state}" for state, count in report.states.most_common())
    console.print(
        f"{report.lines} lines, numbers {report.first} to {report.last.number}, {report.begin} to {report.end}, in"
        f" {', '.join(report.files)}",
        markup=False,
    )
    console.print(
        f"{report.states.total()} frames{f': {states}' if states else ''}; {report.lost} not logged", markup=False
    )
    for note in report.notes:
        console.print(f"note: {note}", markup=False)
    console.print(f"head {report.last.hash}", markup=False)
    if report.problems:
        for problem in report.problems[1:]:
            console.print(f"also: {problem}", markup=False)
        raise VerdictError(f"{path} is not what was written: {report.problems[0]}.")
    console.print("every line is what was written, in its place", markup=False)
