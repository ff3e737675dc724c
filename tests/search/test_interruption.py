"""kill -9 at any moment, and the same command again: the result is that of a run that nobody disturbed."""

import dataclasses
import json
import random
import shutil
import signal
import time

import nibabel as nib
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from cinert.arch import save_arch
from cinert.device_lock import hold_device
from cinert.sampling import random_arch
from latency.lut import save_lut
from search.cli import nas_search
from search.train_cli import train_arch

EPOCHS = 10
COMMANDS = {"nas-search": (nas_search, "supernet.safetensors"), "train-arch": (train_arch, "checkpoint.safetensors")}


def invoke(name, words):
    return CliRunner().invoke(COMMANDS[name][0], [str(word) for word in words], catch_exceptions=False)


def kill_after_checkpoint(process, checkpoint, delay_s=0.0):
    """Kill the process a while after it has replaced its checkpoint."""
    before = checkpoint.stat().st_ino if checkpoint.exists() else None
    deadline = time.monotonic() + 900
    while not checkpoint.exists() or checkpoint.stat().st_ino == before:
        assert process.poll() is None, f"it ended before it could be killed: {process.communicate()[0]}"
        assert time.monotonic() < deadline, "no checkpoint after a quarter of an hour"
        time.sleep(0.001)
    time.sleep(delay_s)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    whole = checkpoint.read_bytes()
    assert len(whole) > 8 + int.from_bytes(whole[:8], "little"), "a checkpoint is whole at any moment"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def search_words(lut_path, patients):
    return ["--lut", lut_path, "--data", patients, "--epochs", EPOCHS]


@pytest.fixture(scope="module")
def undisturbed_search(root, search_words):
    assert invoke("nas-search", [*search_words, "-o", root / "search"]).exit_code == 0
    return root / "search"


@pytest.fixture(scope="module")
def training_words(undisturbed_search, patients):
    """Without the localiser, which is trained first, in one go, and kept."""
    words = ["--data", patients, "--epochs", EPOCHS, "--validate-every", 2, "--no-localiser"]
    return [undisturbed_search / "arch.yaml", *words]


@pytest.fixture(scope="module")
def undisturbed_training(root, training_words):
    assert invoke("train-arch", [*training_words, "-o", root / "training"]).exit_code == 0
    return root / "training"


@pytest.fixture(scope="module")
def killed_search(start, root, search_words):
    """A search that was killed at its first checkpoint."""
    kill_after_checkpoint(start("nas-search", *search_words, "-o", root / "s"), root / "s" / "supernet.safetensors")
    return root / "s"


@pytest.fixture(scope="module")
def killed_training(start, root, training_words):
    """A training that was killed at its first checkpoint."""
    kill_after_checkpoint(start("train-arch", *training_words, "-o", root / "t"), root / "t" / "checkpoint.safetensors")
    return root / "t"


@pytest.fixture(params=list(COMMANDS))
def killed(request, tmp_path):
    """Command, its words with an output, and the folder of a run of it that was killed."""
    kind = {"nas-search": "search", "train-arch": "training"}[request.param]
    words = request.getfixturevalue(f"{kind}_words")
    folder = tmp_path / "run"
    shutil.copytree(request.getfixturevalue(f"killed_{kind}"), folder)
    return request.param, [*words, "-o", folder], folder


def killed_again_and_finished(start, name, words, checkpoint):
    """Kill it somewhere in an epoch, then let it end; what the last run said."""
    kill_after_checkpoint(start(name, *words), checkpoint, delay_s=random.uniform(0.0, 0.1))
    last = start(name, *words)
    said, _ = last.communicate(timeout=900)
    assert last.returncode == 0, said
    return said


def test_a_search_that_is_killed_twice_finds_the_same(start, tmp_path, search_words, killed_search, undisturbed_search):
    shutil.copytree(killed_search, tmp_path / "run")
    words = [*search_words, "-o", tmp_path / "run"]
    said = killed_again_and_finished(start, "nas-search", words, tmp_path / "run" / "supernet.safetensors")
    assert "Continued after epoch " in said
    for name in ("arch.yaml", "supernet.safetensors", "config.json"):
        assert (tmp_path / "run" / name).read_bytes() == (undisturbed_search / name).read_bytes(), name


def test_a_training_that_is_killed_twice_learns_the_same(
    start, tmp_path, training_words, killed_training, undisturbed_training
):
    shutil.copytree(killed_training, tmp_path / "run")
    words = [*training_words, "-o", tmp_path / "run"]
    said = killed_again_and_finished(start, "train-arch", words, tmp_path / "run" / "checkpoint.safetensors")
    assert "Continued after epoch " in said
    for name in ("arch.yaml", "weights.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (undisturbed_training / name).read_bytes(), name
    expected, found = (
        json.loads((folder / "metrics.json").read_text()) for folder in (undisturbed_training, tmp_path / "run")
    )
    for key in ("seconds", "cpu_seconds"):
        assert expected.pop(key) > 0
        assert found.pop(key) > 0
    assert found == expected


def test_killed_before_the_first_checkpoint_it_begins_anew(
    start, tmp_path, training_words, undisturbed_training, content
):
    process = start("train-arch", *training_words, "-o", tmp_path)
    while not (tmp_path / "tensorboard").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert not {"weights.safetensors", "metrics.json"} & set(content(tmp_path))
    assert invoke("train-arch", [*training_words, "-o", tmp_path]).exit_code == 0
    expected = (undisturbed_training / "weights.safetensors").read_bytes()
    assert (tmp_path / "weights.safetensors").read_bytes() == expected


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(killed, full_disk):
    name, words, folder = killed
    checkpoint = folder / COMMANDS[name][1]
    before = checkpoint.read_bytes()
    # The kill may have hit a file that was being written.
    abandoned = set(folder.glob(".partial-*"))
    full_disk(len(before) - 1000)
    result = invoke(name, words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{name}: cannot write {checkpoint}: File too large")
    assert len(result.stderr.splitlines()) == 1
    assert checkpoint.read_bytes() == before
    assert set(folder.glob(".partial-*")) <= abandoned


def test_a_disk_that_is_full_to_the_last_byte_is_one_line(killed, full_disk):
    name, words, folder = killed
    checkpoint = folder / COMMANDS[name][1]
    before = checkpoint.read_bytes()
    full_disk(0)
    result = invoke(name, words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{name}: cannot write {folder}")
    assert len(result.stderr.splitlines()) == 1
    assert checkpoint.read_bytes() == before


class TestRefused:
    """What cannot be continued is one line, and what lies there stays as it is."""

    @staticmethod
    def refused(content, name, words, folder, *says):
        before = content(folder)
        result = invoke(name, words)
        assert result.exit_code == 2, result.output
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert result.stderr.startswith(f"{name}: ")
        for word in says:
            assert word in result.stderr
        assert content(folder) == before

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            (["--seed", 1], "seed 0 there, 1 now"),
            (["--fold", 1], "fold 0 there, 1 now"),
            (["--fold", "all"], "fold 0 there, 'all' now"),
            (["--epochs", 12], "epochs 10 there, 12 now"),
            (["--batch-size", 3], "batch_size "),
            (["--learning-rate", 0.5], "learning_rate 0.01 there, 0.5 now"),
            (["--fold", 7], "'7' is neither a fold 0..4 nor 'all'"),
            (["--fold", "first"], "'first' is neither a fold"),
            (["--seed", -1], "--seed"),
        ],
    )
    def test_another_setting(self, killed, content, more, says):
        name, words, folder = killed
        self.refused(content, name, [*words, *more], folder, says)

    @pytest.mark.parametrize(
        "changed",
        [
            "patient901/patient901_frame01_gt.nii.gz",
            "patient902/patient902_frame05_gt.nii.gz",
            "patient903/patient903_frame05.nii.gz",
        ],
    )
    def test_another_label_or_image_in_one_patient(self, killed, content, tmp_path, patients, changed):
        name, words, folder = killed
        shutil.copytree(patients, tmp_path / "data")
        path = tmp_path / "data" / changed
        image = nib.load(path)
        values = np.asarray(image.dataobj).copy()
        values[8, 8, 2] = 1 if values[8, 8, 2] != 1 else 2
        nib.save(nib.Nifti1Image(values, image.affine), path)
        self.refused(content, name, [*words, "--data", tmp_path / "data"], folder, "other settings: data ")

    def test_one_patient_only(self, killed, content, tmp_path, patients):
        name, words, folder = killed
        shutil.copytree(patients / "patient901", tmp_path / "data" / "patient901")
        self.refused(content, name, [*words, "--data", tmp_path / "data"], folder, "1 patient(s) cannot be split")

    def test_a_checkpoint_that_was_cut_short(self, killed, content):
        name, words, folder = killed
        checkpoint = folder / COMMANDS[name][1]
        for length in (0, 5, 200, checkpoint.stat().st_size - 1):
            checkpoint.write_bytes(checkpoint.read_bytes()[:length])
            self.refused(content, name, words, folder, str(checkpoint), "cannot be read", "--restart")

    def test_a_checkpoint_of_the_other_command(self, killed, content, killed_search, killed_training):
        name, words, folder = killed
        other = (
            killed_training / "checkpoint.safetensors"
            if name == "nas-search"
            else killed_search / "supernet.safetensors"
        )
        shutil.copy(other, folder / COMMANDS[name][1])
        self.refused(content, name, words, folder, "expected 'cinert.")

    def test_a_search_in_the_folder_of_a_training(self, content, search_words, killed_training):
        words = [*search_words, "-o", killed_training]
        self.refused(content, "nas-search", words, killed_training, "not of a search that can be continued")

    def test_a_training_in_the_folder_of_another_search(
        self, content, tmp_path, training_words, undisturbed_search, tiny
    ):
        other = tmp_path / "other.yaml"
        save_arch(other, random_arch(tiny, 99, paths=1))
        words = [other, *training_words[1:], "-o", undisturbed_search]
        self.refused(content, "train-arch", words, undisturbed_search, "holds another architecture")

    def test_nothing_is_spent_on_a_localiser_either(self, content, training_words, killed_training):
        words = [*training_words, "--localiser", "--epochs", 12, "-o", killed_training]
        self.refused(content, "train-arch", words, killed_training, "epochs 10 there, 12 now")
        assert not (killed_training / "localiser.safetensors").exists()

    def test_another_lut(self, content, tmp_path, search_words, killed_search, lut):
        save_lut(tmp_path / "lut.json", dataclasses.replace(lut, created="2027-01-01T00:00:00+00:00"))
        words = [*search_words, "--lut", tmp_path / "lut.json", "-o", killed_search]
        self.refused(content, "nas-search", words, killed_search, "other settings: lut ")

    def test_another_space(self, content, tmp_path, search_words, killed_search, tiny):
        document = dataclasses.replace(tiny, name="other", ops=tiny.ops[:-1]).to_dict()
        (tmp_path / "other.yaml").write_text(yaml.safe_dump(document))
        words = [*search_words, "--space", tmp_path / "other.yaml", "-o", killed_search]
        self.refused(content, "nas-search", words, killed_search, "other settings: space 'tiny ", "'other ")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_device_that_is_being_measured_is_left_alone(name, tmp_path, content, search_words, training_words):
    words = search_words if name == "nas-search" else training_words
    with hold_device("cpu", "measure", "bench-ops"):
        result = invoke(name, [*words, "-o", tmp_path / "run"])
    assert result.exit_code == 2
    assert "cpu is being measured by" in result.stderr
    assert "--wait" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not content(tmp_path)
