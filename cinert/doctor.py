"""`cinert doctor`: what this machine can do, and why not. It never fails: what is lacking is its subject."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
from importlib import import_module
from typing import Any

import click
import psutil
from rich.markup import escape
from rich.table import Table

from cinert import __version__
from cinert.backends import BACKENDS, get_backend, resolve_backend
from cinert.cgroup import cpu_quota
from cinert.cli import command, console
from cinert.device_memory import installed
from cinert.device_memory.driver import driver_problem
from cinert.environment import cache_folder, cpu_name, default_threads, library_version
from cinert.errors import CineRTError

_EXTRA = re.compile(r"""extra\s*==\s*['"](?P<extra>[^'"]+)['"]""")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_SHOWN = {"dev"}


def examine() -> dict[str, Any]:
    """Look at machine, GPU, back ends and packages; JSON-able, and without raising."""
    return {
        "cinert": __version__,
        "machine": _machine(),
        "gpu": _gpu(),
        "nvidia": _nvidia(),
        "backends": {name: _backend(name) for name in BACKENDS},
        "auto": _auto(),
        "optional_packages": _optional_packages(),
        "cache": _cache(),
        "data": os.environ.get("CINERT_DATA"),
    }


def _machine() -> dict[str, Any]:
    memory = psutil.virtual_memory()
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "cpu_quota": cpu_quota(),
        "threads_used": default_threads(),
        "load_1min": round(psutil.getloadavg()[0], 2),
        "memory_gib": round(memory.total / 2**30, 1),
        "memory_free_gib": round(memory.available / 2**30, 1),
    }


def _gpu() -> dict[str, Any]:
    """GPUs as PyTorch sees them; {devices, reason}."""
    try:
        cuda = import_module("torch.cuda")
        if not cuda.is_available():
            build = import_module("torch.version").cuda
            reason = "PyTorch is built without CUDA" if build is None else "PyTorch finds no CUDA device"
            return {"devices": [], "reason": reason}
        devices = []
        for number in range(cuda.device_count()):
            found = cuda.get_device_properties(number)
            devices.append(
                {
                    "name": found.name,
                    "compute_capability": f"{found.major}.{found.minor}",
                    "memory_gib": round(found.total_memory / 2**30, 1),
                }
            )
    # A broken CUDA installation raises anything; to say so is this command's work.
    except Exception as error:
        return {"devices": [], "reason": f"PyTorch cannot be used: {_first_line(error)}"}
    return {"devices": devices, "reason": None}


def _nvidia() -> dict[str, Any]:
    """{driver_problem, device_memory}: what running an engine on a GPU needs beside its library; free of PyTorch."""
    return {
        "driver_problem": driver_problem(),
        "device_memory": {name: library_version(name) for name in installed()},
    }


def _backend(name: str) -> dict[str, Any]:
    """{available, reason, buildable, build_reason, libraries, precisions} of a back end."""
    found: dict[str, Any] = {"available": False, "buildable": False, "libraries": {}, "precisions": []}
    try:
        backend = get_backend(name)
        runs, builds = backend.available(), backend.buildable()
        found |= {"available": runs.ok, "reason": runs.reason, "buildable": builds.ok, "build_reason": builds.reason}
        found["libraries"] = backend.fingerprint()["libraries"] if runs.ok or builds.ok else {}
        found["precisions"] = list(backend.precisions_on())
    except CineRTError as error:
        found |= {"reason": error.message, "build_reason": error.message}
    # As above: an engine's library may fail in any way when it is loaded.
    except Exception as error:
        found |= {"reason": _first_line(error), "build_reason": _first_line(error)}
    return found


def _auto() -> str | None:
    try:
        return resolve_backend("auto").name
    except CineRTError:
        return None


def _optional_packages() -> dict[str, dict[str, str]]:
    """Version, or `absent`, of each package of each extra, as the installed distribution declares them."""
    try:
        requirements = importlib.metadata.requires("cinert") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    extras: dict[str, dict[str, str]] = {}
    for requirement in requirements:
        extra, name = _EXTRA.search(requirement), _NAME.match(requirement)
        if extra and name and extra["extra"] not in _NOT_SHOWN:
            extras.setdefault(extra["extra"], {})[name[0]] = library_version(name[0])
    return extras


def _cache() -> dict[str, Any]:
    """{folder, files, mib} of what is kept between runs: ONNX exports, timing and runtime caches of TensorRT."""
    folder = cache_folder()
    files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    return {
        "folder": str(folder),
        "files": len(files),
        "mib": round(sum(path.stat().st_size for path in files) / 2**20, 1),
    }


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@command("doctor", examples="cinert doctor\ncinert doctor --json      # for a bug report")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(*, as_json: bool) -> None:
    """Say what this machine can do: device, back ends with versions and precisions, and why not."""
    found = examine()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    console.print(_facts(found))
    console.print(_backend_table(found))


def _facts(found: dict[str, Any]) -> Table:
    machine, gpu, cache = found["machine"], found["gpu"], found["cache"]
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_row("cinert", f"{found['cinert']}, Python {machine['python']}")
    facts.add_row("system", machine["system"])
    facts.add_row(
        "CPU",
        f"{machine['cpu']}: {machine['physical_cores']} physical cores, {machine['logical_cores']} logical"
        + ("" if machine["cpu_quota"] is None else f", a quota of {machine['cpu_quota']:.4g}")
        + f"; engines use {machine['threads_used']} threads",
    )
    busy = machine["load_1min"] > 0.5 * (machine["logical_cores"] or 1)
    facts.add_row("load", f"{machine['load_1min']}" + (": busy, latency measured now will be high" if busy else ""))
    facts.add_row("memory", f"{machine['memory_gib']} GiB, {machine['memory_free_gib']} GiB free")
    if gpu["devices"]:
        for number, device in enumerate(gpu["devices"]):
            facts.add_row(
                f"cuda:{number}",
                f"{device['name']}, {device['memory_gib']} GiB, compute capability {device['compute_capability']}",
            )
    else:
        facts.add_row("GPU", f"none: {escape(gpu['reason'])}")
    memory = ", ".join(f"{name} {version}" for name, version in found["nvidia"]["device_memory"].items())
    facts.add_row("device memory", memory or "none: neither pycuda nor cuda-core is installed")
    facts.add_row("cache", f"{escape(cache['folder'])}: {cache['files']} files, {cache['mib']} MiB")
    facts.add_row("CINERT_DATA", escape(found["data"]) if found["data"] else "not set; give data with --data")
    for extra, packages in found["optional_packages"].items():
        listing = ", ".join(f"{name} {version}" for name, version in packages.items())
        facts.add_row(escape(f"extra [{extra}]"), listing)
    return facts


def _backend_table(found: dict[str, Any]) -> Table:
    table = Table(title="Back ends")
    for name in ("back end", "runs", "builds", "precisions", ""):
        table.add_column(name)
    for name, backend in found["backends"].items():
        # Where both fail it is for the same reason.
        reasons = [backend["reason"]]
        if backend["buildable"] and not backend["available"]:
            reasons = [f"cannot run: {backend['reason']}", f"can build: {backend['build_reason']}"]
        table.add_row(
            name + (" (auto)" if name == found["auto"] else ""),
            _yes(backend["available"]),
            _yes(backend["buildable"]),
            " ".join(backend["precisions"]),
            escape("\n".join(reasons)),
        )
    return table


def _yes(good: bool) -> str:
    return "[green]yes[/]" if good else "[yellow]no[/]"
