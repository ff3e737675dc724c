"""Progress of a command: bars for somebody who watches, a line a minute for a log."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cinert.consoles import console, errors

LINE_EVERY_S = 50.0
"""Between two lines of a log: a minute at most, whatever the line itself takes."""
_doing: list[Callable[[], str]] = []
"""What says what is being done now; the last one begun speaks."""


Advance = Callable[[str, int, int], None]
"""How far something is: called with (what, done, in all). Whoever works and whoever shows it know this alone."""


def unheard(what: str, done: int, total: int) -> None:
    """A report that nobody follows."""
    del what, done, total


class Bars(Progress):
    """Progress bars on stderr. Where that is no terminal, `heartbeat` writes what they would show.

    Args:
        shown: false in all but one of several processes that do the same.
    """

    def __init__(self, *, shown: bool = True) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=errors,
            disable=not (shown and errors.is_terminal),
        )
        self._marks: dict[TaskID, tuple[float, float, float]] = {}

    def start(self) -> None:
        """Begin to show them."""
        super().start()
        _doing.append(self.words)

    def stop(self) -> None:
        """Show them no more."""
        with contextlib.suppress(ValueError):
            _doing.remove(self.words)
        super().stop()

    def words(self) -> str:
        """All that is not finished, in a line."""
        return "; ".join(self._words(task) for task in self.tasks if not task.finished)

    def _words(self, task: Task) -> str:
        if task.total is None or task.total <= 0:
            return task.description
        share = task.completed / task.total
        said = f"{task.description}: {task.completed:g} of {task.total:g} ({share:.0%})"
        now = time.monotonic()
        began, before, total = self._marks.setdefault(task.id, (now, task.completed, task.total))
        if task.completed < before or task.total != total:
            # The bar shows another stage now.
            self._marks[task.id] = (now, task.completed, task.total)
        elif task.completed > before:
            left_s = (now - began) * (task.total - task.completed) / (task.completed - before)
            said += f", about {_clock(left_s)} left"
        return said


def progress_bar(*, shown: bool = True) -> Progress:
    """Bars as `Bars` makes them."""
    return Bars(shown=shown)


def shown_as(bar: Progress, title: str) -> Advance:
    """A report that a bar of its own shows, with this title until it is told another."""
    task = bar.add_task(title, total=None)
    return lambda what, done, total: bar.update(task, completed=done, total=total, description=what)


@contextlib.contextmanager
def stage_bars() -> Iterator[Advance]:
    """Yields what shows the progress of a stage, called with its name, what is done and what there is; a bar each."""
    tasks: dict[str, TaskID] = {}
    with progress_bar() as bar:

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage)
            bar.update(tasks[stage], completed=done, total=total)

        yield report


@contextlib.contextmanager
def doing(words: Callable[[], str]) -> Iterator[None]:
    """Have the lines of a log say something else than bars while the block runs."""
    _doing.append(words)
    try:
        yield
    finally:
        _doing.remove(words)


@contextlib.contextmanager
def heartbeat(command: str) -> Iterator[None]:
    """Write a line a minute on stderr while a command runs, where that is no terminal.

    Args:
        command: named in each line.
    """
    if errors.is_terminal:
        yield
        return
    ended, began = threading.Event(), time.monotonic()

    def write() -> None:
        while not ended.wait(LINE_EVERY_S):
            # Of several processes that do the same one speaks.
            if not console.quiet:
                said = _doing[-1]() if _doing else ""
                running = f"running for {_clock(time.monotonic() - began)}"
                errors.print(f"{command}: {f'{said}; ' if said else ''}{running}", markup=False)

    thread = threading.Thread(target=write, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))
