"""The GPU run book: everything that wants an NVIDIA GPU, in numbered stages of at most eight minutes each.

    python benchmarks/gpu/run.py --data DIR [-o runs/gpu] [--stages 0 1 2]
    python benchmarks/gpu/run.py --tiny                       # all stages on the CPU, on a phantom, in minutes

Each stage writes one JSON file, STAGE.json, with its commands, their exit codes and last lines. A stage that is done
is not done again, and one that ran out of time goes on where it was, because the commands themselves do: give the same
command again. The exit code is 1 if a stage is not done. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stages import STAGES, Book, probe_flavour

from cinert.files import read_json, write_json

LIMIT_S = 480
_LINES = 12
_CRASH = "Traceback (most recent call last):"
# 1 is a verdict and 3 a back end that is not here: results both.
RESULTS = frozenset({0, 1, 3})
Status = Literal["done", "failed", "out of time"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One command of a stage."""

    command: str
    exit_code: int | None
    """None where it ran out of time."""
    seconds: float
    last_lines: list[str]


def run_stage(
    name: str, commands: Sequence[Sequence[str]], folder: Path, limit_s: float, results: Collection[int] = RESULTS
) -> Status:
    """Run a stage's commands in order, as long as its time lasts, and write its JSON file.

    Args:
        name: of the stage and its file.
        commands: console scripts, and Python programs.
        folder: where the file is written.
        limit_s: seconds for all commands together.
        results: exit codes of a console script that are an outcome and no failure; a program has to exit with 0.
    """
    deadline = time.monotonic() + limit_s
    outcomes: list[Outcome] = []
    status: Status = "done"
    for command in commands:
        print(f"[{name}] {' '.join(command)}", flush=True)
        outcome = _run(command, deadline - time.monotonic())
        outcomes.append(outcome)
        if outcome.exit_code is None:
            status = "out of time"
            break
        # Python ends with 1 too where an exception is nobody's: no verdict.
        is_program = command[0] == sys.executable
        if outcome.exit_code not in ({0} if is_program else results) or _CRASH in outcome.last_lines:
            status = "failed"
    document: dict[str, Any] = {
        "stage": name,
        "status": status,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commands": [asdict(outcome) for outcome in outcomes],
    }
    write_json(folder / f"{name}.json", document)
    return status


def _run(command: Sequence[str], limit_s: float) -> Outcome:
    start = time.monotonic()
    code: int | None = None
    try:
        result = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=max(1.0, limit_s),
            check=False,
        )
        code, text = result.returncode, result.stdout
    except subprocess.TimeoutExpired as error:
        text = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else (error.stdout or "")
    lines = [line for line in text.splitlines() if line.strip()]
    # Of a long traceback the beginning is kept too: it tells a crash from a verdict.
    lines = [line for line in lines[:-_LINES] if line == _CRASH] + lines[-_LINES:]
    print("\n".join(f"    {line}" for line in lines), flush=True)
    return Outcome(
        command=" ".join(command), exit_code=code, seconds=round(time.monotonic() - start, 1), last_lines=lines
    )


def is_done(folder: Path, name: str) -> bool:
    """Whether an earlier run finished the stage."""
    path = folder / f"{name}.json"
    return path.is_file() and read_json(path, "the stage").get("status") == "done"


def main() -> int:
    """Run the stages that are not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="labelled patients, for stages 5 and 6")
    parser.add_argument("-o", "--output", type=Path, help="folder of results, continued if it exists")
    parser.add_argument("--stages", type=int, nargs="+", default=list(range(len(STAGES))), help="numbers of stages")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="seconds for each stage")
    parser.add_argument("--tiny", action="store_true", help="all stages on the CPU, on a phantom")
    words = parser.parse_args()
    if not words.tiny and words.data is None:
        parser.error("give --data DIR, or --tiny")
    folder = words.output or Path("runs/gpu-tiny" if words.tiny else "runs/gpu")
    folder.mkdir(parents=True, exist_ok=True)
    flavour = probe_flavour()
    book = Book(folder=folder, data=words.data or folder / "phantom", tiny=words.tiny, flavour=flavour)
    # The back ends of a CPU are always here, so that one that is not is a fault.
    results = RESULTS - {3} if words.tiny else RESULTS
    statuses = {}
    for number in words.stages:
        name, commands = f"{number}-{STAGES[number].__name__}", STAGES[number](book)
        if is_done(folder, name):
            print(f"[{name}] done before", flush=True)
            continue
        statuses[name] = run_stage(name, commands, folder, words.limit_s, results)
    print(json.dumps(statuses, indent=2))
    return int(any(status != "done" for status in statuses.values()))


if __name__ == "__main__":
    sys.exit(main())
