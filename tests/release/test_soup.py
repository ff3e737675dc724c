"""The SOUP list in docs/safety.md is what the repository depends on now."""

import subprocess
import sys
from pathlib import Path


def test_the_soup_list_is_current(repository: Path) -> None:
    command = [sys.executable, "release/soup.py", "--check"]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_new_version_is_noticed(repository: Path, tmp_path: Path) -> None:
    for name in ("setup.cfg", "constraints.txt", "release/soup.py", "docs/dependencies.md", "docs/safety.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((repository / name).read_text())
    pins = tmp_path / "constraints.txt"
    pins.write_text(pins.read_text().replace("numpy==", "numpy==9"))

    result = subprocess.run(
        [sys.executable, "release/soup.py", "--check"], cwd=tmp_path, capture_output=True, text=True
    )

    assert result.returncode == 1
    assert "run make docs" in result.stderr
