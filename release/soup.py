"""Write the list of software of unknown provenance (SOUP) in docs/safety.md from what the repository depends on.

python release/soup.py [--check]

Names come from setup.cfg, versions from constraints.txt, purposes from docs/dependencies.md.
"""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "safety.md"
START = "<!-- soup: written by `make docs` from setup.cfg, constraints.txt and docs/dependencies.md -->"
END = "<!-- /soup -->"
_ROW = re.compile(r"^\| (?P<names>[^|]+) \| (?P<purpose>[^|]+) \|")
_ASIDE = re.compile(r"\(.*?\)")


def names(text: str) -> list[str]:
    """Packages of a list in setup.cfg."""
    return [Requirement(line).name for line in text.strip().splitlines() if not line.startswith("#")]


def versions() -> dict[str, str]:
    """Pinned version by canonical name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def purposes() -> dict[str, str]:
    """What each package is for, by canonical name."""
    found = {}
    for line in (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").splitlines():
        if row := _ROW.match(line):
            for name in _ASIDE.sub("", row["names"]).split(","):
                found[canonicalize_name(name.strip())] = row["purpose"].strip()
    return found


def table() -> str:
    """The table as Markdown; what runs at the bedside comes first.

    Raises:
        SystemExit: a package without version or purpose.
    """
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    bedside = set(names(setup["options.extras_require"]["bedside"]))
    pinned, reasons = versions(), purposes()
    lines = ["| package | version | at the bedside | what it is used for |", "| --- | --- | --- | --- |"]
    everything = names(setup["options"]["install_requires"])
    for name in sorted(everything, key=lambda name: (name not in bedside, name.lower())):
        key = canonicalize_name(name)
        if key not in pinned or key not in reasons:
            sys.exit(
                f"{name} has no {'version in constraints.txt' if key not in pinned else 'row in docs/dependencies.md'}"
            )
        lines.append(f"| {name} | {pinned[key]} | {'yes' if name in bedside else 'no'} | {reasons[key]} |")
    return "\n".join(lines)


def main() -> None:
    """Rewrite the page, or with --check only say whether it is up to date."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    wanted = f"{before}{START}\n{table()}\n{END}{after}"
    if "--check" in sys.argv:
        sys.exit(0 if text == wanted else "docs/safety.md does not list what setup.cfg asks for: run make docs.")
    PAGE.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
