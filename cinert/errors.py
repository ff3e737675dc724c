"""Errors that a user sees as one line, and the exit code that each gives the shell.

Every message says what was wrong, the value, the file where there is one, and a hint.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command says to the shell (docs/design.md, "Exit codes")."""

    GOOD = 0
    VERDICT_FAILED = 1
    BAD_INPUT = 2
    UNAVAILABLE = 3


class CineRTError(Exception):
    """Base of all expected failures: printed as one line, never as a traceback."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = " ".join(message.split())
        self.hint = hint
        super().__init__(self.message if hint is None else f"{self.message} Hint: {hint}")


class BadInputError(CineRTError):
    """A file, value or combination of options that cannot be used."""


class BackendUnavailableError(CineRTError):
    """A back end that is known, and that this machine cannot run."""

    exit_code = ExitCode.UNAVAILABLE


class VerdictError(CineRTError):
    """The work was done and its result is a failure (parity, budget, interval)."""

    exit_code = ExitCode.VERDICT_FAILED
