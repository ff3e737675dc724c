"""The report as a user reads it: every check runs on both forms unless it is about one of them."""

import html
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from bench.accuracy_cli import evaluate_bundle
from bench.engine_cli import bench_engine
from bench.report_made import SEARCH_OPTIONS, TEACHER_OPTIONS, TRAINING_OPTIONS
from cinert.main import main
from search.cli import nas_search
from search.train_cli import train_arch


def run(*words):
    return CliRunner().invoke(main, ["report", *map(str, words)])


def read(folder, form="html"):
    """Write the report; its text without tags and marks."""
    result = run(folder, "--format", form)
    assert result.exit_code == 0, result.output
    text = (folder / f"report.{form}").read_text()
    return re.sub(r"[`*]", "", text) if form == "md" else html.unescape(re.sub(r"<[^>]*>", " ", text))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, bundle_folder, patients_folder):
    """A run folder without search, training and LUT, whose budget is missed."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(bundle_folder, folder / "bundle")
    shutil.copy(bundle_folder / "arch.yaml", folder / "arch.yaml")
    words = [folder / "bundle", "--threads", 1, "--frames", 8, "--budget-ms", 0.001, "-o", folder / "verify.json"]
    assert CliRunner().invoke(bench_engine, list(map(str, words))).exit_code == 1
    words = [folder / "bundle", "--data", patients_folder, "--fold", 0, "-o", folder / "accuracy.json"]
    assert CliRunner().invoke(evaluate_bundle, list(map(str, words))).exit_code == 0
    return folder


@pytest.fixture
def run_folder(tmp_path, finished, make_lut):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    make_lut(part_ms=1000.0, relative_error_90=0.9999).rename(folder / "lut.json")
    return folder


class Page(HTMLParser):
    """What a browser would fetch or run, and whether all tags close."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.references, self.tags, self.open = [], set(), []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.references += [value for name, value in attrs if name in {"src", "href"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(run_folder):
    read(run_folder)
    text = (run_folder / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.tags.isdisjoint({"script", "iframe", "object"})
    assert "url(" not in text
    assert "@import" not in text
    pictures = [each for each in page.references if each.startswith("data:image/png;base64,")]
    assert len(pictures) >= 4
    assert all(each.startswith(("data:", "#s")) for each in page.references)
    assert all(f'id="{each[1:]}"' in text for each in page.references if each.startswith("#"))
    assert sorted(item.name for item in run_folder.iterdir() if "report" in item.name) == ["report.html"]


def test_every_picture_that_the_markdown_names_is_there(run_folder):
    read(run_folder, "md")
    names = re.findall(r"!\[[^]]*\]\(([^)]*)\)", (run_folder / "report.md").read_text())
    for name in ("lut", "parts", "network", "verify"):
        assert f"report_pictures/{name}.png" in names
    for name in names:
        with Image.open(run_folder / name) as picture:
            assert min(picture.size) > 100


@pytest.mark.parametrize("form", ["html", "md"])
def test_a_failed_verdict_is_shown_and_fails_nothing(run_folder, form):
    text = read(run_folder, form)
    headline = "verdicts failed: frame to mask within 0.001 ms (burst, 8 frames)"
    assert headline in text
    assert headline in " ".join(run(run_folder, "--format", form).output.split())
    assert text.index("FAILED") < text.index("The network")
    assert text.count("FAILED") >= 2
    assert re.search(r"the engine gives PyTorch's logits\W+PASSED\W+relative difference", text)
    accuracy = json.loads((run_folder / "accuracy.json").read_text())
    assert re.search(rf"mean Dice {accuracy['mean']['dice']['mean']:.3f} on \d patients?, fold 0\W+MEASURED", text)
    assert accuracy["patients"][0]["id"] in text
    verify = json.loads((run_folder / "verify.json").read_text())
    assert f"{verify['frame_to_mask']['p99_ms']:.2f}" in text


def test_a_class_without_a_score_is_a_dash(run_folder):
    path = run_folder / "accuracy.json"
    document = json.loads(path.read_text())
    for item in [*document["patients"], document["mean"], document["std"]]:
        item["dice"]["rv"] = item["hd95_mm"]["rv"] = None
    path.write_text(json.dumps(document))
    text = read(run_folder, "md")
    assert "RV -, MYO" in text
    assert "| RV | neither in labels nor in masks |" in text
    first = document["patients"][0]
    assert re.search(rf"\| {first['id']} \| 1 ED \| - \| {first['dice']['myo']:.3f} \|", text)


def test_the_worst_come_first(run_folder):
    document = json.loads((run_folder / "accuracy.json").read_text())
    first, *others = document["patients"]
    for item in others:
        item["dice"] = dict.fromkeys(item["dice"], 0.9)
    first["dice"] = {"rv": 0.8, "myo": 0.125, "lv": 0.8}
    (run_folder / "accuracy.json").write_text(json.dumps(document))
    text = read(run_folder, "md")
    assert f"0.125, {first['id']} frame {first['frame']}" in text
    rows = text.split("Every frame, the worst first")[1].split("## ")[0]
    assert rows.index("0.125") < rows.index("0.900")


@pytest.mark.parametrize("form", ["html", "md"])
def test_what_is_missing_is_named(run_folder, form):
    (run_folder / "verify.json").unlink()
    text = read(run_folder, form)
    assert text.count("NOT JUDGED") == 2
    assert "there is no verify.json to judge by" in text
    missing = text.split("What is missing")[-1]
    for name in ("metrics.json", "overlay.gif", "segment.json", "config.json", "verify.json"):
        assert name in missing


def test_an_empty_folder_still_gets_a_report(tmp_path):
    text = read(tmp_path)
    assert "Nothing was judged." in text
    for name in ("lut.json", "arch.yaml", "bundle", "accuracy.json", "verify.json"):
        assert re.search(rf"{name}\s*, the|{name}\s*, Dice", text.split("What is missing")[-1]), name


@pytest.mark.parametrize("content", ["{", "{}", '{"measured": 3}', "[1]"])
def test_a_broken_file_is_told_and_the_rest_is_reported(run_folder, content):
    (run_folder / "verify.json").write_text(content)
    text = read(run_folder)
    missing = text.split("What is missing")[-1]
    assert "verify.json" in missing or "Latency against the budget: cannot be told" in missing
    assert "Mean Dice" in text


def test_a_bundle_that_was_changed_is_told(run_folder):
    (run_folder / "bundle" / "model.onnx").write_bytes(b"other")
    assert "is not the file that was exported" in read(run_folder)


def test_what_a_file_says_is_text_and_never_markup(run_folder):
    document = json.loads((run_folder / "verify.json").read_text())
    document["frame_to_mask"]["stages_p50_ms"] = {"<script>alert(1)</script>": 1.0}
    (run_folder / "verify.json").write_text(json.dumps(document))
    assert "<script>alert(1)</script>" in read(run_folder)
    assert "<script" not in (run_folder / "report.html").read_text()


def test_written_again_it_holds_nothing_of_the_one_before(run_folder):
    shutil.copy(run_folder / "verify.json", run_folder / "verify_paced.json")
    assert "verify_paced.json" in read(run_folder, "md")
    assert (run_folder / "report_pictures" / "verify_paced.png").is_file()
    (run_folder / "verify_paced.json").unlink()
    assert "verify_paced" not in read(run_folder, "md")
    assert not (run_folder / "report_pictures" / "verify_paced.png").exists()


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_a_large_overlay_is_linked_with_its_size(run_folder, suffix):
    (run_folder / f"overlay.{suffix}").write_bytes(b"\0" * 2**20)
    read(run_folder)
    mime = "image/gif" if suffix == "gif" else "video/mp4"
    assert f'src="data:{mime};base64,' in (run_folder / "report.html").read_text()
    assert run(run_folder, "--embed-mib", 0.5).exit_code == 0
    text = (run_folder / "report.html").read_text()
    assert f'src="data:{mime}' not in text
    assert f'<a href="overlay.{suffix}">' in text
    assert "1.0 MiB" in text


def test_the_table_may_lie_elsewhere(run_folder, tmp_path):
    (run_folder / "lut.json").rename(tmp_path / "other.json")
    assert "Every part timed alone" not in read(run_folder)
    result = run(run_folder, "--lut", tmp_path / "other.json")
    assert "other.json" not in result.output
    assert "Every part timed alone" in (run_folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [(["nowhere"], "no run folder"), ([".", "--lut", "nowhere.json"], "no LUT nowhere.json")],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["html", "md"])
def test_a_lut_that_was_taken_busy_is_called_so_in_text_and_captions(run_folder, form):
    assert "BUSY" not in read(run_folder, form)
    document = json.loads((run_folder / "lut.json").read_text())
    document["protocol"]["tolerant"] = True
    (run_folder / "lut.json").write_text(json.dumps(document))
    text = read(run_folder, form)
    part = text.split("What each part costs on the device")[-1]
    assert "BUSY: taken with --allow-busy, beside whatever else used the machine." in part
    assert "(BUSY machine (--allow-busy))" in part
    assert "quiet machine" not in part


def test_an_estimate_by_a_busy_lut_is_called_so(run_folder):
    arch = run_folder / "arch.yaml"
    document = yaml.safe_load(arch.read_text())
    figures = dict.fromkeys(("ms", "low_ms", "high_ms", "p50_ms", "p99_ms", "throughput_fps"), 12.0)
    document["estimate"] = {**figures, "lut": "0" * 16, "device": "Some CPU", "busy": True}
    document["provenance"] = {**document["provenance"], "budget_ms": 50.0}
    arch.write_text(yaml.safe_dump(document))
    text = read(run_folder)
    assert "12.00 ms of 50 ms, by a BUSY LUT" in text
    assert "Some CPU. BUSY: taken with --allow-busy" in text
    verify = run_folder / "verify.json"
    document = json.loads(verify.read_text())
    document["estimate"] = {**figures, "low_ms": 11.0, "high_ms": 13.0}
    document["lut"] = {"origin": "lut", "id": "0" * 16, "device": "Some CPU", "differences": [], "busy": True}
    verify.write_text(json.dumps(document))
    assert "by a LUT that was taken BUSY" in read(run_folder)


def test_the_rate_is_that_of_the_stream_that_is_named(run_folder):
    assert "22 frames/s with two frames in flight" in read(run_folder)
    document = json.loads((run_folder / "verify.json").read_text())
    frames = document["frame_to_mask"]
    for part in (document["measured"], frames):
        part["mode"] = "paced"
    frames["latency_ms"] = [1000.0 * number for number in range(8)]
    # As a release before wrote it, which held two frames in flight against the rate.
    del document["rate"]
    document["fps_met"] = True
    (run_folder / "verify.json").write_text(json.dumps(document))
    text = read(run_folder, "md")
    (row,) = [line for line in text.splitlines() if line.startswith("| 22 frames/s in the paced stream")]
    assert "FAILED" in row
    assert "1.09 of 22 frames/s in the paced stream, its last mask 7000 ms after the frame was due" in row


def test_an_estimate_with_a_wide_interval_is_not_judged_whatever_a_release_before_said(run_folder):
    document = json.loads((run_folder / "verify.json").read_text())
    estimate = {"ms": 10.0, "low_ms": 2.9, "high_ms": 17.1, "p50_ms": 10.0, "p99_ms": 12.0, "throughput_fps": 90.0}
    document |= {"estimate": estimate, "within_interval": True, "lut": {"id": "0" * 16, "device": "Some CPU"}}
    (run_folder / "verify.json").write_text(json.dumps(document))
    text = read(run_folder, "md")
    (row,) = [line for line in text.splitlines() if line.startswith("| engine within the estimate's interval")]
    assert "NOT JUDGED" in row
    assert "± 71%, wider than the ± 25% up to which it is judged" in row


def test_what_other_programs_used_stands_beside_every_verdict_on_latency(run_folder):
    document = json.loads((run_folder / "verify.json").read_text())
    others = {"cpu_cores": 0.4, "worst_cpu_cores": 0.4, "of_cores": 2, "disturbing": True}
    for part in ("measured", "frame_to_mask", "rate"):
        document[part]["others"] = others
    told = {"budget_met": True, "misses": 0, "others": others, "frame_to_mask": document["frame_to_mask"]}
    figures = dict.fromkeys(("ms", "low_ms", "high_ms", "p50_ms", "p99_ms", "throughput_fps"), 10.0)
    document |= {"served": told, "co_load": told, "estimate": figures}
    (run_folder / "verify.json").write_text(json.dumps(document))
    rows = [line for line in read(run_folder, "md").splitlines() if line.endswith("| `verify.json` |")]
    rows = rows or [line for line in read(run_folder, "md").splitlines() if line.endswith("| verify.json |")]
    assert len(rows) == 5
    assert all("other programs used 0.4 of 2 CPU cores" in row for row in rows)


@pytest.mark.parametrize(("alpha", "told"), [(0.95, True), (0.9, False)])
def test_a_search_that_did_not_decide_is_told(run_folder, monkeypatch, alpha, told):
    arch = run_folder / "arch.yaml"
    document = yaml.safe_load(arch.read_text())
    document["provenance"] = {**document["provenance"], "entropy": {"alpha": alpha, "beta": 0.3}}
    arch.write_text(yaml.safe_dump(document))
    identity = {"epochs": 4, "seed": 0, "fold": 0, "data": "0" * 16}
    lut = {"id": "0" * 16, "device": "Some CPU", "file": "lut.json"}
    config = {"weight_patients": ["a"], "arch_patients": ["b"], "identity": identity, "lut": lut, "budget_ms": 50}
    (run_folder / "config.json").write_text(json.dumps({**config, "space": document["space"]}))
    curves = {"weight_loss": [(1, 2.0), (2, 1.0)], "alpha_entropy": [(2, 0.99)]}
    monkeypatch.setattr("search.run_log.read_scalars", lambda *_: curves)
    words = "The search did not decide: the entropy of its choices is alpha 0.95 at its end"
    assert (words in read(run_folder)) == told
    # Where the architecture's file, of a release before, does not say it, the curves do.
    del document["provenance"]["entropy"]
    arch.write_text(yaml.safe_dump(document))
    assert "the entropy of its choices is alpha 0.99 at its end" in read(run_folder)


def test_training_is_told(run_folder):
    metrics = {
        "device": "cpu",
        "parameters": 12345,
        "seconds": 90.0,
        "cpu_seconds": 171.0,
        "settings": {"data": "0123456789abcdef", "fold": 2, "seed": 7, "epochs": 2, "batch_size": 4},
        "kept_share": {"mean": 0.991, "worst": 0.8},
        "patients": {"train": 9, "validation": 3},
        "epochs": [
            {"epoch": 1, "loss": 2.0, "learning_rate": 0.01},
            {"epoch": 2, "loss": 0.25, "learning_rate": 0.0, "dice": {"rv": 0.9, "myo": 0.8, "lv": 0.7, "mean": 0.8}},
        ],
        "validation": {"mean": {"rv": 0.9, "myo": 0.8, "lv": 0.7, "mean": 0.8}, "frames": []},
    }
    (run_folder / "metrics.json").write_text(json.dumps(metrics))
    text = read(run_folder)
    for part in ("2 epochs in 90 s on cpu", "9 to learn from, 3 held out", "12,345", "0.2500", "LV 0.700", "1.5 min"):
        assert part in text
    assert "80.00% at worst" in text
    assert re.search(r"1\.5 min\b.*\b2\.9 min", text)
    assert "train-arch" in text
    assert "--fold 2 --epochs 2 --batch-size 4 --seed 7" in text
    assert "DATA and CINE are yours to name" in text
    switches = {"deep_supervision": 0.3, "init": "a" * 16, "teacher": "b" * 16, "teacher_weight": 0.5}
    metrics["settings"] |= {"warmup_steps": 9, "teacher_temperature": 4.0, **switches}
    (run_folder / "metrics.json").write_text(json.dumps(metrics))
    text = read(run_folder)
    words = "--init INIT --teacher TEACHER --teacher-weight 0.5 --teacher-temperature 4.0"
    assert f"--warmup-steps 9 --deep-supervision 0.3 --seed 7 {words} -o" in text
    named = ", ".join(
        f"{name} (weights of SHA-256 {16 * digit}...)" for name, digit in (("INIT", "a"), ("TEACHER", "b"))
    )
    assert f"DATA, CINE, {named.replace(', T', ' and T')} are yours to name" in text
    metrics["validation"]["mean"] = None
    (run_folder / "metrics.json").write_text(json.dumps(metrics))
    assert "nobody was held out" in read(run_folder)


def test_the_cine_is_drawn(run_folder):
    segment = {
        "cine": {"file": "cine.nii.gz", "time_step_ms": None},
        "latency": {"frames": 3, "p50_ms": 20.0, "worst_ms": 60.0, "misses": 1, "budget_ms": 50.0},
        "frames": [{"total_ms": ms} for ms in (19.0, 20.0, 60.0)],
        "volumes_ml": {"lv": [100.0, 40.0, 90.0], "rv": [0.0, 0.0, 0.0]},
        "function": {
            "ed_phase": 0,
            "es_phase": 1,
            "lv": {"edv_ml": 100.0, "esv_ml": 40.0, "ef_percent": 60.0},
            "rv": {"edv_ml": 0.0, "esv_ml": 0.0, "ef_percent": None},
        },
        "fingerprint": json.loads((run_folder / "verify.json").read_text())["fingerprint"],
    }
    (run_folder / "segment.json").write_text(json.dumps(segment))
    text = read(run_folder, "md")
    assert "worst 60.0 ms, 1 late" in text
    assert "| RV | 0 | 0 | not defined |" in text
    assert (run_folder / "report_pictures" / "cine.png").is_file()


def test_patients_that_the_weights_saw_are_told_with_the_verdict(run_folder):
    document = json.loads((run_folder / "accuracy.json").read_text())
    assert "weights saw" not in read(run_folder).split("The network")[0]
    document["seen_patients"] = [document["patients"][0]["id"]]
    (run_folder / "accuracy.json").write_text(json.dumps(document))
    text = read(run_folder)
    assert "The weights saw 1 of them." in text.split("The network")[0]
    assert f"{document['patients'][0]['id']} (seen)" in text


def test_a_baseline_has_no_search_to_miss(run_folder):
    shutil.rmtree(run_folder / "bundle")
    (run_folder / "arch.yaml").unlink()
    words = ["baseline", "unet3d", "--space", "demo", "-o", run_folder / "arch.yaml"]
    assert CliRunner().invoke(main, list(map(str, words))).exit_code == 0
    text = read(run_folder)
    assert "a baseline (unet3d)" in text
    assert "nas-search" not in text


@pytest.mark.parametrize(
    ("options", "command"),
    [(SEARCH_OPTIONS, nas_search), (TRAINING_OPTIONS, train_arch), (TEACHER_OPTIONS, train_arch)],
)
def test_commands_name_options_that_exist(options, command):
    known = {option for parameter in command.params for option in parameter.opts}
    assert set(options.values()) <= known
