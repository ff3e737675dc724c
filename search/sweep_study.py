"""The record of a sweep's trials in optuna's storage, and which trial a process works on next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from cinert.claim import Claim
from cinert.errors import BadInputError
from cinert.files import check_writable, sha256_of
from search.data import mix_seed
from search.sweep import Objective
from search.sweep_journal import open_journal

JOURNAL, TRIALS, LOCK = "sweep.journal", "trials", "sweep.lock"
_DIRECTIONS: dict[Objective, list[str]] = {"pareto": ["maximize", "minimize"], "dice": ["maximize"]}


def check_storage(name: str | None, folder: Path) -> None:
    """Refuse a storage that cannot be used, without making one that is not there: the sweep may yet be refused.

    Args:
        name: as `open_storage` takes it.
        folder: of the run.

    Raises:
        BadInputError: it cannot be opened, or its file cannot be written.
    """
    file = _storage_file(name, folder)
    if file is None or file.exists():
        open_storage(name, folder)
    else:
        check_writable(file)


def _storage_file(name: str | None, folder: Path) -> Path | None:
    """The file of a storage; None for a database that is no file, or cannot become one."""
    if name is None or "://" not in name:
        return folder / JOURNAL if name is None else Path(name)
    try:
        url = make_url(name)
    except SQLAlchemyError:
        return None
    # SQLite makes no folders.
    file = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
    return file if file is not None and file.parent.is_dir() else None


def open_storage(name: str | None, folder: Path) -> BaseStorage:
    """Open what the trials are recorded in.

    Args:
        name: a file, the URL of a database as SQLAlchemy reads it, or None for RUN/sweep.journal.
        folder: of the run.

    Raises:
        BadInputError: it cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    shown = name or str(folder / JOURNAL)
    try:
        if name is not None and "://" in name:
            shown = make_url(name).render_as_string(hide_password=True)
            return RDBStorage(name)
        path = folder / JOURNAL if name is None else Path(name)
        check_writable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        journal = JournalStorage(open_journal(path))
        # Reads all of it, which may be damaged.
        journal.get_all_studies()
        return journal
    except (SQLAlchemyError, ImportError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise BadInputError(f"cannot use the storage {shown}: {reason}", hint="name a file or a URL.") from error


class SweepStudy:
    """The trials of one sweep.

    Args:
        storage: where they are recorded; may hold other sweeps.
        folder: of the run, shared by all processes of the sweep.
        identity: hash of what the sweep is; names it in the storage.
        objective: what is looked for.
        seed: of what is tried.
    """

    def __init__(self, storage: BaseStorage, folder: Path, *, identity: str, objective: Objective, seed: int) -> None:
        self.folder, self.objective, self._seed = folder, objective, seed
        self._name, self._storage = f"cinert-{sha256_of(identity.encode())[:16]}", storage
        self._study = optuna.create_study(
            storage=storage, study_name=self._name, directions=_DIRECTIONS[objective], load_if_exists=True
        )

    def trials(self) -> list[FrozenTrial]:
        """All trials by number."""
        return self._study.get_trials(deepcopy=False)

    def trial_folder(self, number: int) -> Path:
        """Run folder of a trial."""
        return self.folder / TRIALS / f"{number:04d}"

    def next(self, count: int) -> tuple[Trial, Claim] | None:
        """The trial to work on: one whose process ended before it did, or a new one while there are fewer than `count`.

        Returns:
            The trial, and the claim to hold while working on it; None if nothing is left to do.
        """
        with self.alone():
            for frozen in self.trials():
                if frozen.state == TrialState.RUNNING:
                    claim = Claim(self.trial_folder(frozen.number) / "claim")
                    if claim.acquire():
                        return self._seeded(Trial(self._study, frozen._trial_id)), claim
                    claim.release()
            if len(self.trials()) >= count:
                return None
            trial = self._study.ask()
            claim = Claim(self.trial_folder(trial.number) / "claim")
            claim.acquire()
            return self._seeded(trial), claim

    def finish(self, trial: Trial, *, dice: float, ms: float, budget_met: bool) -> None:
        """Record what a trial found; within a budget, a network that misses it is worth nothing."""
        for name, value in {"dice": dice, "ms": ms, "budget_met": budget_met}.items():
            trial.set_user_attr(name, value)
        values: float | list[float] = [dice, ms] if self.objective == "pareto" else dice if budget_met else 0.0
        self._study.tell(trial, values)

    def fail(self, trial: Trial, reason: str) -> None:
        """Record that a trial failed, and why."""
        trial.set_user_attr("reason", reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def twin(self, trial: Trial) -> FrozenTrial | None:
        """A complete trial with the same parameters."""
        params: dict[str, Any] = trial.params
        return next((one for one in self.trials() if one.state == TrialState.COMPLETE and one.params == params), None)

    def forget(self) -> None:
        """Remove the sweep from the storage, and begin it anew."""
        optuna.delete_study(study_name=self._name, storage=self._storage)
        self._study = optuna.create_study(
            storage=self._storage, study_name=self._name, directions=_DIRECTIONS[self.objective]
        )

    def alone(self) -> Claim:
        """Held while the record and the files beside it are changed; waits for other processes."""
        claim = Claim(self.folder / LOCK)
        claim.acquire(wait=True)
        return claim

    def _seeded(self, trial: Trial) -> Trial:
        # What a trial tries follows from its number and the trials before it, whichever process asks.
        self._study.sampler = optuna.samplers.TPESampler(seed=mix_seed(self._seed, trial.number) % 2**32)
        return trial
