"""What the repository promises about itself: extras, wheel, import contracts, README commands."""

import configparser
import re
import shlex
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points

import click
import pytest
from packaging.requirements import Requirement

from cinert.backends.tensorrt.flavour import RTX, TENSORRT

PACKAGES = ("bedside", "bench", "cinert", "export", "latency", "search")


@pytest.fixture(scope="module")
def setup_cfg(repository):
    parser = configparser.ConfigParser()
    parser.read(repository / "setup.cfg")
    return parser


def requirements(text):
    return {Requirement(line).name: Requirement(line) for line in text.strip().splitlines() if not line.startswith("#")}


def test_python_and_torch_versions(setup_cfg):
    assert setup_cfg["options"]["python_requires"] == ">=3.11"
    required = requirements(setup_cfg["options"]["install_requires"])
    assert {"torch", "onnx", "numpy", "nibabel", "click"} <= set(required)
    assert str(required["torch"].specifier) == ">=2.11"


def test_extras(setup_cfg):
    extras = {name: requirements(text) for name, text in setup_cfg["options.extras_require"].items()}
    assert set(extras) == {"trt", "pycuda", "rtx", "bedside", "dev"}
    assert set(extras["trt"]) == {"tensorrt", "cuda-core", "cuda-bindings", "nvidia-ml-py"}
    assert set(extras["pycuda"]) == {"pycuda"}
    assert set(extras["rtx"]) == {"tensorrt-rtx", "cuda-core", "cuda-bindings", "nvidia-ml-py"}
    assert not {"torch", "monai", "onnx", "matplotlib"} & set(extras["bedside"])
    required = requirements(setup_cfg["options"]["install_requires"])
    assert set(extras["bedside"]) <= set(required)


def test_pip_advice_names_what_the_index_has(repository, setup_cfg):
    """CineRT itself is on no index, nor are its extras; what is advised is what they ask for."""
    extras = {name: requirements(text) for name, text in setup_cfg["options.extras_require"].items()}
    for flavour, extra in ((TENSORRT, "trt"), (RTX, "rtx")):
        assert flavour.packages.split() == list(extras[extra])
    files = [
        repository / name
        for name in subprocess.run(
            ["git", "ls-files", "*.py", "*.md", "*.cfg", "*.sh"],
            cwd=repository,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
    ]
    advice = [line for path in files for line in re.findall(r"pip install [^\n`;)]*", path.read_text())]
    assert len(advice) > 5
    assert [line for line in advice if "cinert" in line] == []


def test_every_requirement_is_pinned(repository, setup_cfg):
    pinned = requirements((repository / "constraints.txt").read_text())
    assert all(re.fullmatch(r"==[^+]+", str(pin.specifier)) for pin in pinned.values())
    needed = {**requirements(setup_cfg["options"]["install_requires"])}
    needed |= requirements(setup_cfg["options.extras_require"]["dev"])
    canonical = {name.lower().replace("_", "-") for name in pinned}
    assert {name.lower().replace("_", "-") for name in needed} <= canonical


def test_every_dependency_has_a_reason(repository, setup_cfg):
    text = (repository / "docs" / "dependencies.md").read_text()
    for name in requirements(setup_cfg["options"]["install_requires"]):
        assert re.search(rf"\b{re.escape(name)}\b", text), name


def test_imports_run_one_way(repository):
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    result = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


def test_the_wheel_holds_the_packages_and_nothing_else(repository, tmp_path):
    """Built from the tracked files alone, so that nothing of a working tree can slip in."""
    source = tmp_path / "source"
    source.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=repository, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=source, input=archive, check=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(command, cwd=source, check=True)
    (wheel,) = tmp_path.glob("cinert-*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    top = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert top == set(PACKAGES)
    for package in PACKAGES:
        assert {f"{package}/__init__.py", f"{package}/py.typed"} <= set(names)
    assert {f"cinert/presets/{name}.yaml" for name in ("demo", "small", "paper", "rtdnas")} <= set(names)
    assert all(
        name.endswith((".py", ".yaml", "py.typed", "templates/report.html"))
        or ".dist-info/" in name
        or name.startswith("bedside/web/page/")
        for name in names
    )


def readme_commands(repository):
    for block in re.findall(r"```bash\n(.*?)```", (repository / "README.md").read_text(), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def test_the_readme_names_real_commands_and_options(repository):
    scripts = {
        entry.name: entry for entry in entry_points(group="console_scripts") if entry.value.split(".")[0] in PACKAGES
    }
    makefile = (repository / "Makefile").read_text()
    seen = set()
    for name, *arguments in readme_commands(repository):
        seen.add(name)
        if name == "make":
            assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in arguments)
        elif name in scripts:
            command = scripts[name].load()
            context = command.make_context(name, list(arguments))
            if isinstance(command, click.Group):
                subcommand, rest = context._protected_args + context.args, None
                command.get_command(context, subcommand[0]).make_context(subcommand[0], list(subcommand[1:]))
                del rest
        else:
            assert name in {"git", "cd", "export", "pip"}, name
    assert set(scripts) <= seen, "every command stands in the README"


@pytest.mark.parametrize("script", ["readme_status", "model_table"])
def test_the_tables_are_what_the_results_say(repository, script):
    result = subprocess.run(
        [sys.executable, f"benchmarks/{script}.py", "--check"], cwd=repository, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
