"""The command `cinert`. Subcommands are named by string and imported when called: cinert imports no other package."""

from __future__ import annotations

from importlib import import_module

import click

from cinert import __version__

_SUBCOMMANDS = {
    "doctor": ("cinert.doctor:doctor", "What this machine can do: back ends, versions, device, and why not."),
    "baseline": (
        "bench.baseline_cli:baseline",
        "Write a designed network, such as a U-Net, as an architecture file.",
    ),
    "layers": (
        "cinert.backends.tensorrt.cli:layers",
        "Time every layer of a TensorRT engine, and show what TensorRT made of the network.",
    ),
    "keygen": ("cinert.trust.cli:keygen", "Make a key pair to sign bundles with."),
    "audit-verify": ("bedside.audit.cli:audit_verify", "Say whether an audit log is whole and unchanged."),
    "report": ("bench.report:report", "One page about a run folder: every verdict, pictures, how it was made."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand when it is called, so that one without torch works without torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names, in the order of the table."""
        return list(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the subcommand."""
        if cmd_name not in _SUBCOMMANDS:
            return None
        module, attribute = _SUBCOMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """List names and descriptions without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, description) for name, (_, description) in _SUBCOMMANDS.items()])


@click.command("cinert", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="cinert")
def main() -> None:
    """Find, price and ship real-time 3D segmentation networks for MR-guided heart procedures.

    The stages are commands of their own: make-phantom, bench-ops, nas-search, train-arch, export-engine,
    evaluate-bundle, bench-engine, segment-cine.
    """
