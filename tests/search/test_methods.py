"""A method sets all that a search is told, refuses what it does not read, and takes terms and decoders of others."""

import dataclasses
import sys

import click
import pytest
from click.testing import CliRunner

from cinert.arch import load_arch
from cinert.errors import BadInputError
from search import decoders, latency_terms
from search.cli import nas_search
from search.methods import METHODS, RELAXED, TRAINED
from search.settings import HalvingSettings, SearchSettings
from search.sweep import Plan, SweepSettings, planned_method

TERM = """
from search.latency_terms import LatencyTerm

def quick(given):
    return 2 * given.costs.op_ms.mean() * given.architecture.relax().edges.square().sum()

TERM = LatencyTerm(name="quick", expected_ms=quick, reads_paths=False)
"""
DECODER = """
from search.decode import decode
from search.decoders import Decoder

def shallowest(task):
    arch = decode(task.parameters, paths=1).arch
    assert task.paths == 2 and task.budget_ms == 50.0 and task.estimate_ms(arch) > 0 and task.seed == 0
    return arch

def nothing(task):
    return None

DECODER = Decoder(name="shallow", decode=shallowest, reads_budget=False)
NUMBER = 3
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package acme 2.1 with one module and its entry points on the path, as pip would."""

    def install(module, content, *entries):
        site = tmp_path / "site"
        info = site / "acme-2.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 2.1\n")
        (info / "entry_points.txt").write_text("\n".join([*entries, ""]))
        (site / f"{module}.py").write_text(content)
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, module, raising=False)
        forget()

    def forget():
        for cached in (latency_terms.plugged_in, decoders.plugged_in, decoders.decoder_of):
            cached.cache_clear()

    yield install
    forget()


@pytest.fixture
def search(tmp_path, lut_path, patients):
    def search(*words):
        arguments = ["--lut", lut_path, "--data", patients, "--epochs", 2, "-o", tmp_path / "run", *words]
        return CliRunner().invoke(nas_search, list(map(str, arguments)), catch_exceptions=False)

    return search


def test_settings_say_all_that_a_method_is():
    told = RELAXED["rtdnas"].settings(budget_ms=20.0)
    expected = (
        "rtdnas",
        "joint",
        "critical-path",
        "forward",
        "genetic",
        "bounded",
        "full",
        80,
        10.0,
        20.0,
        "sgd",
        0.01,
    )
    names = ["method", "relaxation", "latency_term", "occurrence", "decoder", "loss", "mixture", "epochs"]
    names += ["latency_weight", "bound_ms", "arch_optimizer", "arch_learning_rate"]
    assert tuple(getattr(told, name) for name in names) == expected
    with pytest.raises(TypeError, match="latency_term"):
        SearchSettings(method="rtdnas")


def test_the_command_and_the_settings_of_candidates_agree():
    options = {parameter.name: parameter for parameter in nas_search.params if isinstance(parameter, click.Option)}
    shared = ("candidates", "least_share", "paths", "batch_size", "learning_rate")
    command = {name: options[name].default for name in shared}
    for method in TRAINED.values():
        assert method.settings() == HalvingSettings(**command) == HalvingSettings()
    assert {name: getattr(RELAXED["zeng2020"].settings(budget_ms=1.0), name) for name in shared[2:]} == {
        name: command[name] for name in shared[2:]
    }
    assert (HalvingSettings().epochs, HalvingSettings().paths, HalvingSettings().batch_size) == (60, 2, 2)


@pytest.mark.parametrize(
    ("method", "given", "says"),
    [
        ("cinert", {"latency_weight": 0.1}, "--lambda 0.1 means nothing to --method cinert, whose budget has"),
        ("msnas", {"latency_weight": 0.1}, "--lambda 0.1 means nothing to --latency-term none"),
        ("zeng2020", {"occurrence": "beta"}, "--occurrence beta means nothing to --latency-term path-wise"),
        ("rtdnas", {"pareto": 3}, "--pareto 3 means nothing to --decoder genetic, which reads no budget"),
        ("zeng2020", {"candidates": 3}, "--candidates 3 means nothing to --method zeng2020"),
        ("random", {"decoder": "longest"}, "--decoder longest means nothing to --method random"),
        ("evolution", {"seeds": 2}, "--seeds 2 means nothing to --method evolution"),
        ("random", {"latency_weight": 0.0}, "--lambda 0.0 means nothing to --method random"),
    ],
)
def test_a_method_refuses_what_it_does_not_read(method, given, says):
    with pytest.raises(BadInputError, match=says):
        METHODS[method].choose(given)


def test_a_sweep_and_the_command_search_alike():
    sweep = SweepSettings(
        methods=("zeng2020", "random"),
        paths=(1, 2),
        budget_ms=(9.0, 9.0),
        latency_weight=None,
        seeds=1,
        seed=0,
        objective="dice",
        epochs=6,
        candidates=5,
        train_epochs=1,
        batch_size=2,
        amp="off",
    )
    plan = Plan(method="zeng2020", paths=2, budget_ms=9.0, seed=0, latency_weight=0.5)
    assert planned_method(plan, sweep) == RELAXED["zeng2020"].choose({"epochs": 6, "latency_weight": 0.5})
    plan = dataclasses.replace(plan, method="random", latency_weight=None)
    assert planned_method(plan, sweep) == TRAINED["random"].choose({"epochs": 6, "candidates": 5})


def test_a_latency_term_of_a_package_is_searched_with(install, search, tmp_path):
    install("acme_term", TERM, "[cinert.latency_terms]", "quick = acme_term:TERM")
    result = search("--latency-term", "quick", "--lambda", 0.5)
    assert result.exit_code == 0, result.output
    assert load_arch(tmp_path / "run" / "arch.yaml").provenance["latency_term"] == "quick"
    assert not RELAXED["zeng2020"].choose({"latency_term": "quick"}).reads_paths


@pytest.mark.parametrize("name", ["shallow", "acme_decoder:shallowest", "acme_decoder:DECODER"])
def test_a_decoder_of_others_decodes(install, search, tmp_path, name):
    install("acme_decoder", DECODER, "[cinert.decoders]", "shallow = acme_decoder:DECODER")
    result = search("--decoder", name)
    assert result.exit_code == 0, result.output
    arch = load_arch(tmp_path / "run" / "arch.yaml")
    assert len(arch.paths) == 1
    assert arch.provenance["decoder"] == name
    assert 0 < arch.provenance["path_probabilities"][0] < 1


@pytest.mark.parametrize(
    ("entries", "words", "says"),
    [
        (["longest = acme_decoder:DECODER"], ["--decoder", "deep"], "'deep' is not one of"),
        (["longest = acme_decoder:DECODER"], ["--decoder", "acme_decoder:absent"], "AttributeError"),
        ([], ["--decoder", "acme_nowhere:decode"], "No module named 'acme_nowhere'"),
        ([], ["--decoder", "acme_decoder:NUMBER"], "is a int, expected a function"),
        ([], ["--decoder", "not a module:decode"], "cannot be imported"),
        ([], ["--decoder", ":"], "cannot be imported"),
        ([], ["--decoder", "acme_decoder:DECODER", "--pareto", 2], "which reads no budget"),
        (["other = acme_decoder:DECODER"], ["--decoder", "other"], "package acme 2.1 declares the decoder other"),
        (["odd = acme_decoder:shallowest"], ["--decoder", "odd"], "package acme 2.1 declares the decoder odd"),
        (["odd = acme_decoder:ABSENT"], ["--decoder", "odd"], "package acme 2.1 declares the decoder odd"),
    ],
)
def test_a_decoder_that_is_none_is_refused_before_anything_is_read(install, search, tmp_path, entries, words, says):
    install("acme_decoder", DECODER, "[cinert.decoders]", *entries)
    result = search(*words)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "entry", "says"),
    [
        (
            TERM,
            "none = acme_term:TERM",
            "declares the latency term none (cinert.latency_terms), which CineRT itself has",
        ),
        (TERM, "quick = acme_term:quick", "is a function, expected a search.latency_terms.LatencyTerm"),
        (TERM.replace("=quick,", "=None,"), "quick = acme_term:TERM", "has expected_ms None, expected a function"),
        ("import absent", "quick = acme_term:TERM", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_a_broken_latency_term_is_named_with_its_package(install, search, tmp_path, content, entry, says):
    install("acme_term", content, "[cinert.latency_terms]", entry, "sound = acme_sound:TERM")
    result = search("--latency-term", entry.split()[0] if not entry.startswith("none") else "sound")
    assert result.exit_code == 2, result.output
    assert "package acme 2.1" in result.stderr
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_what_a_decoder_gives_is_held_against_what_was_asked_for(install, search):
    install("acme_decoder", DECODER, "[cinert.decoders]")
    result = search("--decoder", "acme_decoder:nothing")
    assert result.exit_code == 2
    assert (
        "the decoder acme_decoder:nothing gave None, expected an Arch of space tiny with 1 to 2 paths" in result.stderr
    )
