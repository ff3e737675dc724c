"""Two gloo processes learn what one learns on the same batches, and a process that fails takes the others with it."""

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch.distributed import TCPStore

from cinert.arch import load_arch, save_arch
from cinert.baselines.kinds import design
from cinert.errors import CineRTError
from cinert.network import build_network, random_weights
from cinert.sampling import random_arch
from search.checkpoint import load_checkpoint
from search.global_norm import GlobalBatchNorm
from search.methods import RELAXED
from search.problem import RunContext, SearchProblem
from search.ranks import Ranks
from search.run import run_search
from search.source import Source
from search.sources import NOTHING, Sources
from search.train_cli import train_arch
from search.train_run import run_training
from search.training import TrainingSettings

CPU = torch.device("cpu")
# Of 10 frames, so that the last batch leaves the second process without any.
TRAINING = TrainingSettings(epochs=2, batch_size=3)
SWITCHED = dataclasses.replace(TRAINING, deep_supervision=0.3, init="random", teacher="random")
SEARCHES = {
    # SGD, because Adam makes a step of the rounding of a gradient that is almost zero.
    "full": dataclasses.replace(RELAXED["zeng2020"], epochs=4, latency_weight=0.1, arch_optimizer="sgd").settings(
        budget_ms=50.0, batch_size=3
    ),
    "sampled": dataclasses.replace(
        RELAXED["zeng2020"], epochs=4, mixture="sampled", latency_term="union", loss="lagrangian", latency_weight=None
    ).settings(budget_ms=9.0, batch_size=2),
}

HEAD = """
import pickle, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from search.torchrun import joined
given = pickle.loads(Path(sys.argv[1]).read_bytes())
"""

LEARN = (
    HEAD
    + """
from search.problem import RunContext, SearchProblem
from search.run import run_search
from search.train_run import run_training
with joined("cpu") as (ranks, device):
    folder = Path(given["folder"])
    for name, (arch, settings, sources) in given["trainings"].items():
        run_training(
            arch, given["fold"], settings, folder=folder / name, device=device, validate_every=1, ranks=ranks,
            sources=sources,
        )
    for name, settings in given["searches"].items():
        problem = SearchProblem(
            space=given["space"], lut=given["lut"], data=given["fold"], budget_ms=settings.bound_ms or 1000.0
        )
        found = run_search(problem, settings, RunContext(folder=folder / name, device=device, ranks=ranks))
        # What each process decoded, whether or not it writes.
        (folder / f"{name}-{ranks.rank}").write_text(found.decoded.arch.digest)
"""
)


@pytest.fixture(scope="module")
def ranks_of(tmp_path_factory):
    """Starts a program in two processes that torch.distributed would join as torchrun's."""
    running, stores = [], []

    def start(program, given):
        path = tmp_path_factory.mktemp("given") / "given.pickle"
        path.write_bytes(pickle.dumps(given))
        # As under torchrun, the store lives with what started the processes, and outlives them.
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        stores.append(store)
        common = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(path)],
                env={**common, "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        running.extend(processes)
        return processes

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def arch(tiny):
    return random_arch(tiny, 3, paths=2)


@pytest.fixture(scope="module")
def trainings(tiny, arch):
    """By folder: a searched network, and one whose slices are a batch with all that a training may do besides."""
    deep = dataclasses.replace(tiny, strides=((1, 2, 2), (1, 2, 2)), widths=(4, 6, 8))
    unet = design("unet2d", deep, (4, 6, 8))
    tensors = random_weights(build_network(unet), 1).state_dict()
    weights = Source(path=Path("weights"), tensors=tensors, digest="random", arch=unet, grid=None, seen=())
    return {
        "training": (arch, TRAINING, NOTHING),
        "switched": (unet, SWITCHED, Sources(initial=weights, teacher=weights)),
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory, ranks_of, tiny, lut, fold, trainings):
    """Run folders of two processes, and of one."""
    two, one = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")
    given = {"fold": fold, "space": tiny, "lut": lut, "trainings": trainings, "searches": SEARCHES}
    processes = ranks_of(LEARN, {**given, "folder": str(two)})
    for process in processes:
        assert process.wait(900) == 0, process.communicate()[1]
    for name, (arch, settings, sources) in trainings.items():
        run_training(arch, fold, settings, folder=one / name, device=CPU, validate_every=1, sources=sources)
    for name, settings in SEARCHES.items():
        problem = SearchProblem(space=tiny, lut=lut, data=fold, budget_ms=settings.bound_ms or 1000.0)
        run_search(problem, settings, RunContext(folder=one / name, device=CPU))
    return two, one


def tensors(path, schema):
    return load_checkpoint(path, schema=schema, version=1).tensors


def assert_close(first, second, prefix, atol):
    names = [name for name in second if name.startswith(f"{prefix}.")]
    assert names
    for name in names:
        torch.testing.assert_close(
            first[name], second[name], rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(
    ("name", "parts"),
    [("training", ("network", "average", "optimizer")), ("switched", ("network", "average", "optimizer", "side"))],
)
def test_a_training_of_two_is_that_of_one(both, name, parts):
    two, one = (tensors(folder / name / "checkpoint.safetensors", "cinert.training") for folder in both)
    for prefix in parts:
        assert_close(two, one, prefix, 1e-5)
    two, one = (json.loads((folder / name / "metrics.json").read_text()) for folder in both)
    assert (two["processes"], one["processes"]) == (2, 1)
    assert [epoch["loss"] for epoch in two["epochs"]] == pytest.approx(
        [epoch["loss"] for epoch in one["epochs"]], abs=1e-5
    )
    assert len(two["validation"]["frames"]) == len(one["validation"]["frames"])
    assert two["validation"]["mean"] == pytest.approx(one["validation"]["mean"], abs=0.01)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_of_two_is_that_of_one(both, name):
    """Weights and architecture in turn; of sampled paths only the drawn cells have optimizer states."""
    two, one = (tensors(folder / name / "supernet.safetensors", "cinert.supernet") for folder in both)
    assert two.keys() == one.keys()
    assert_close(two, one, "architecture", 1e-5)
    # AdamW divides by gradients that are almost zero, rounding included; weights are about 0.1.
    assert_close(two, one, "supernet", 5e-3)
    differences = torch.cat([(two[key] - one[key]).abs().flatten() for key in one if key.startswith("supernet.")])
    assert (differences <= 1e-3).float().mean() > 0.999
    assert one["architecture.beta"].abs().max() > 1e-3
    decoded = [(both[0] / f"{name}-{rank}").read_text() for rank in range(2)]
    assert decoded == [load_arch(both[1] / name / "arch.yaml").digest] * 2


def test_only_the_first_process_writes(both):
    two, one = (
        {str(path.relative_to(folder)) for path in folder.rglob("*") if "tfevents" not in path.name} for folder in both
    )
    assert two - one == {f"{name}-{rank}" for name in SEARCHES for rank in range(2)}
    assert len(list((both[0] / "training").rglob("*tfevents*"))) == 1


def test_two_processes_continue_what_one_began(tmp_path, ranks_of, both, arch, fold):
    """The checkpoint of one process, after its first epoch, is the same search to two."""

    def stop(epochs_done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(arch, fold, TRAINING, folder=tmp_path / "training", device=CPU, validate_every=1, on_epoch=stop)
    trainings = {"training": (arch, TRAINING, NOTHING)}
    given = {"fold": fold, "trainings": trainings, "searches": {}, "folder": str(tmp_path)}
    for process in ranks_of(LEARN, given):
        assert process.wait(900) == 0, process.communicate()[1]
    two, one = (
        tensors(folder / "training" / "checkpoint.safetensors", "cinert.training") for folder in (tmp_path, both[1])
    )
    assert_close(two, one, "network", 1e-5)


FAIL = (
    HEAD
    + """
import os, signal, time
import click
from cinert.cli import command
from cinert.errors import BadInputError

@command("train-arch", examples="")
def fail():
    with joined("cpu") as (ranks, _):
        ranks.together(ranks.rank)
        if ranks.rank == given["fails"]:
            if given["how"] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise BadInputError("this rank cannot go on.")
        if given["how"] == "all":
            raise BadInputError("this rank cannot go on.")
        ranks.together(ranks.rank)

fail([])
"""
)


@pytest.mark.parametrize(
    ("how", "fails", "codes", "says"),
    [
        ("one", 0, (2, 2), "train-arch: this rank cannot go on."),
        ("one", 1, (2, 2), "train-arch: this rank cannot go on."),
        ("all", 1, (2, 2), "train-arch: this rank cannot go on."),
        ("killed", 1, (2, -signal.SIGKILL), "train-arch: rank 0 of 2 lost another one: "),
    ],
)
def test_one_that_fails_ends_all_in_one_line(ranks_of, how, fails, codes, says):
    processes = ranks_of(FAIL, {"how": how, "fails": fails})
    errors = "".join(process.communicate(timeout=300)[1] for process in processes)
    assert tuple(process.returncode for process in processes) == codes
    assert len(errors.splitlines()) == 1, errors
    assert errors.startswith(says)


def test_a_named_gpu_is_refused_for_several(ranks_of):
    program = (
        HEAD
        + """
from cinert.cli import command

@command("train-arch", examples="")
def fail():
    with joined("cuda:1"):
        pass

fail([])
"""
    )
    processes = ranks_of(program, {})
    errors = "".join(process.communicate(timeout=300)[1] for process in processes)
    assert [process.returncode for process in processes] == [2, 2]
    assert errors.startswith("train-arch: device cuda:1 is one GPU, and several processes were started. Hint: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(("size", "shares"), [(1, [5]), (2, [3, 2]), (4, [2, 1, 1, 1]), (7, [1, 1, 1, 1, 1, 0, 0])])
def test_shares_are_runs_that_cover_the_batch(size, shares):
    batch = [4, 8, 15, 16, 23]
    parts = [list(Ranks(rank, size).mine(batch)) for rank in range(size)]
    assert [len(part) for part in parts] == shares
    assert [entry for part in parts for entry in part] == batch


class Two(Ranks):
    """The first of two ranks, which hears what the other would send."""

    def __init__(self, heard):
        super().__init__(0, 2)
        self.heard = heard

    def together(self, value):
        return pickle.loads(pickle.dumps([value, self.heard(value)]))


def test_weights_that_differ_stop_a_run_and_those_of_one_that_diverged_do_not():
    weights = [torch.tensor([1.0, float("nan")]), torch.tensor([2.0, -3.0])]
    Two(lambda digest: digest).require_same(weights)
    with pytest.raises(CineRTError, match="rank 0 has other weights than rank 1"):
        Two(lambda digest: digest[::-1]).require_same(weights)


class Halves(Ranks):
    """The first of two ranks, whose other one is computed here as well."""

    def __init__(self, other):
        super().__init__(0, 2)
        self.other = list(other)

    def gather_alike(self, tensor):
        return [tensor, self.other.pop(0)]


def test_batch_norm_takes_statistics_of_all_and_leaves_evaluation_alone():
    generator = torch.Generator().manual_seed(0)
    x = 3 + 2 * torch.randn(5, 4, 2, 3, 3, generator=generator)
    norm, alone = torch.nn.BatchNorm3d(4), torch.nn.BatchNorm3d(4)
    seen = Spy()
    with GlobalBatchNorm(seen):
        norm(x[2:])
    with GlobalBatchNorm(Halves([seen.sent[0]])):
        found = norm.train()(x[:2])
        in_evaluation = norm.eval()(x)
    expected = alone(x)
    torch.testing.assert_close(found, expected[:2])
    assert not torch.equal(in_evaluation, found)


class Spy(Ranks):
    """Two alike ranks; keeps what was sent."""

    def __init__(self):
        super().__init__(0, 2)
        self.sent = []

    def gather_alike(self, tensor):
        self.sent.append(tensor)
        return [tensor, tensor]


def test_a_batch_norm_that_would_stay_local_is_an_error():
    x = torch.ones(2, 3, 4)
    with GlobalBatchNorm(Spy()), pytest.raises(TypeError, match="statistics of one rank alone"):
        torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False)


def test_torchrun_starts_the_command_as_it_is(tmp_path, start_module, arch, patients):
    save_arch(tmp_path / "arch.yaml", arch)
    words = [tmp_path / "arch.yaml", "--data", patients, "--epochs", 1, "--localiser-steps", 2, "--device", "cpu"]
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    process = start_module("search.train_cli", *words, "-o", tmp_path / "two", before=torchrun)
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    assert said.count("Dice on 2 held-out patients") == 1
    result = CliRunner().invoke(train_arch, [str(word) for word in [*words, "-o", tmp_path / "one"]])
    assert result.exit_code == 0, result.output
    two, one = (tensors(tmp_path / name / "checkpoint.safetensors", "cinert.training") for name in ("two", "one"))
    assert_close(two, one, "network", 1e-5)
    localisers = [(tmp_path / name / "localiser.safetensors").read_bytes() for name in ("two", "one")]
    assert localisers[0] == localisers[1]
