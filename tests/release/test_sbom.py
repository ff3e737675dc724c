"""The bills of materials are valid CycloneDX, complete, and honest about the bedside."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

validation = pytest.importorskip("cyclonedx.validation.json", reason="cyclonedx-python-lib is not installed")


@pytest.fixture(scope="module")
def boms(repository: Path, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("sbom")
    command = [sys.executable, "-W", "error", repository / "release" / "sbom.py", "-o", folder]
    result = subprocess.run(command, capture_output=True, text=True, cwd=repository)
    assert result.returncode == 0, result.stderr
    (bedside,) = folder.glob("cinert-*-bedside.cdx.json")
    (full,) = folder.glob("cinert-*-full.cdx.json")
    return {"bedside": bedside.read_text(), "full": full.read_text()}


def packages(text: str) -> dict[str, dict]:
    return {canonicalize_name(item["name"]): item for item in json.loads(text)["components"]}


def pins(repository: Path) -> dict[str, str]:
    lines = (repository / "constraints.txt").read_text().splitlines()
    return {
        canonicalize_name(line.split("==")[0]): line.split("==")[1]
        for line in lines
        if line and not line.startswith("#")
    }


@pytest.mark.parametrize("profile", ["bedside", "full"])
def test_valid_cyclonedx(boms, profile: str) -> None:
    from cyclonedx.schema import SchemaVersion

    assert validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(boms[profile]) is None


def test_every_pinned_package_that_is_installed_is_listed(boms, repository: Path) -> None:
    here = {canonicalize_name(each.name): each.version for each in importlib.metadata.distributions()}
    listed = packages(boms["full"])

    wanted = {name: version for name, version in pins(repository).items() if name in here}
    assert len(wanted) > 50
    for name, version in wanted.items():
        assert listed[name]["version"].split("+")[0] == version
        assert listed[name]["purl"].startswith(f"pkg:pypi/{name}@{version}")


def test_the_bedside_goes_without_torch(boms) -> None:
    bedside, full = packages(boms["bedside"]), packages(boms["full"])

    assert {"numpy", "onnxruntime", "ismrmrd", "click"} <= bedside.keys() <= full.keys()
    assert not {"torch", "monai", "onnx", "matplotlib", "pytest"} & bedside.keys()
    assert full["torch"]["scope"] == "required"
    assert full["pytest"]["scope"] == "excluded"
    assert {item["scope"] for item in bedside.values()} == {"required"}


def test_what_needs_what(boms) -> None:
    for text in boms.values():
        document = json.loads(text)
        needs = {item["ref"]: item.get("dependsOn", []) for item in document["dependencies"]}
        root = document["metadata"]["component"]["bom-ref"]
        reached, waiting = set(), [root]
        while waiting:
            ref = waiting.pop()
            if ref not in reached:
                reached.add(ref)
                waiting += needs[ref]
        required = {item["bom-ref"] for item in document["components"] if item["scope"] == "required"}
        assert required == reached - {root}
