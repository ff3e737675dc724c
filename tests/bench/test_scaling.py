"""Widths scaled to a budget. What takes how long is made up, except where one network is measured for real."""

import itertools

import pytest
from click.testing import CliRunner

from bench import scaling
from bench.baseline_cli import baseline
from cinert.arch import load_arch
from cinert.backends import get_backend
from cinert.baselines.kinds import KINDS, design, kind_with
from cinert.errors import BadInputError
from cinert.sizes import network_sizes
from cinert.spaces import load_space
from cinert.timing import Protocol
from latency.profile import Setup

QUICK = Protocol(tolerant=True, min_passes=1, max_passes=1, window_s=0.0)


def invoke(*words):
    return CliRunner().invoke(baseline, [str(word) for word in words])


def always(_):
    return True


@pytest.fixture
def made_up(monkeypatch):
    """A millisecond for each MFLOP: monotone in the widths, and steeper than they are."""
    measured = []

    def ms(arch, setup):
        measured.append(arch)
        return network_sizes(arch).flops / 1e6

    monkeypatch.setattr(scaling, "measured_p50_ms", ms)
    return measured


def test_widths_that_a_level_may_have():
    assert scaling.offered(8)[:16] == [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 56]
    assert scaling.offered(2)[:8] == [1, 2, 3, 4, 5, 6, 8, 10]
    assert scaling.offered(1)[:200] == list(range(1, 201))


@pytest.mark.parametrize("multiple", scaling.MULTIPLES)
@pytest.mark.parametrize("widths", [(12, 24, 48), (20, 32, 48, 56), (5, 7), (32, 32, 32)])
def test_rungs_are_what_rounding_gives_and_never_shrink(widths, multiple):
    rungs, offered = scaling.rungs(widths, multiple), scaling.offered(multiple)
    factors = [rung.factor for rung in rungs]
    assert factors == sorted(factors)
    assert rungs[0].widths == (1,) * len(widths)
    for rung in rungs:
        nearest = [min(abs(choice - width * rung.factor) for choice in offered) for width in widths]
        assert nearest == pytest.approx(
            [abs(scaled - width * rung.factor) for scaled, width in zip(rung.widths, widths, strict=True)]
        )
    for one, next_ in itertools.pairwise(rungs):
        assert one.widths != next_.widths
        assert all(a <= b <= a + multiple for a, b in zip(one.widths, next_.widths, strict=True))
    # Equal widths stay equal: it is one factor.
    if len(set(widths)) == 1:
        assert all(len(set(rung.widths)) == 1 for rung in rungs)


def test_given_widths_that_take_the_budget_are_kept():
    found = scaling.search_rung((12, 24), 10.3, lambda widths: 10.0, buildable=always)
    assert found == scaling.Measured(scaling.Rung(1.0, (12, 24)), 10.0)


@pytest.mark.parametrize("share", [0.6, 0.83, 1.7, 4.4, 20.0])
@pytest.mark.parametrize("widths", [(12, 24, 48), (20, 32, 48, 56), (32, 32, 32), (25, 35)])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_budget_is_met_by_the_coarsest_multiples_that_meet_it(widths, share, power):
    def ms(scaled):
        return 1e-3 * sum(width**power for width in scaled) + 0.01

    budget_ms = share * ms(widths)
    found = scaling.search_rung(widths, budget_ms, ms, buildable=always)
    assert abs(found.ms / budget_ms - 1) <= 0.05
    assert found.ms == ms(found.rung.widths)
    for multiple in scaling.MULTIPLES:
        offers = set(widths) <= set(scaling.offered(multiple))
        meets = [rung for rung in scaling.rungs(widths, multiple) if abs(ms(rung.widths) / budget_ms - 1) <= 0.05]
        if offers and meets:
            assert found.rung.widths in [rung.widths for rung in meets]
            break


def test_a_noisy_measurement_ends_too():
    noise = itertools.cycle([0.9, 1.1, 1.0, 0.95])
    found = scaling.search_rung((16, 32), 20.0, lambda widths: next(noise) * sum(widths) / 10, buildable=always)
    assert 19.0 <= found.ms <= 21.0


@pytest.mark.parametrize(
    ("ms", "says"),
    [
        (lambda widths: 30.0, "1,1 take 30.00 ms, the narrowest"),
        (lambda widths: 1.0, "take 1.00 ms, the widest that can be built"),
        # A step in time at 24 channels, as where a kernel no longer fits into a cache.
        (lambda widths: 10.0 if widths[0] < 24 else 30.0, ": 23,47 take 10.00 ms and 24,47 take 30.00 ms."),
    ],
)
def test_a_budget_that_no_widths_take_is_one_clear_error(ms, says):
    with pytest.raises(BadInputError) as error:
        scaling.search_rung((16, 32), 20.0, ms, buildable=lambda widths: sum(widths) < 4000)
    assert "no widths bring the network within 5% of 20 ms here" in error.value.message
    assert says in error.value.message


def test_what_cannot_be_built_is_never_measured():
    asked = []

    def ms(widths):
        asked.append(widths)
        return sum(widths) / 100

    with pytest.raises(BadInputError):
        scaling.search_rung((16, 32), 100.0, ms, buildable=lambda widths: sum(widths) <= 500)
    assert max(map(sum, asked)) <= 500
    # Nobody waits for a dozen of the slowest networks to hear it.
    assert len(asked) <= 12


@pytest.mark.parametrize("share", [0.5, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_scales_and_says_what_was_measured(tmp_path, made_up, kind, share):
    space = load_space("demo")
    widths = kind_with(kind, "published").widths_in(space)
    plain = design(kind, space, widths, cells="published")
    budget_ms = share * network_sizes(plain).flops / 1e6
    path = tmp_path / "arch.yaml"
    result = invoke(kind, "--space", "demo", "--budget-ms", budget_ms, "--backend", "ort", "--threads", 1, "-o", path)
    assert result.exit_code == 0, result.output
    made = load_arch(path)
    assert made.kind == kind
    assert made.grid.input_shape_DHW == plain.input_shape_DHW
    assert len(made.widths) == len(widths)
    assert (made.widths > widths) == (share > 1)
    scaled = made.provenance["scaled"]
    assert scaled["measured_p50_ms"] == pytest.approx(network_sizes(made).flops / 1e6, rel=1e-3)
    assert abs(scaled["measured_p50_ms"] / budget_ms - 1) <= 0.05
    assert scaled["from_widths"] == list(widths)
    assert (scaled["backend"], scaled["precision"], scaled["threads"]) == ("ort", "fp32", 1)
    assert scaled["device"]["kind"] == "cpu"
    assert scaled["device"]["name"]
    # What was measured is no part of the network.
    assert made.digest == design(kind, space, made.widths, cells="published").digest


def test_chosen_widths_and_components_are_what_is_scaled(tmp_path, made_up):
    words = ("ica-unet", "--space", "demo", "--widths", "8,12,12", "--components", 2, "--backend", "ort")
    result = invoke(*words, "--budget-ms", 180, "-o", tmp_path / "a.yaml")
    assert result.exit_code == 0, result.output
    made = load_arch(tmp_path / "a.yaml")
    assert made.components == 2
    assert made.provenance["scaled"]["from_widths"] == [8, 12, 12]
    assert all(arch.components == 2 for arch in made_up)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--budget-ms", "0"], "0.0 is not in the range x>0"),
        (["--budget-ms", "nan"], "nan is not a finite number"),
        (["--backend", "ort"], "--backend is for --budget-ms, and nothing is measured without it"),
        (["--allow-busy"], "--allow-busy is for --budget-ms"),
        (["--budget-ms", "20", "--backend", "openvino", "--precision", "fp16"], "precision 'fp16' is not supported"),
        (["--budget-ms", "20", "--device", "tpu"], "unknown device 'tpu'"),
        (["--budget-ms", "20", "--clock", "cpu", "--threads", "2"], "--clock cpu is for one thread on a CPU"),
        (["--budget-ms", "20", "--widths", "12"], "expected at least 2 positive widths"),
        (["--budget-ms", "1e-9", "--backend", "ort"], "no widths bring the network within 5% of 1e-09 ms here"),
    ],
)
def test_bad_input_is_said_and_nothing_is_written(tmp_path, made_up, words, says):
    result = invoke("unet3d", "--space", "demo", *words, "-o", tmp_path / "unet.yaml")
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_lies_there_is_refused_before_anything_is_measured(tmp_path, made_up):
    path = tmp_path / "arch.yaml"
    assert invoke("unet3d", "--space", "demo", "-o", path).exit_code == 0
    before = path.read_text()
    result = invoke("unet3d", "--space", "demo", "--budget-ms", 20, "-o", path)
    assert result.exit_code == 2
    assert "what is measured anew may be another" in " ".join(result.output.split())
    assert made_up == []
    assert path.read_text() == before


@pytest.mark.parametrize("clock", ["wall", "cpu"])
def test_a_network_is_measured_through_the_back_end(clock):
    arch = design("aniso-unet", load_space("demo"), (2, 3))
    setup = Setup(
        backend=get_backend("ort"), device="cpu", threads=1, precision="fp32", protocol=QUICK, seed=0, clock=clock
    )
    assert 0 < scaling.measured_p50_ms(arch, setup) < 60_000
