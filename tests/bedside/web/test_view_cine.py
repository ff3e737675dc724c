"""view-cine, and the page of serve-mrd, as processes: the page is there, and bad input is one line."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pytest
from click.testing import CliRunner, Result

from bedside.mrd.send_cli import send_mrd
from bedside.web.cli import view_cine


def run(*arguments: object) -> Result:
    return CliRunner().invoke(view_cine, [str(argument) for argument in arguments])


def assert_refused(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    (line,) = result.output.splitlines()
    assert line.startswith("view-cine: ")
    for word in words:
        assert word in line


@pytest.fixture
def started():
    """Starts a command in a process of its own, without the modules of training; gives it and the page's address."""
    running = []

    def start(module: str, name: str, *words: object) -> tuple[subprocess.Popen, list[str], str]:
        code = (
            "import sys; sys.modules.update(dict.fromkeys(['torch', 'monai', 'onnx', 'matplotlib', 'safetensors']));"
            f"from {module} import {name}; {name}(sys.argv[1:])"
        )
        command = [sys.executable, "-c", code, *map(str, words), "--threads", "1", "--device", "cpu"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        running.append(process)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                return process, lines, found[0]
        raise AssertionError("".join(lines))

    yield start
    for each in running:
        each.kill()
        each.communicate()


def test_a_cine_is_segmented_and_shown(make_bundle, cine, started, viewer) -> None:
    process, lines, url = started("bedside.web.cli", "view_cine", make_bundle("ort"), cine[0], "--port", 0)

    class Web:
        pass

    Web.url = url
    _, story, pixels = viewer(Web).wait_for(lambda _, story: story is not None and story["picture"] is not None)

    assert "showing replay of cine.nii.gz at 25.0 frames/s" in lines[-1]
    assert 3 in pixels[len(pixels) // 2 :]
    assert story["volumes"][-1][1] > 10
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert re.fullmatch(r"\d+ frames: .*\d+ l\w+\nview-cine: interrupted\.", rest.strip())


def test_it_ends_after_its_passes(make_bundle, cine, started) -> None:
    process, _, _ = started(
        "bedside.web.cli", "view_cine", make_bundle("ort"), cine[0], "--port", 0, "--repeat", 1, "--fps", 100
    )

    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert rest.startswith("6 frames: ")


def test_serve_mrd_shows_what_it_answers(make_bundle, cine, started, viewer, tmp_path: Path) -> None:
    words = (make_bundle("ort"), "--port", 0, "--web", 0, "--stale-ms", 60_000, "--hang-ms", 60_000)
    _, lines, url = started("bedside.mrd.serve_cli", "serve_mrd", *words)
    port = re.search(r"serving MRD on 127\.0\.0\.1:(\d+)", "".join(lines))[1]

    sent = CliRunner().invoke(send_mrd, [str(cine[0]), "-o", str(tmp_path / "mask.nii.gz"), "--port", port])

    class Web:
        pass

    Web.url = url
    head, story, _ = viewer(Web).wait_for(lambda _, story: story is not None and sum(story["counts"].values()) == 6)
    assert sent.exit_code == 0, sent.output
    assert (head["facts"]["source"], head["place"], story["picture"]["number"]) == ("MRD", 1, 6)


class TestBadInput:
    def test_no_time_step_and_no_rate(self, make_bundle, ball, tmp_path: Path) -> None:
        image, affine = ball
        stored = nib.Nifti1Image(image, affine)
        stored.header["pixdim"][4] = 0
        nib.save(stored, tmp_path / "cine.nii.gz")

        assert_refused(run(make_bundle("ort"), tmp_path / "cine.nii.gz"), 2, "how fast", "Hint: give --fps.")

    def test_no_bundle(self, cine, tmp_path: Path) -> None:
        assert_refused(run(tmp_path / "nothing", cine[0]), 2, "nothing")

    def test_no_cine(self, make_bundle, tmp_path: Path) -> None:
        assert_refused(run(make_bundle("ort"), tmp_path / "nothing.nii.gz"), 2, "nothing.nii.gz")

    def test_a_rate_of_nothing(self, make_bundle, cine) -> None:
        assert_refused(run(make_bundle("ort"), cine[0], "--fps", 0), 2, "--fps")

    def test_a_port_that_is_taken(self, make_bundle, cine, page) -> None:
        port = page().server_address[1]

        assert_refused(
            run(make_bundle("ort"), cine[0], "--port", port, "--threads", 1),
            2,
            f"cannot listen on 127.0.0.1 port {port} for the page",
        )

    def test_an_address_that_is_not_ours(self, make_bundle, cine) -> None:
        assert_refused(
            run(make_bundle("ort"), cine[0], "--host", "192.0.2.1", "--port", 0, "--threads", 1), 2, "192.0.2.1"
        )
