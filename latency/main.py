"""The command `latency`: what is done to a LUT after it was measured."""

from __future__ import annotations

import click

from cinert import __version__
from latency.calibrate_cli import calibrate


@click.group("latency", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="latency")
def main() -> None:
    """Work on latency tables (LUTs). They are measured by bench-ops and judged by bench-model."""


main.add_command(calibrate, name="calibrate")
