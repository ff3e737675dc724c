"""Write what a release consists of as CycloneDX JSON, for the bedside and for the whole tool chain.

python release/sbom.py [-o sbom]

Two files: `cinert-VERSION-bedside.cdx.json` holds the torch-free run time, `cinert-VERSION-full.cdx.json` every package
of constraints.txt that is installed; those that only development needs have the scope `excluded`. Versions are the
installed ones, which have to be the pinned ones.
"""

from __future__ import annotations

import configparser
import functools
import importlib.metadata
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import click
from cyclonedx.contrib.this.builders import this_component
from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from soup import ROOT, versions

from cinert.cli import command, console
from cinert.errors import BadInputError
from cinert.files import check_output_file, write_text

PROFILES = ("bedside", "full")
_WEB = re.compile(r"https?://\S+")


def asked_for(lines: Iterable[str]) -> set[str]:
    """Installed packages that requirements name and that are wanted on this platform, by canonical name."""
    requirements = map(Requirement, lines)
    wanted = (each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""}))
    return {canonicalize_name(each.name) for each in wanted} & installed().keys()


def direct(profile: str) -> set[str]:
    """What a profile of this tree asks for, from setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    section, key = ("options.extras_require", "bedside") if profile == "bedside" else ("options", "install_requires")
    return asked_for(line for line in parser[section][key].strip().splitlines() if not line.startswith("#"))


@functools.cache
def installed() -> dict[str, importlib.metadata.Distribution]:
    """Installed distributions by canonical name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions():
        found.setdefault(canonicalize_name(distribution.name), distribution)
    return found


def closure(names: Iterable[str]) -> set[str]:
    """Packages with all that they ask for."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += asked_for(importlib.metadata.requires(name) or ())
    return found


def make_bom(profile: str) -> Bom:
    """The bill of materials of a profile.

    Raises:
        BadInputError: an installed package is not of the version that constraints.txt pins.
    """
    run_time, pinned = closure(direct(profile)), versions()
    names = run_time if profile == "bedside" else run_time | (pinned.keys() & installed().keys())
    for name in sorted(names):
        here = installed()[name].version.split("+")[0]
        if here != pinned.get(name, here):
            raise BadInputError(
                f"{name} {here} is installed, constraints.txt pins {pinned[name]}.",
                hint="make a release from a fresh environment: make install.",
            )
    bom = Bom()
    bom.metadata.tools.components.add(this_component())
    product = Component(
        name="cinert",
        version=importlib.metadata.version("cinert"),
        type=ComponentType.APPLICATION,
        bom_ref=f"cinert-{profile}",
        licenses=[DisjunctiveLicense(id="Apache-2.0")],
        description=f"CineRT, {profile} installation. Research software, not a medical device.",
    )
    bom.metadata.component = product
    components = {name: _component(name, required=name in run_time) for name in sorted(names)}
    for component in components.values():
        bom.components.add(component)
    bom.register_dependency(product, [components[name] for name in sorted(direct(profile))])
    for name, component in components.items():
        needs = asked_for(importlib.metadata.requires(name) or ()) & components.keys()
        bom.register_dependency(component, [components[each] for each in sorted(needs)])
    return bom


def _component(name: str, *, required: bool) -> Component:
    distribution = installed()[name]
    metadata = distribution.metadata
    licence = _field(distribution, "License-Expression") or _field(distribution, "License")
    pages = [*metadata.get_all("Project-URL", []), _field(distribution, "Home-page")]
    address = next((found[0] for text in pages if (found := _WEB.search(text))), None)
    return Component(
        name=distribution.name,
        version=distribution.version,
        type=ComponentType.LIBRARY,
        scope=ComponentScope.REQUIRED if required else ComponentScope.EXCLUDED,
        bom_ref=f"{name}=={distribution.version}",
        purl=PackageURL("pypi", name=name, version=distribution.version),
        description=_field(distribution, "Summary"),
        # Some packages put the whole text of their licence there.
        licenses=[DisjunctiveLicense(name=licence)] if licence and len(licence) < 100 else (),
        external_references=(
            [ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(address))] if address else ()
        ),
    )


def _field(distribution: importlib.metadata.Distribution, key: str) -> str:
    return next(iter(distribution.metadata.get_all(key, [])), "")


@command("sbom", examples="python release/sbom.py -o sbom")
@click.option("-o", "--output", default="sbom", type=click.Path(path_type=Path), help="Folder to write.")
def sbom(output: Path) -> None:
    """Write the bills of materials of this version, from the installed packages."""
    version = importlib.metadata.version("cinert")
    paths = {profile: output / f"cinert-{version}-{profile}.cdx.json" for profile in PROFILES}
    for path in paths.values():
        check_output_file(path)
    for profile, path in paths.items():
        bom = make_bom(profile)
        write_text(path, JsonV1Dot6(bom).output_as_string(indent=2) + "\n")
        console.print(f"wrote {path}: {len(bom.components)} packages", markup=False)


if __name__ == "__main__":
    sys.exit(sbom())
