"""What every script of findings/ promises: its head, its pins, its place in the list. None is run here."""

import os
import re

import pytest

FIELDS = ("Guess", "Happens", "Matters to", "Versions", "Date", "Seen")


@pytest.fixture(scope="module")
def findings(repository):
    return repository / "findings"


@pytest.fixture(scope="module")
def scripts(findings):
    paths = sorted(findings.glob("*.sh"))
    assert paths
    return paths


def head(script):
    """The comment lines that begin a script, without the first one (#!)."""
    first, *lines = script.read_text().splitlines()
    assert first == "#!/usr/bin/env bash", script.name
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:end])


def installed(script):
    """What a script's pip installs, word by word, options left out."""
    lines = re.findall(r'/pip" install ([^\n]*)', script.read_text())
    assert lines, f"{script.name} installs nothing"
    return [word for line in lines for word in line.split() if not word.startswith("--")]


def test_each_head_has_every_field_in_order(scripts):
    for script in scripts:
        assert tuple(re.findall(r"^# ([A-Z][a-z ]*): +\S", head(script), flags=re.MULTILINE)) == FIELDS, script.name
        assert re.search(r"^# Date: +\d{4}-\d{2}-\d{2}$", head(script), flags=re.MULTILINE), script.name


def test_each_is_executable(scripts):
    assert [script.name for script in scripts if not os.access(script, os.X_OK)] == []


def test_each_package_is_pinned_and_its_version_stands_in_the_head(scripts):
    for script in scripts:
        for package in installed(script):
            assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", package), f"{script.name}: {package}"
        versions = head(script).partition("# Versions:")[2].partition("# Date:")[0]
        for package, version in (word.split("==") for word in installed(script)):
            assert version in re.findall(r"[0-9][0-9.]*[0-9]", versions), f"{script.name}: {package}"


def test_each_works_in_a_folder_that_it_removes_and_without_our_packages(scripts):
    for script in scripts:
        text = script.read_text()
        assert "folder=$(mktemp -d)\ntrap 'rm -rf \"$folder\"' EXIT\n" in text, script.name
        assert "set -euo pipefail" in text, script.name
        assert not re.search(r"\b(?:import|from) (?:bedside|bench|cinert|export|latency|search)\b", text), script.name


def test_the_readme_lists_them_all_and_nothing_else(findings, scripts):
    listed = re.findall(r"^\| `([^`]+\.sh)` \| \S", (findings / "README.md").read_text(), flags=re.MULTILINE)
    assert listed == [script.name for script in scripts]
