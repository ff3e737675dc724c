"""What a run leaves behind for people: a text log and TensorBoard metrics; and reading the metrics back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Appends lines to RUN/NAME.log and scalars to RUN/tensorboard/NAME; a context manager.

    Args:
        folder: of the run.
        name: subfolder of tensorboard/, so that search and training can share a run folder.
        first_epoch: epoch that will be logged next; TensorBoard drops what an interrupted run logged from there on.
        write: false in all but one of several processes that run the same.
    """

    def __init__(self, folder: Path, *, first_epoch: int, name: str, write: bool = True) -> None:
        self._write = write
        if not write:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{name}.log"
        # Before TensorBoard's, whose thread meets a full disk with a traceback.
        self.line(f"continued after epoch {first_epoch}" if first_epoch else "begun")
        self._writer = SummaryWriter(str(folder / "tensorboard" / name), purge_step=first_epoch or None)

    def line(self, text: str) -> None:
        """Append a line with the time, at once on disk."""
        if not self._write:
            return
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def metrics(self, epoch: int, values: Mapping[str, float]) -> None:
        """Record the scalars of an epoch."""
        if not self._write:
            return
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()
        self.line(f"epoch {epoch + 1}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._write:
            self._writer.close()


def read_scalars(folder: Path, name: str) -> dict[str, list[tuple[int, float]]]:
    """Read RUN/tensorboard/NAME back: (epoch counted from 1, value) by scalar; {} where nothing was logged.

    Epochs that an interrupted run logged twice are there once.
    """
    logs = folder / "tensorboard" / name
    if not logs.is_dir():
        return {}
    events = EventAccumulator(str(logs), size_guidance={"scalars": 0})
    events.Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        # Files of one second are read in the order of their names, of which the tenth comes before the second.
        in_time = sorted(events.Scalars(tag), key=lambda event: event.wall_time)
        found[tag] = sorted({event.step + 1: event.value for event in in_time}.items())
    return found
