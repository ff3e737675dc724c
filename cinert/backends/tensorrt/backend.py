"""TensorRT and TensorRT-RTX behind the interface of all back ends. Building imports onnx; running does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any

from cinert.backends.base import Availability, Backend, Engine, Model, Precision, Runner
from cinert.backends.tensorrt.audit import audit_network, audit_plan, count_elements
from cinert.backends.tensorrt.build import BuildOptions, Plan, build_plan, check_supported, make_log
from cinert.backends.tensorrt.collection import no_collection
from cinert.backends.tensorrt.flavour import RTX, TENSORRT, Flavour, known_capabilities, load, version
from cinert.backends.tensorrt.runner import TensorRtRunner
from cinert.backends.tensorrt.runtime_cache import RuntimeCache, runtime_cache_path
from cinert.backends.tensorrt.timing_cache import read_timing_cache, write_timing_cache
from cinert.device_memory import Device, installed, open_device
from cinert.device_memory.driver import driver_problem, gpu_facts
from cinert.environment import cpu_device, driver_version, library_version
from cinert.errors import BackendUnavailableError, BadInputError

TIMING_CACHE = "timing-cache"


class _TensorRtFamily(Backend):
    """What both flavours share.

    Args:
        capabilities: compute capabilities to build for, e.g. `("8.6", "12.0")`; none builds for the GPU that is here.
        options: for the builder.
        cuda_graph: run engines as a CUDA graph.
    """

    flavour: Flavour
    precisions: tuple[Precision, ...] = ("fp32", "tf32", "fp16", "bf16", "int8")

    def __init__(
        self, *, capabilities: Sequence[str] = (), options: BuildOptions | None = None, cuda_graph: bool = True
    ) -> None:
        self.capabilities = tuple(dict.fromkeys(capabilities))
        self.options = options or BuildOptions()
        self.cuda_graph = cuda_graph

    def available(self, device: str = "auto") -> Availability:
        """Whether engines can be run here."""
        if device == "cpu":
            return Availability(ok=False, reason="it runs on NVIDIA GPUs, not on the CPU")
        try:
            module = load(self.flavour)
        except BackendUnavailableError as error:
            return Availability(ok=False, reason=error.message)
        problem = driver_problem(_index(device))
        if problem is not None:
            return Availability(ok=False, reason=problem)
        known, capability = known_capabilities(module), gpu_facts(_index(device)).compute_capability
        if known and capability not in known:
            reason = f"{self.flavour.title} knows compute capability {', '.join(known)}, and this GPU has {capability}"
            return Availability(ok=False, reason=reason)
        memory = installed()
        if not memory:
            return Availability(ok=False, reason="neither pycuda nor cuda-core is installed")
        return Availability(ok=True, reason=f"{self.flavour.title} {version(module)}, device memory by {memory[0]}")

    def buildable(self, device: str = "auto") -> Availability:
        """Whether engines can be built here; TensorRT-RTX needs no GPU for it."""
        if not self.flavour.builds_without_gpu:
            return self.available(device)
        try:
            module = load(self.flavour)
        except BackendUnavailableError as error:
            return Availability(ok=False, reason=error.message)
        known = ", ".join(known_capabilities(module))
        return Availability(ok=True, reason=f"{self.flavour.title} {version(module)}, for compute capability {known}")

    def compile(self, model: Model, *, precision: Precision = "fp32", device: str = "auto", threads: int) -> Engine:
        """Build one plan for each compute capability asked for.

        Raises:
            BackendUnavailableError: the library is not here, or needs a GPU that is not.
            BadInputError: no compute capability is known, an unknown one, or a graph that is refused.
            VerdictError: a layer stays in fp32 that was not declared.
        """
        del threads
        self.require_buildable(device, precision)
        # Named by string: it needs onnx, which the bedside does without.
        typed = import_module("cinert.typed").typed_onnx(model, precision)
        declared = {kept.node for kept in typed.kept_in_fp32}
        files: dict[str, bytes] = {}
        targets = self._targets(device)
        for target in targets:
            # All of them first: a build takes minutes.
            check_supported(self.flavour, target, precision)
        for target in targets:
            plan = self._build(typed.data, model.name, precision, target)
            audit_network(plan.layers, precision, declared)
            files[plan_suffix(target)] = plan.data
            if plan.timing_cache is not None:
                files[TIMING_CACHE] = plan.timing_cache
        record = {
            "library": self.flavour.title,
            "version": version(load(self.flavour)),
            "compute_capabilities": list(targets),
            "options": asdict(self.options),
            "layers": count_elements(plan.layers, precision, declared),
            "kept_in_fp32": [asdict(kept) for kept in typed.kept_in_fp32],
            "audit": "not_run",
        }
        engine = Engine(self.name, precision, files, onnx=typed.data, build=record)
        if self.runs_here(engine, device):
            _, loaded = self._deserialise(engine, _index(device))
            inspector = loaded.create_engine_inspector()
            information = inspector.get_engine_information(load(self.flavour).LayerInformationFormat.JSON)
            audit_plan(str(information), precision, declared)
            record["audit"] = "passed"
        return engine

    def _targets(self, device: str) -> tuple[str, ...]:
        """Compute capabilities to build for."""
        if self.capabilities:
            return self.capabilities
        problem = driver_problem(_index(device))
        if problem is not None:
            known = ", ".join(known_capabilities(load(self.flavour)))
            raise BadInputError(
                f"{self.flavour.title} has to be told which GPU to build for: {problem}.",
                hint=f"--compute-capability takes one or more of {known}.",
            )
        return (gpu_facts(_index(device)).compute_capability,)

    def _build(self, onnx: bytes, name: str, precision: Precision, target: str) -> Plan:
        by_name = bool(known_capabilities(load(self.flavour)))
        if self.capabilities and not by_name:
            # Refuses, saying that this library builds for its own GPU alone.
            by_name = True
        cache = None if by_name else read_timing_cache(self.flavour, target)
        plan = build_plan(
            self.flavour,
            onnx,
            name=name,
            precision=precision,
            capability=target if by_name else None,
            options=self.options,
            timing_cache=cache,
        )
        if plan.timing_cache is not None:
            write_timing_cache(self.flavour, target, plan.timing_cache)
        return plan

    def runs_here(self, engine: Engine, device: str = "auto") -> bool:
        """Whether there is a plan for the GPU that is here."""
        available = self.available(device).ok
        return available and plan_suffix(gpu_facts(_index(device)).compute_capability) in engine.files

    def load(self, engine: Engine, *, device: str = "auto", threads: int) -> Runner:
        """Deserialise the plan for the GPU that is here, and make its buffers.

        Raises:
            BackendUnavailableError: no driver, or the plan is for another GPU or of another version of the library.
        """
        del threads
        self.require(device, engine.precision)
        memory, loaded = self._deserialise(engine, _index(device))
        cache = None
        if self.flavour.compiles_on_load:
            facts = gpu_facts(_index(device))
            plan = engine.files[plan_suffix(facts.compute_capability)]
            with memory.current():
                cache = RuntimeCache(loaded, runtime_cache_path(self.flavour, facts.uuid, plan))
        return TensorRtRunner(load(self.flavour), loaded, memory, cuda_graph=self.cuda_graph, runtime_cache=cache)

    def _deserialise(self, engine: Engine, index: int) -> tuple[Device, Any]:
        trt, title = load(self.flavour), self.flavour.title
        built_by, here = engine.build.get("version"), version(trt)
        if built_by != here:
            raise BackendUnavailableError(
                f"the engine was built by {title} {built_by}, here is {here}.",
                hint="export it again here, or install that version.",
            )
        capability = gpu_facts(index).compute_capability
        plan = engine.files.get(plan_suffix(capability))
        if plan is None:
            built_for = ", ".join(engine.build.get("compute_capabilities", ()))
            raise BackendUnavailableError(
                f"the engine was built for compute capability {built_for}, this GPU has {capability}.",
                hint=f"export it again with --compute-capability {capability}.",
            )
        memory = open_device(index)
        log = make_log(trt)
        with memory.current(), no_collection():
            loaded = trt.Runtime(log).deserialize_cuda_engine(plan)
        if loaded is None:
            reason = log.errors[0] if log.errors else "it does not say why"
            raise BackendUnavailableError(f"{title} does not take the plan: {reason.strip()}", hint="export it again.")
        return memory, loaded

    def fingerprint(self, device: str = "auto") -> dict[str, Any]:
        """GPU, driver and library; where there is no GPU, the CPU that engines are built on.

        Raises:
            BackendUnavailableError: engines can be neither run nor built here.
        """
        runs = self.available(device).ok
        if not runs:
            self.require_buildable(device)
        libraries: dict[str, Any] = {self.flavour.module: version(load(self.flavour))}
        if not runs:
            return {"device": cpu_device(), "libraries": libraries}
        facts = gpu_facts(_index(device))
        memory = installed()[0]
        return {
            "device": {
                "kind": "cuda",
                "name": facts.name,
                "uuid": facts.uuid,
                "driver": driver_version(),
                "compute_capability": facts.compute_capability,
            },
            "libraries": {
                **libraries,
                memory: library_version(memory),
                "cuda_graph": self.cuda_graph,
                **asdict(self.options),
            },
        }


class TensorRtBackend(_TensorRtFamily):
    """TensorRT: builds and runs on the GPU that is here."""

    name = "trt"
    flavour = TENSORRT


class TensorRtRtxBackend(_TensorRtFamily):
    """TensorRT-RTX: builds for any RTX GPU without one, and runs where one is."""

    name = "trt-rtx"
    flavour = RTX


def plan_suffix(capability: str) -> str:
    """Key of a plan among an engine's files, e.g. `sm86.plan`."""
    return f"sm{capability.replace('.', '')}.plan"


def _index(device: str) -> int:
    return int(device.split(":")[1]) if ":" in device else 0
