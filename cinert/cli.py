"""What all commands share: one-line errors with their exit code, a console, and common options."""

from __future__ import annotations

import contextlib
import errno
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
from rich.markup import escape

from cinert import __version__
from cinert.claim import CLAIM, CannotLockError, claimed
from cinert.consoles import console, errors, print_verdict
from cinert.data import remarks
from cinert.device_lock import DeviceLock, Use, hold_device
from cinert.errors import CineRTError, ExitCode
from cinert.progress import doing, heartbeat, progress_bar, stage_bars

P = ParamSpec("P")
R = TypeVar("R")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

__all__ = ["console", "errors", "print_verdict", "progress_bar", "stage_bars"]
"""What commands take from here though it stands elsewhere."""

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Command(click.Command):
    """A click command that says in one line what is wrong, and prints its examples as they were typed."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the arguments; a mistyped one is a line like any other bad input."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            problem = " ".join(error.format_message().split())
            _print_error(f"{self.name}: {problem} Hint: see {self.name} --help.")
            raise SystemExit(int(ExitCode.BAD_INPUT)) from None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the epilog unwrapped, so that examples can be copied."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n")


class FiniteRange(click.FloatRange):
    """A range of numbers, of which `nan` and `inf` are none: the one lies beside every bound, the other within most."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse a number; anything else is refused."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def command(name: str, *, examples: str, service: bool = False) -> Callable[[Callable[P, R]], click.Command]:
    """Make a function the command `name`: expected errors become one line on stderr and their exit code.

    Args:
        name: as it is typed.
        examples: a line each.
        service: it runs until it is interrupted, and its log has no line a minute that says so.
    """

    def decorate(function: Callable[P, R]) -> click.Command:
        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            remarks.begin()
            try:
                with contextlib.nullcontext() if service else heartbeat(name):
                    return function(*args, **kwargs)
            except CineRTError as error:
                hint = f" Hint: {error.hint}" if error.hint else ""
                _print_error(f"{name}: {error.message}{hint}")
                raise SystemExit(int(error.exit_code)) from None
            except OSError as error:
                if error.errno not in _DISK_FULL:
                    raise
                where = f" {error.filename}" if error.filename else ""
                _print_error(f"{name}: cannot write{where}: {error.strerror}. Hint: make room.")
                raise SystemExit(int(ExitCode.BAD_INPUT)) from None
            except KeyboardInterrupt:
                errors.print(f"{name}: interrupted.", markup=False)
                raise SystemExit(130) from None

        decorated = click.command(
            name,
            cls=Command,
            epilog=examples,
            context_settings={"show_default": True, "help_option_names": ["-h", "--help"]},
        )
        return click.version_option(__version__, "--version", prog_name=name)(decorated(guarded))

    return decorate


def _print_error(text: str) -> None:
    """One line in a log; in a terminal, which would divide words at its edge, wrapped between them."""
    errors.print(text, markup=False, soft_wrap=not errors.is_terminal)


def say_notes(notes: Iterable[str]) -> None:
    """Say on stderr what the user should know of an input that was read, a line each; none of it is an error."""
    for note in notes:
        _print_error(f"Note: {note}")


def data_option() -> Decorator:
    """`--data DIR`, or the environment variable CINERT_DATA."""
    return click.option(
        "--data",
        "data",
        type=click.Path(path_type=Path),
        envvar="CINERT_DATA",
        show_envvar=True,
        help="Folder of labelled patients: ACDC, M&Ms, M&Ms-2 or nnU-Net raw.",
    )


def seed_option() -> Decorator:
    """`--seed N`: the same seed gives the same result."""
    return click.option(
        "--seed", default=0, type=click.IntRange(min=0), help="Seed; the same seed gives the same result."
    )


def parse_fold(text: str) -> int | None:
    """Read `--fold`: a number 0..4, or `all` (None), which holds no patient out."""
    if text == "all":
        return None
    if text.isdigit() and int(text) < 5:
        return int(text)
    raise click.BadParameter(f"{text!r} is neither a fold 0..4 nor 'all'.", param_hint="--fold")


def fold_option(default: str = "0") -> Decorator:
    """`--fold 0|all`."""
    return click.option(
        "--fold",
        default=default,
        metavar="0..4|all",
        callback=lambda _ctx, _param, value: parse_fold(value),
        help="Fold whose patients are held out (5 folds by patient), or 'all' to use every patient.",
    )


def engine_options() -> Decorator:
    """`--device` and `--threads` of the engine."""
    device = click.option("--device", default="auto", metavar="auto|cpu|cuda:N", help="Device that the engine runs on.")
    threads = click.option(
        "--threads", type=click.IntRange(min=1), help="CPU threads. [default: the physical cores that it may use]"
    )
    return lambda function: device(threads(function))


def series_option() -> Decorator:
    """`--series`: which series of a DICOM folder."""
    return click.option(
        "--series",
        multiple=True,
        metavar="NUMBER|UID",
        help="DICOM series to read where CINE holds several; repeated, they are joined to one stack.",
    )


def wait_option() -> Decorator:
    """`--wait`: wait for the device instead of refusing."""
    return click.option("--wait", is_flag=True, help="Wait while the device is used or measured by another command.")


def allow_busy_option() -> Decorator:
    """`--allow-busy`: measure although something else uses the machine."""
    return click.option(
        "--allow-busy",
        is_flag=True,
        help="Measure although other processes use the machine: the figures are worth less, and say so.",
    )


def reserve(device: str, use: Use, *, wait: bool) -> None:
    """Hold a device until the running command ends: measuring and computing keep apart (cinert.device_lock).

    Args:
        device: `cpu` or `cuda:N`.
        use: what for.
        wait: wait while it is taken, and show for whom.

    Raises:
        BadInputError: the device is taken, and `wait` is false.
    """
    context = click.get_current_context()
    with contextlib.ExitStack() as shown, _without_locks(device):
        on_wait = shown.enter_context(_waiting()) if wait else None
        context.with_resource(hold_device(device, use, str(context.command.name), on_wait=on_wait))


@contextlib.contextmanager
def reserved(device: str, use: Use) -> Iterator[None]:
    """Hold a device while the block runs, and wait until it is free; for a command that computes and measures in turn.

    Args:
        device: `cpu` or `cuda:N`.
        use: what for.
    """
    name = str(click.get_current_context().command.name)
    with contextlib.ExitStack() as held:
        with _without_locks(device), _waiting() as on_wait:
            held.enter_context(hold_device(device, use, name, on_wait=on_wait))
        yield


def share(device: str) -> None:
    """Hold a device for computing if nobody measures there, and note who else is there; never refuses nor waits.

    For commands whose latencies are for information only, and whose work should not be kept waiting.
    """
    context = click.get_current_context()
    with _without_locks(device):
        lock = DeviceLock(device, "compute", str(context.command.name))
        context.call_on_close(lock.release)
        if not lock.acquire():
            errors.print(f"Note: {lock.taken()}", markup=False)
        elif others := lock.others():
            errors.print(
                f"Note: {device} is being used by {', '.join(map(str, others))}: latencies are longer than alone.",
                markup=False,
            )


@contextlib.contextmanager
def _without_locks(device: str) -> Iterator[None]:
    """Go on with a note where the file system cannot lock."""
    try:
        yield
    except OSError as error:
        errors.print(
            f"Note: {device} cannot be locked ({error.strerror}), so nothing keeps measuring and training apart here."
            " Set CINERT_LOCK_DIR to a local folder.",
            markup=False,
        )


@contextlib.contextmanager
def _waiting() -> Iterator[Callable[[str], None]]:
    """A spinner that says who is waited for; a line where nobody watches."""
    said = ""
    with errors.status("waiting for the device") as spinner, doing(lambda: f"waiting: {said}"):

        def say(text: str) -> None:
            nonlocal said
            if errors.is_terminal:
                spinner.update(f"Waiting: {escape(text)}")
            elif text != said:
                errors.print(f"Waiting: {text}", markup=False)
            said = text

        yield say


def claim_run(*folders: Path) -> None:
    """Have run folders for the running command alone until it ends: two would write one checkpoint.

    Raises:
        BadInputError: another process works on one of them.
    """
    for folder in folders:
        _claim(folder, folder / CLAIM)


def claim_file(path: Path) -> None:
    """The same for a file that is measured for hours, with its checkpoint beside it."""
    _claim(path, path.with_name(f".{path.name}.{CLAIM}"))


def _claim(what: Path, file: Path) -> None:
    context = click.get_current_context()
    try:
        context.with_resource(claimed(what, file, str(context.command.name)))
    except CannotLockError as error:
        errors.print(f"Note: {error.message} Nothing keeps a second command from writing {what}.", markup=False)
