import copy

import pytest
import yaml

from cinert.arch import Arch, NodeEdge, live_edges, load_arch, save_arch, yields_nothing
from cinert.errors import BadInputError
from cinert.sampling import random_arch
from cinert.space import PRESETS
from cinert.spaces import load_space


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("seed", range(20))
def test_random_architectures_are_valid_and_read_back(tmp_path, preset, seed):
    arch = random_arch(load_space(preset), seed)
    assert random_arch(load_space(preset), seed) == arch
    assert 1 <= len(arch.paths) <= 4
    assert any(edge.kind != "skip" for edge in arch.edges)
    save_arch(tmp_path / "arch.yaml", arch)
    again = load_arch(tmp_path / "arch.yaml")
    assert again == arch
    assert again.digest == arch.digest


def test_digest_ignores_what_is_not_deployed():
    arch = random_arch(load_space("demo"), 3, paths=2)
    same = Arch(space=arch.space, cells=arch.cells, paths=arch.paths[::-1], provenance={"seed": 99})
    assert same.digest == arch.digest


def test_live_edges_drop_what_carries_zeros():
    cell = ((), (NodeEdge(1, "conv"), NodeEdge(0, "maxpool")), (NodeEdge(2, "identity"),))
    assert live_edges(cell) == ((), (NodeEdge(0, "maxpool"),), (NodeEdge(2, "identity"),))
    assert yields_nothing(((), (NodeEdge(1, "conv"),), ()))
    assert not yields_nothing(cell)


def edited(change):
    document = copy.deepcopy(random_arch(load_space("demo"), 0, paths=1).to_dict())
    change(document)
    return document


def set_ns_op(document, op):
    document["cells"]["ns"] = [[{"input": 0, "op": op}], [], []]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(attention=1), "unknown key attention"),
        (lambda d: d.update(version=7), "version is 7"),
        (lambda d: d["space"].update(extra=1), "unknown key extra"),
        (lambda d: set_ns_op(d, "attention"), "unknown op 'attention'"),
        (lambda d: set_ns_op(d, "zero"), "op zero is no edge"),
        (lambda d: d["cells"].update(ns=[[], [], []]), "cells.ns yields nothing"),
        (lambda d: d["cells"].update(ns=[[], [{"input": 1, "op": "conv"}], []]), "cells.ns yields nothing"),
        (lambda d: d["cells"].update(ns=[[{"input": 1, "op": "conv"}], [], []]), "input 1 is not one of 0..0"),
        (lambda d: d["cells"].update(ns=[[{"input": 0, "op": "conv"}]]), "has 1 nodes"),
        (lambda d: d["cells"].update(ns=[[{"input": 0}], [], []]), "missing key op"),
        (lambda d: d["cells"].update(up=[]), "unknown key up"),
        (lambda d: d.update(paths=[["ep", "ct", "ns", "ns"]]), "leaves the grid at layer 0"),
        (lambda d: d.update(paths=[["ct", "ct", "ct", "ep"]]), "leaves the grid at layer 2"),
        (lambda d: d.update(paths=[["ct", "ns", "ns", "ns"]]), "ends at scale 1"),
        (lambda d: d.update(paths=[["ct", "ep"]]), "has 2 edges"),
        (lambda d: d.update(paths=[["down", "ep", "ns", "ns"]]), "unknown edge kind 'down'"),
        (lambda d: d.update(paths=[["ns"] * 4, ["ns"] * 4]), "stands twice"),
        (lambda d: d.update(paths=[]), "paths is empty"),
        (lambda d: (d.update(paths=[["ns"] * 4]), d["cells"].pop("ns")), "cells.ns is missing"),
        (lambda d: d.update(cells=[]), "cells is []"),
    ],
)
def test_bad_architectures_are_refused_with_the_reason(tmp_path, change, says):
    path = tmp_path / "arch.yaml"
    path.write_text(yaml.safe_dump(edited(change)))
    with pytest.raises(BadInputError) as error:
        load_arch(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_yaml(tmp_path):
    path = tmp_path / "arch.yaml"
    path.write_text("a: [1, 2")
    with pytest.raises(BadInputError, match="is not YAML"):
        load_arch(path)
    path.write_text("- 1\n")
    with pytest.raises(BadInputError, match="not a mapping"):
        load_arch(path)
