"""What other packages add to CineRT by entry point: each is loaded once, and one that is broken is named.

Free of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from cinert.errors import BadInputError

Fault = Callable[[Any], str | None]
"""What is wrong with a value that a package gives, as the end of a sentence about it; None if nothing is."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """Something that an installed package declares."""

    name: str
    package: str
    """Distribution that declares it."""
    version: str
    """Of the distribution."""
    value: Any

    @property
    def origin(self) -> str:
        """Distribution and version, e.g. `cinert-inplane 1.0`."""
        return f"{self.package} {self.version}"


def load_plugins(group: str, what: str, *, known: Collection[str], fault: Fault) -> dict[str, Plugin]:
    """Load what installed packages declare in a group of entry points.

    Args:
        group: e.g. `cinert.ops`.
        what: it declares, for messages, e.g. `op`.
        known: names that are taken.
        fault: says what is wrong with a value.

    Returns:
        Plug-ins by name.

    Raises:
        BadInputError: one takes a name that is taken, cannot be imported, or is not what it should be.
    """
    found: dict[str, Plugin] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, _distribution(entry))):
        package, version = _distribution(entry)
        where = f"package {package} {version} declares the {what} {entry.name} ({group}), which"
        hint = f"mend the package, or uninstall it: pip uninstall {package}."
        if entry.name in known:
            raise BadInputError(f"{where} CineRT itself has; names are not taken over.", hint=hint)
        if entry.name in found:
            raise BadInputError(f"{where} package {found[entry.name].origin} declares too.", hint=hint)
        value, wrong = load(entry)
        wrong = wrong or fault(value)
        if wrong is None and value.name != entry.name:
            wrong = f"has name {value.name!r}, expected that of its entry point"
        if wrong is not None:
            raise BadInputError(f"{where} {wrong}.", hint=hint)
        found[entry.name] = Plugin(name=entry.name, package=package, version=version, value=value)
    return found


def load(entry: EntryPoint) -> tuple[Any, str | None]:
    """Import what an entry point names.

    Returns:
        The value, and why it cannot be imported, as the end of a sentence about it; None where it can.
    """
    try:
        return entry.load(), None
    except (Exception, SystemExit) as error:  # whatever a package does when it is imported
        return None, f"cannot be imported: {_one_line(error)}"


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    """Name and version of what declares an entry point; its module where no distribution is known."""
    return (entry.module, "unknown") if entry.dist is None else (entry.dist.name, entry.dist.version)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(".: ")
