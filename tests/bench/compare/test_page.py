"""JSON, page and picture from files written by hand."""

import dataclasses
import json

import pytest
from rich.console import Console

from bench.compare.document import comparison_document, pareto_front
from bench.compare.markdown import to_markdown
from bench.compare.picture import draw_comparison
from bench.compare.stages import Job
from bench.compare.suites import NETWORKS, SUITES, random_networks
from bench.compare.tables import comparison_table
from cinert.arch import save_arch
from cinert.files import write_json
from cinert.sampling import random_arch
from cinert.sizes import network_sizes

SUITE = SUITES["zeng2020-table2"]


@pytest.fixture
def make_document(make_setting, write_results):
    """A comparison of four networks of Table 2 and a random one: two measured, one failed, one not run."""
    setting = make_setting(minutes=20, search_minutes=10)
    names = ("unet3d-d3-16", "zeng2020-n2", "unet2d-d3-16", "unet3d-d4-32")
    jobs = {name: Job(name=name, recipe=NETWORKS[name], setting=setting) for name in names}
    jobs["random-00"] = Job(name="random-00", recipe=random_networks(1)["random-00"], setting=setting)
    # Mean of a's frames .8, .6, .9 by class, b's .4, .2, .7; over classes .767 and .433.
    two = [("a", (0.9, 0.5, 0.9)), ("a", (0.7, 0.7, 0.9)), ("b", (0.4, 0.2, 0.7))]
    unet = jobs["unet3d-d3-16"]
    write_results(unet.folder, two, p50_ms=20.0, throughput_fps=61.25)
    save_arch(unet.folder / "arch.yaml", unet.recipe.build(setting.space))
    write_results(jobs["zeng2020-n2"].folder, [("a", (0.9, 0.9, 0.9))], p50_ms=40.0, throughput_fps=20, in_time=False)
    search = setting.folder / "searches" / "zeng2020-n2"
    search.mkdir(parents=True)
    write_json(search / "spent.json", {"seconds": 600.0, "cpu_seconds": 1140.0})
    write_json(search / "plan.json", {"epochs": 31})
    write_results(jobs["random-00"].folder, [("a", (0.5, 0.5, 0.5))], p50_ms=30.0, throughput_fps=30)
    failed = jobs["unet2d-d3-16"].folder
    failed.mkdir(parents=True)
    write_json(failed / "failed.json", {"stage": "weights", "reason": "the training diverged.", "traceback": None})

    def make(*, random=("random-00",), **changed):
        return comparison_document(
            SUITE,
            dataclasses.replace(setting, **changed),
            jobs,
            {"unet3d-d4-32": "it has 4 widths, and the space 3 scales."},
            random,
        )

    return make


@pytest.fixture
def document(make_document):
    return make_document()


def entry_of(document, network):
    return next(entry for entry in (*document["networks"], *document["random"]) if entry["network"] == network)


def test_the_document_by_hand(document, coarse):
    assert [entry["title"] for entry in document["networks"]] == [
        "U-net 2D (D3, IF=16)",
        "U-net 3D (D4, IF=32)",
        "U-net 3D (D3, IF=16)",
        "Zeng 2020 (n=2)",
    ]
    unet = entry_of(document, "unet3d-d3-16")
    dice = {name: (round(of["mean"], 4), round(of["std"], 4)) for name, of in unet["ours"]["dice"].items()}
    assert dice == {"rv": (0.6, 0.2828), "myo": (0.4, 0.2828), "lv": (0.8, 0.1414), "mean": (0.6, 0.2357)}
    assert unet["state"] == "finished"
    assert unet["ours"]["latency"]["p99_ms"] == 30.0
    assert unet["ours"]["training"] == {"epochs": 7, "minutes": 20.0, "cpu_minutes": 39.5}
    assert unet["ours"]["search"] is None
    sizes = network_sizes(NETWORKS["unet3d-d3-16"].build(coarse))
    assert (unet["ours"]["parameters"], unet["ours"]["flops"]) == (sizes.parameters, sizes.flops)
    zeng = entry_of(document, "zeng2020-n2")
    assert zeng["ours"]["dice"]["mean"]["std"] == 0.0
    assert zeng["ours"]["search"] == {
        "name": "zeng2020-n2",
        "epochs": 31,
        "minutes": 10.0,
        "cpu_minutes": 19.0,
        "entropy": None,
    }
    assert entry_of(document, "unet2d-d3-16")["reason"] == "weights: the training diverged."
    assert entry_of(document, "unet2d-d3-16")["state"] == "failed"
    assert entry_of(document, "unet3d-d4-32")["state"] == "not run"


def test_a_class_that_nobody_shows_leaves_the_mean(make_document, tmp_path):
    path = next(tmp_path.rglob("unet3d-d3-16/accuracy.json"))
    accuracy = json.loads(path.read_text())
    for frame in accuracy["patients"]:
        frame["dice"]["rv"] = None
    path.write_text(json.dumps(accuracy))

    document = make_document()

    dice = entry_of(document, "unet3d-d3-16")["ours"]["dice"]
    assert dice["rv"] == {"mean": None, "std": None}
    # Of MYO .4 and LV .8; of the patients .75 and .45.
    assert dice["mean"] == pytest.approx({"mean": 0.6, "std": 0.3 / 2**0.5})
    page = to_markdown(document, picture="p.png")
    assert "| U-net 3D (D3, IF=16) | - | 0.400 ± 0.283 | 0.800 ± 0.141 | 0.600 ± 0.212 |" in page


def test_the_front_by_hand(document):
    # Dice .6 at 20 ms, .5 at 30 ms, .9 at 40 ms: the random one is beaten by a faster one.
    assert document["front"] == {
        "latency": ["unet3d-d3-16", "zeng2020-n2"],
        "throughput": ["unet3d-d3-16", "zeng2020-n2"],
    }


def test_of_two_alike_one_is_on_the_front():
    def entry(name, ms, dice):
        return {"network": name, "ours": {"latency": {"p50_ms": ms}, "dice": {"mean": {"mean": dice}}}}

    entries = [entry("late", 3, 0.8), entry("first", 2, 0.8), entry("worse", 2, 0.7), entry("fast", 1, 0.1)]
    assert pareto_front(entries, lambda each: each["ours"]["latency"]["p50_ms"]) == ["fast", "first"]


def test_the_page_by_hand(document):
    page = to_markdown(document, picture="zeng2020-table2.png")
    dice = (
        "| U-net 3D (D3, IF=16) | 0.600 ± 0.283 | 0.400 ± 0.283 | 0.800 ± 0.141 | 0.600 ± 0.236"
        " | 0.805 ± 0.059 | 0.790 ± 0.034 | 0.886 ± 0.029 | 0.827 ± 0.033 |"
    )
    assert dice in page
    assert "| Zeng 2020 (n=2) | 40.00 | 60.00 | 20.0 | no | 0.1, 1.3 ! | - | - | 12 | 45 | 22.2 |" in page
    how = "`nas-search --method zeng2020 --decoder longest --paths 2`"
    assert f"| Zeng 2020 (n=2) | {how} | 31 | 10.0 | 19.0 | 7 | 20.0 | 39.5 |" in page
    assert "| U-net 2D (D3, IF=16) | - | - | - | - | 0.564 ± 0.071 |" in page
    assert "- U-net 2D (D3, IF=16) (`unet2d-d3-16`): failed: weights: the training diverged." in page
    assert "- U-net 3D (D4, IF=32) (`unet3d-d4-32`): not run: it has 4 widths, and the space 3 scales." in page
    assert "Grey: 1 random networks" not in page
    assert "Grey: 1 random network of the space" in page
    assert "4 phantoms to train on, 1 held out" in page
    assert "the held-out phantoms" in page
    assert "GeForce GTX 1080" in page
    # Every table is one: as many cells in each line as in its head.
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for lines in tables:
        assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_ours_and_theirs_never_share_a_column(document):
    page = to_markdown(document, picture="p.png")
    heads = [line for line in page.splitlines() if line.startswith("| network | ours")]
    assert len(heads) == 2
    for head in heads:
        columns = [column.strip() for column in head.strip("|").split("|")]
        first_of_paper = next(place for place, column in enumerate(columns) if column.startswith("paper: "))
        assert all(column.startswith("paper: ") for column in columns[first_of_paper:])


def test_memory_says_whose_it_is(document):
    assert "MiB: peak of a process" in to_markdown(document, picture="p.png")
    entry_of(document, "zeng2020-n2")["ours"]["memory"]["of"] = "device"
    assert "MiB: GPU memory" in to_markdown(document, picture="p.png")


def test_nothing_measured_needs_no_picture(make_setting):
    setting = make_setting()
    jobs = {"unet3d-d3-16": Job(name="unet3d-d3-16", recipe=NETWORKS["unet3d-d3-16"], setting=setting)}
    document = comparison_document(SUITE, setting, jobs, {}, ())
    page = to_markdown(document, picture="p.png")
    assert "p.png" not in page
    assert "- U-net 3D (D3, IF=16) (`unet3d-d3-16`): unfinished" in page


def test_a_lut_of_elsewhere_is_named(make_document):
    assert "of another device" in to_markdown(make_document(lut_is_of_here=False), picture="p.png")
    assert "no LUT" in to_markdown(make_document(lut=None, lut_is_of_here=False), picture="p.png")


def test_a_busy_lut_is_named(make_document, lut):
    busy = dataclasses.replace(lut, protocol={"tolerant": True})
    assert "BUSY: it was taken with --allow-busy" in to_markdown(make_document(lut=busy), picture="p.png")
    assert "BUSY" not in to_markdown(make_document(), picture="p.png")


def test_what_others_used_stands_beside_whether_it_is_in_time(document, capsys):
    assert entry_of(document, "zeng2020-n2")["ours"]["latency"]["others"]["worst_cpu_cores"] == 1.3
    Console(width=80).print(comparison_table(document))
    assert "no (0.1)" in capsys.readouterr().out
    # Measured by a release that did not look.
    entry_of(document, "zeng2020-n2")["ours"]["latency"]["others"] = None
    assert "| 20.0 | no | - |" in to_markdown(document, picture="p.png")


def test_a_search_that_did_not_decide_is_told(make_setting, write_results):
    setting = make_setting()
    job = Job(name="zeng2020-n2", recipe=NETWORKS["zeng2020-n2"], setting=setting)
    write_results(job.folder, [("a", (0.9, 0.9, 0.9))], p50_ms=40.0, throughput_fps=20)
    search = setting.folder / "searches" / "zeng2020-n2"
    search.mkdir(parents=True)
    write_json(search / "spent.json", {"seconds": 600.0, "cpu_seconds": 1140.0})
    write_json(search / "plan.json", {"epochs": 31})
    for beta, told in ((0.97, True), (0.5, False)):
        entropy = {"alpha": 0.42, "beta": beta}
        arch = dataclasses.replace(random_arch(setting.space, 1, paths=1), provenance={"entropy": entropy})
        save_arch(job.folder / "arch.yaml", arch)
        document = comparison_document(SUITE, setting, {job.name: job}, {}, ())
        assert entry_of(document, job.name)["ours"]["search"]["entropy"] == entropy
        page = to_markdown(document, picture="p.png")
        assert ("Zeng 2020 (n=2): the search did not decide: the entropy of its choices is beta 0.97" in page) == told


def test_the_picture_is_drawn_with_and_without_random_networks(make_document, tmp_path):
    for name, random in (("with.png", ("random-00",)), ("without.png", ())):
        draw_comparison(tmp_path / name, make_document(random=random))
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_the_printed_table_fits_a_terminal(document, capsys):
    Console(width=80).print(comparison_table(document))
    printed = capsys.readouterr().out
    assert "U-net 3D (D3, IF=16)" in printed
    assert "20.00" in printed
    assert "…" not in printed


def test_the_document_is_json(document):
    assert json.loads(json.dumps(document)) == document


def test_networks_that_came_out_the_same_are_named(make_setting):
    setting, names = make_setting(), ("rtdnas-n6", "rtdnas-n7", "rtdnas-n8")
    jobs = {name: Job(name=name, recipe=NETWORKS[name], setting=setting) for name in names}
    for job, seed in zip(jobs.values(), (1, 2, 1), strict=True):
        save_arch(job.folder / "arch.yaml", random_arch(setting.space, seed, paths=1))
    document = comparison_document(SUITES["lu2022-table2"], setting, jobs, {}, ())
    assert [entry["same_as"] for entry in document["networks"]] == [None, None, "rtdnas-n6"]
    page = to_markdown(document, picture="p.png")
    assert page.count("is the same network as") == 1
    assert "RT-DNAS (N_l = 8) is the same network as RT-DNAS (N_l = 6)." in page
