"""serve-mrd and send-mrd: two processes, the mask that segment-cine writes, and bad input in one line."""

import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pyigtl
import pytest
from click.testing import CliRunner, Result

from bedside.cli import segment_cine
from bedside.mrd.send_cli import send_mrd
from bedside.mrd.serve_cli import serve_mrd


def run(command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def assert_refused(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    assert result.output.splitlines()[-1].startswith(("send-mrd: ", "serve-mrd: ")), result.output
    for word in words:
        assert word in result.output


class Served:
    """serve-mrd in a process of its own."""

    def __init__(self, *words: object) -> None:
        # The modules of training are shut out: the bedside has to do without.
        code = (
            "import sys; sys.modules.update(dict.fromkeys(['torch', 'monai', 'onnx', 'matplotlib', 'safetensors']));"
            "from bedside.mrd.serve_cli import serve_mrd; serve_mrd(sys.argv[1:])"
        )
        # On a machine that is busy with other tests an engine may stand still for seconds.
        fixed = ["--port", "0", "--threads", "1", "--device", "cpu", "--hang-ms", "60000"]
        command = [sys.executable, "-c", code, *map(str, words), *fixed]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []
        self.port = self.port_of("serving MRD on 127.0.0.1:")

    def port_of(self, words: str) -> int:
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return int(re.search(rf"{re.escape(words)}(\d+)", line)[1])
        raise AssertionError("".join(self.lines))

    def wait_for(self, *words: str) -> None:
        for line in self.process.stdout:
            self.lines.append(line)
            if all(word in line for word in words):
                return

    def stop(self) -> str:
        """Interrupt it; what it said."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=120)
        return "".join(self.lines) + rest


@pytest.fixture
def served():
    running = []

    def start(*words: object) -> Served:
        running.append(Served(*words))
        return running[-1]

    yield start
    for each in running:
        each.process.kill()
        each.process.communicate()


def test_the_mask_over_mrd_is_the_mask_of_segment_cine(make_bundle, served, cine, tmp_path: Path) -> None:
    bundle = make_bundle("ort")
    server = served(bundle)

    sent = run(send_mrd, cine[0], "-o", tmp_path / "mrd.nii.gz", "--port", server.port)
    said = server.stop()

    assert sent.exit_code == 0, sent.output + said
    assert "6 frames answered, 6 with a mask" in sent.output
    assert server.process.returncode == 130
    assert "Traceback" not in said
    assert "54 images, 6 frames" in said
    assert run(segment_cine, bundle, cine[0], "-o", tmp_path / "direct.nii.gz", "--threads", 1).exit_code == 0
    ours, other = nib.load(tmp_path / "mrd.nii.gz"), nib.load(tmp_path / "direct.nii.gz")
    assert np.asarray(ours.dataobj).any()
    np.testing.assert_array_equal(ours.affine, other.affine)
    # The grid goes through 32-bit headers, and a stack against its normal comes back turned: a voxel may tip over.
    differing = np.asarray(ours.dataobj) != np.asarray(other.dataobj)
    assert differing.mean() <= 1e-4


def test_a_mask_over_mrd_does_not_depend_on_the_unit_of_the_grey_values(
    make_bundle, served, cine, tmp_path: Path
) -> None:
    server = served(make_bundle("ort"))
    grey = nib.load(cine[0])
    tiny = np.asarray(grey.dataobj).astype(np.float32) * np.float32(1e-9)
    header = grey.header.copy()
    header.set_data_dtype(np.float32)
    header.set_slope_inter(1, 0)
    nib.save(nib.Nifti1Image(tiny, None, header), tmp_path / "tiny.nii.gz")

    masks = []
    for source in (cine[0], tmp_path / "tiny.nii.gz"):
        masks.append(tmp_path / f"{len(masks)}.nii.gz")
        sent = run(send_mrd, source, "-o", masks[-1], "--port", server.port)
        assert sent.exit_code == 0, sent.output
    usual, of_tiny = (np.asarray(nib.load(path).dataobj) for path in masks)
    assert len(np.unique(usual)) > 1
    np.testing.assert_array_equal(of_tiny, usual)


def test_an_interrupt_ends_sessions_without_a_trace(make_bundle, served) -> None:
    server = served(make_bundle("ort"))
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"\1\0" + b"cinert".ljust(1024, b"\0"))
        server.wait_for("client 1", "connected")

        said = server.stop()

    assert server.process.returncode == 130
    assert "client 1" in said.splitlines()[-2], said
    assert "lost" in said.splitlines()[-2]
    assert "Traceback" not in said


def test_the_masks_are_shown_by_openigtlink(make_bundle, served, ball, tmp_path: Path) -> None:
    image, affine = ball
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "cine.nii.gz")
    server = served(make_bundle("ort"), "--igtl", 0)
    viewer = pyigtl.OpenIGTLinkClient("127.0.0.1", server.port_of("serving OpenIGTLink on 127.0.0.1:"))

    sent = run(send_mrd, tmp_path / "cine.nii.gz", "-o", tmp_path / "mask.nii.gz", "--port", server.port)
    message = viewer.wait_for_message("CineRT_mask_1", timeout=60)
    viewer.stop()

    assert sent.exit_code == 0, sent.output
    masks = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    # Whichever phase was the newest when the viewer looked; our columns run to the Right, MRD's frame keeps them.
    assert message.image.sum() in [masks[..., phase].sum() for phase in range(6)]
    found = message.ijk_to_world_matrix @ [*np.argwhere(message.image > 0).mean(0)[::-1], 1]
    truth = affine @ [*np.argwhere(masks.any(axis=3)).mean(0), 1]
    np.testing.assert_allclose(found[:3], truth[:3], atol=3)


class TestBadInput:
    def test_nobody_listens(self, cine, tmp_path: Path) -> None:
        result = run(send_mrd, cine[0], "-o", tmp_path / "mask.nii.gz", "--port", 1)

        assert_refused(result, 2, "no MRD server answers at 127.0.0.1:1", "serve-mrd")

    def test_a_configuration_that_is_not_served(self, serve, cine, tmp_path: Path) -> None:
        port = serve().server.address.port

        result = run(send_mrd, cine[0], "-o", tmp_path / "mask.nii.gz", "--port", port, "--config", "os")

        assert_refused(result, 2, "'os' is not served here; known: cinert, openrecon")
        assert not (tmp_path / "mask.nii.gz").exists()

    def test_phases_without_a_mask_give_no_file(self, serve, cine, tmp_path: Path) -> None:
        """A frame that comes while the engine is busy is overtaken: zeros in its place would pass for a mask."""
        running = serve()

        def hold_until_all_are_there() -> None:
            running.wait_for(lambda: running.runners)
            running.runners[0].go.clear()
            running.wait_for(lambda: len(running.arrived) == 6)
            running.runners[0].go.set()

        thread = threading.Thread(target=hold_until_all_are_there)
        thread.start()
        result = run(
            send_mrd, cine[0], "-o", tmp_path / "mask.nii.gz", "--port", running.server.address.port, "--fps", 100
        )
        thread.join()

        assert_refused(result, 1, "phases got no mask", "a newer frame came before its turn", "--fps")
        assert not (tmp_path / "mask.nii.gz").exists()

    @pytest.mark.parametrize(("name", "words"), [("mask.png", "has to end in"), ("cine.nii.gz", "overwrite the cine")])
    def test_an_output_that_cannot_be_written(self, cine, tmp_path: Path, name: str, words: str) -> None:
        before = cine[0].read_bytes()

        assert_refused(run(send_mrd, cine[0], "-o", tmp_path / name), 2, words)
        assert cine[0].read_bytes() == before

    def test_a_server_that_breaks_off(self, serve, cine, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        running = serve(open_runner=lambda: 1 / 0)

        result = run(send_mrd, cine[0], "-o", tmp_path / "m.nii.gz", "--port", running.server.address.port)

        assert_refused(result, 2, "broke off")

    def test_a_changed_engine_is_not_served(self, make_bundle) -> None:
        folder = make_bundle("ort")
        (folder / "ort-fp32.onnx").write_bytes(b"something else")

        assert_refused(run(serve_mrd, folder), 2, "ort-fp32.onnx is not the file that was exported")

    def test_a_back_end_that_is_not_here(self, make_bundle) -> None:
        assert_refused(run(serve_mrd, make_bundle("trt")), 3, "trt is not available because")

    def test_a_port_that_is_taken(self, serve, make_bundle) -> None:
        port = serve().server.address.port

        assert_refused(
            run(serve_mrd, make_bundle("ort"), "--port", port, "--threads", 1), 2, f"cannot listen on 127.0.0.1:{port}"
        )


def test_a_crash_of_the_engine_costs_masks_and_not_the_server(make_bundle, served, ball, tmp_path: Path) -> None:
    image, affine = ball
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "cine.nii.gz")
    server = served(make_bundle("ort"))
    (engine,) = psutil.Process(server.process.pid).children()
    assert "torch" not in Path(f"/proc/{engine.pid}/maps").read_text()
    engine.kill()
    server.wait_for("engine: was ended by SIGKILL; ready again after")

    sent = run(send_mrd, tmp_path / "cine.nii.gz", "--port", server.port)
    said = server.stop()

    assert sent.exit_code == 0, sent.output + said
    assert "6 frames answered, 6 with a mask" in sent.output
    assert "being started again (try 1 of 5)" in said
    assert "Traceback" not in said


def test_fresh_slices_are_replayed_and_answered(make_bundle, served, cine, tmp_path: Path) -> None:
    server = served(make_bundle("ort"), "--fresh-slices", 2)

    sent = run(send_mrd, cine[0], "--fresh-slices", 2, "--repeat", 2, "--port", server.port)
    said = server.stop()

    assert sent.exit_code == 0, sent.output + said
    assert "12 frames answered, 12 with a mask" in sent.output
    # The first phase is whole: 9 slices, then 11 times two.
    assert "31 images, 12 frames" in said


def test_fresh_slices_make_no_whole_mask(cine, tmp_path: Path) -> None:
    refused = run(send_mrd, cine[0], "--fresh-slices", 2, "-o", tmp_path / "mask.nii.gz")

    assert_refused(refused, 2, "-o takes whole phases", "leave one out")
    assert not (tmp_path / "mask.nii.gz").exists()


def test_more_fresh_slices_than_the_cine_has(cine) -> None:
    assert_refused(run(send_mrd, cine[0], "--fresh-slices", 10), 2, "--fresh-slices is 10", "has 9 slices")
