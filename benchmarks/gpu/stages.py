"""The stages of the GPU run book, each a list of commands; a tiny book takes small sizes and the CPU's back ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cinert.backends import get_backend

_HERE = Path(__file__).parent
_BIN = Path(sys.executable).parent
Commands = list[list[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Book:
    """What the stages share."""

    folder: Path
    data: Path
    tiny: bool
    flavour: str
    """The TensorRT that is measured: `trt` or `trt-rtx`."""

    @property
    def space(self) -> str:
        """Preset that is measured and searched."""
        return "demo" if self.tiny else "paper"

    @property
    def luts(self) -> dict[str, list[str]]:
        """Arguments of bench-ops by the name of the LUT."""
        if self.tiny:
            return {"ort-fp32": ["--backend", "ort"], "openvino-fp32": ["--backend", "openvino"]}
        return {
            "torch-eager": ["--backend", "torch", "--device", "cuda:0", "--no-cuda-graph"],
            "torch-graph": ["--backend", "torch", "--device", "cuda:0"],
            f"{self.flavour}-fp32": ["--backend", self.flavour, "--only"],
            f"{self.flavour}-fp16": ["--backend", self.flavour, "--only", "--precision", "fp16"],
        }

    @property
    def fastest(self) -> str:
        """The LUT that the search takes."""
        return "openvino-fp32" if self.tiny else f"{self.flavour}-fp16"

    @property
    def precisions(self) -> list[tuple[str, str]]:
        """(back end, precision) of the engines that are judged."""
        if self.tiny:
            return [("openvino", "fp32")]
        return [(self.flavour, precision) for precision in ("fp32", "tf32", "fp16", "bf16", "int8")]

    def lut(self, name: str) -> Path:
        """File of a LUT."""
        return self.folder / f"lut-{name}.json"


def probe_flavour() -> str:
    """The first TensorRT that runs on this GPU; `trt` if none does, whose refusals are then on record."""
    return next((name for name in ("trt", "trt-rtx") if get_backend(name).available("cuda:0").ok), "trt")


def _command(name: str, *words: object) -> list[str]:
    return [str(_BIN / name), *map(str, words)]


def _script(path: Path, *words: object) -> list[str]:
    return [sys.executable, str(path), *map(str, words)]


def environment(book: Book) -> Commands:
    """What is here, how fast memory and matrix units are; in a tiny book also the phantom."""
    phantom = [_command("make-phantom", book.data, "--patients", 10)] if book.tiny else []
    return [
        _command("cinert", "doctor", "--json"),
        *phantom,
        _script(
            _HERE / "roofline.py", "-o", book.folder / "roofline.json", *(["--device", "cpu"] if book.tiny else [])
        ),
    ]


def gpu_tests(book: Book) -> Commands:
    """The tests that need a GPU; without one they are skipped, which is said."""
    del book
    tests = _HERE.parent.parent / "tests"
    return [[sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-m", "gpu", str(tests / "cinert")]]


def luts(book: Book) -> Commands:
    """LUTs of PyTorch, eager and as a CUDA graph, and of TensorRT; and one beside the other."""
    few = ["--networks", "10", "--allow-busy"] if book.tiny else []
    made = [
        _command("bench-ops", "--space", book.space, *words, *few, "-o", book.lut(name))
        for name, words in book.luts.items()
    ]
    first, *others = book.luts
    return [*made, *(_command("bench-ops", "--compare", book.lut(first), book.lut(other)) for other in others)]


def networks(book: Book) -> Commands:
    """Random networks measured whole, against each LUT's estimates."""
    few = ["--nets", 5, "--allow-busy"] if book.tiny else ["--nets", 60]
    return [
        _command("bench-model", "--lut", book.lut(name), *few, "-o", book.folder / f"estimate-{name}.json")
        for name in book.luts
    ]


def peers(book: Book) -> Commands:
    """Our runner against the bare engine and against other ways to run the same network."""
    device = ["--device", "cpu", "--passes", "3", "--allow-busy"] if book.tiny else []
    return [_script(_HERE / "peers.py", "--space", book.space, *device, "-o", book.folder / "peers.json")]


def search_and_training(book: Book) -> Commands:
    """Search on the fastest LUT and train, fold by fold as far as the time lasts."""
    short = ["--epochs", "2"] if book.tiny else []
    less = ["--localiser-steps", "20"] if book.tiny else []
    commands: Commands = []
    for fold in range(1 if book.tiny else 5):
        run = book.folder / f"fold{fold}"
        shared = ["--data", str(book.data), "--fold", str(fold), *short, "-o", str(run)]
        commands.append(_command("nas-search", "--lut", book.lut(book.fastest), *shared))
        commands.append(_command("train-arch", run / "arch.yaml", *shared, *less))
    return commands


def engines(book: Book) -> Commands:
    """The trained network in every precision: parity, Dice on the held-out patients, latency at 22 frames/s."""
    run = book.folder / "fold0"
    frames = ["--frames", "20"] if book.tiny else []
    commands: Commands = []
    for backend, precision in book.precisions:
        bundle = run / f"bundle-{backend}-{precision}"
        calibration = ["--calibration", book.data] if precision == "int8" else []
        name = f"{backend}-{precision}"
        priced = ["--lut", book.lut(name)] if name in book.luts else []
        chosen = ["--backend", backend, "--precision", precision, *calibration, *priced]
        commands += [
            _command("export-engine", run / "arch.yaml", *chosen, "--data", book.data, "-o", bundle),
            _command("evaluate-bundle", bundle, "--data", book.data, "--fold", 0, "-o", f"{bundle}-accuracy.json"),
            _command("bench-engine", bundle, "--mode", "paced", "--fps", 22, *frames, "-o", f"{bundle}-verify.json"),
        ]
    return commands


STAGES: tuple[Callable[[Book], Commands], ...] = (
    environment,
    gpu_tests,
    luts,
    networks,
    peers,
    search_and_training,
    engines,
)
