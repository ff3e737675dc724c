"""A certificate: "p99 of frame to mask is within the budget", for one bundle on one device, beside the bundle.

Statistics: with n frames of which none missed the budget, a share of late frames above s would have shown itself with
probability 1 - (1 - s)^n. For s = 1 % and 99 % confidence that takes 459 frames, so 459 frames without a miss support
the claim; fewer do not, and one miss ends it. The frames of a stream are taken for independent: what comes once an hour
is not seen in ten minutes. `largest_late_share` says what the frames support at 99 % confidence.

A certificate is a plain file whose bytes follow from its content; it can be signed on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.stream import P99_FRAMES
from cinert.bundle import Bundle
from cinert.environment import binding_differences, device_name
from cinert.errors import BadInputError, VerdictError
from cinert.files import read_json, write_json
from cinert.schema import check_keys, check_schema, read_number

SCHEMA, VERSION = "cinert.certificate", 1
CONFIDENCE = 0.99
QUANTILE = 0.99
_PERCENTILES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "worst_ms", "jitter_ms")
_KEYS = ("claim", "bundle", "budget_ms", "fps", "mode", "through", "frames", "misses", "frame_to_mask", "round_trip")


def certificate_path(folder: Path) -> Path:
    """BUNDLE.certificate.json: beside the bundle, because a bundle refuses files that its manifest does not list."""
    folder = folder.resolve()
    return folder.with_name(f"{folder.name}.certificate.json")


def withdrawn_path(folder: Path) -> Path:
    """Where a certificate goes that a later measurement has refuted."""
    folder = folder.resolve()
    return folder.with_name(f"{folder.name}.certificate.withdrawn.json")


def stream_of(document: Mapping[str, Any]) -> tuple[str, Mapping[str, Any], Mapping[str, Any] | None]:
    """What a verify.json proves: `pipeline` or `mrd`, the stream with its counts, and its percentiles."""
    served = document["served"]
    if served is not None:
        return str(served["through"]), served, served["frame_to_mask"]
    return "pipeline", document["frame_to_mask"], document["frame_to_mask"]


def reason_for_none(document: Mapping[str, Any]) -> str | None:
    """Why a measurement supports no certificate; None where it does.

    Args:
        document: verify.json.
    """
    _, stream, percentiles = stream_of(document)
    frames, misses, budget_ms = stream["frames"], stream["misses"], document["budget_ms"]
    gates = [document["parity"]] + ([] if document["audit"] is None else [document["audit"]])
    if document["frame_to_mask"]["mode"] != "paced":
        return "real time is proved at the scanner's pace; it takes --mode paced"
    if misses:
        return f"{misses} of {frames} frames missed the budget of {budget_ms:g} ms"
    if frames < P99_FRAMES:
        return f"{frames} frames without a miss do not support a claim about p99; it takes {P99_FRAMES}"
    if percentiles is None or percentiles["p99_ms"] > budget_ms:
        return f"p99 is above the budget of {budget_ms:g} ms"
    if any(gate["status"] == "failed" for gate in gates):
        return "the engine failed parity or audit, and a wrong mask in time is no good mask"
    return None


def certificate(document: Mapping[str, Any], *, evidence: str, created: str) -> dict[str, Any]:
    """Make the certificate of a measurement that supports one (docs/schemas/certificate.schema.json).

    Args:
        document: verify.json.
        evidence: SHA-256 of the file verify.json.
        created: UTC, ISO 8601.
    """
    through, stream, percentiles = stream_of(document)
    assert percentiles is not None
    budget_ms, frames = document["budget_ms"], stream["frames"]
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "claim": f"p99 frame to mask <= {budget_ms:g} ms",
        "bundle": {"digest": document["bundle"]["digest"], "arch_digest": document["bundle"]["arch_digest"]},
        "fingerprint": document["fingerprint"],
        "budget_ms": budget_ms,
        "fps": document["fps"],
        "mode": document["frame_to_mask"]["mode"],
        "through": through,
        "source": document["frame_to_mask"]["source"],
        "frames": frames,
        "misses": stream["misses"],
        "frame_to_mask": {name: percentiles[name] for name in _PERCENTILES},
        # For people: the budget does not speak of the way to the server and back.
        "round_trip": stream.get("round_trip"),
        "statistics": {
            "quantile": QUANTILE,
            "confidence": CONFIDENCE,
            "frames_needed": P99_FRAMES,
            "largest_late_share": largest_late_share(frames),
        },
        "evidence": {"verify_sha256": evidence},
        "created": created,
    }


def largest_late_share(frames: int) -> float:
    """Share of late frames that `frames` without a miss rule out at 99 % confidence: (1 - share)^frames = 1 %."""
    return float(1 - (1 - CONFIDENCE) ** (1 / frames))


def read_certificate(path: Path) -> dict[str, Any]:
    """Read a certificate; it is checked in form only.

    Raises:
        BadInputError: it cannot be read, is of another schema or version, lacks a key, or a value is of the wrong kind.
    """
    document = read_json(path, "the certificate")
    check_schema(document, schema=SCHEMA, version=VERSION, source=str(path))
    required = ["schema", "version", *_KEYS, "fingerprint", "source", "statistics", "evidence", "created"]
    check_keys(document, required=required, source=str(path))
    for key in ("bundle", "fingerprint", "frame_to_mask"):
        if not isinstance(document[key], dict):
            raise BadInputError(f"{path}: {key} is {document[key]!r}, expected a mapping.")
    figures, threads = document["frame_to_mask"], document["fingerprint"].get("threads")
    check_keys(figures, required=_PERCENTILES, source=f"{path}: frame_to_mask")
    numbers = {key: document[key] for key in ("budget_ms", "fps", "frames", "misses")}
    for key, value in {**numbers, **figures, "fingerprint.threads": threads}.items():
        try:
            read_number(value, float)
        except TypeError as error:
            raise BadInputError(f"{path}: {key}: {error}.") from error
    return document


def check_certificate(bundle: Bundle, here: Mapping[str, Any]) -> dict[str, Any]:
    """Hold the certificate beside a bundle against the bundle and this device.

    Args:
        bundle: opened, that is, with the hashes that its manifest says.
        here: fingerprint of this device.

    Returns:
        The certificate.

    Raises:
        BadInputError: there is none, or it cannot be read.
        VerdictError: it is of another bundle or device, or its figures do not support its claim.
    """
    path = certificate_path(bundle.folder)
    if not path.is_file():
        raise BadInputError(
            f"bundle {bundle.folder} has no certificate {path}.", hint="bench-engine --mode paced writes one."
        )
    document = read_certificate(path)
    if document["bundle"].get("digest") != bundle.digest:
        raise VerdictError(
            f"{path} is of bundle {str(document['bundle'].get('digest'))[:12]}, and {bundle.folder} is"
            f" {bundle.digest[:12]}.",
            hint="measure this one with bench-engine --mode paced.",
        )
    if differences := binding_differences(document["fingerprint"], here):
        raise VerdictError(
            f"{path} was made on another device: {'; '.join(differences)}.",
            hint="measure on this one with bench-engine --mode paced.",
        )
    if flaw := _flaw(document):
        raise VerdictError(f"{path} does not support its claim: {flaw}.")
    return document


def _flaw(document: Mapping[str, Any]) -> str | None:
    frames, misses, budget_ms = document["frames"], document["misses"], document["budget_ms"]
    p99_ms, worst_ms = document["frame_to_mask"]["p99_ms"], document["frame_to_mask"]["worst_ms"]
    if document["claim"] != f"p99 frame to mask <= {budget_ms:g} ms":
        return f"the claim {document['claim']!r} is not about its budget of {budget_ms:g} ms"
    if misses:
        return f"{misses} frames missed the budget"
    if frames < P99_FRAMES:
        return f"it rests on {frames} frames, and a p99 takes {P99_FRAMES}"
    # Not `>`: a NaN has to fail too.
    if not p99_ms <= worst_ms <= budget_ms:
        return f"p99 is {p99_ms} ms and the worst {worst_ms} ms, of {budget_ms:g} ms"
    return None


def settle_certificate(bundle: Bundle, document: Mapping[str, Any], *, evidence: str, created: str) -> str:
    """Write the certificate that a measurement supports, or say why there is none; withdraw one that it refutes.

    A certificate is refuted by a paced measurement of the same bundle on the same device, at its rate or a lower one,
    in which a frame took longer than it claims or, through the server, got no mask. It is renamed and not removed:
    nothing that checks certificates takes it for one any more, and the record of what was claimed is kept. One that a
    measurement merely does not support, by too few frames, in another mode or on another device, stays.

    Args:
        bundle: what was measured.
        document: verify.json.
        evidence: SHA-256 of the file.
        created: UTC, ISO 8601.

    Returns:
        A line for people.

    Raises:
        BadInputError: the certificate cannot be written.
    """
    path = certificate_path(bundle.folder)
    if (reason := reason_for_none(document)) is None:
        write_json(path, certificate(document, evidence=evidence, created=created))
        share = largest_late_share(stream_of(document)[1]["frames"])
        return f"wrote {path}: at 99 % confidence fewer than {share:.2%} of frames are late"
    line = f"no certificate: {reason}"
    if path.is_file() and _refuted(path, document):
        path.replace(withdrawn_path(bundle.folder))
        line += f"; {path.name} no longer holds and is now {withdrawn_path(bundle.folder).name}"
    return line


def _refuted(path: Path, document: Mapping[str, Any]) -> bool:
    try:
        held = read_certificate(path)
    except BadInputError:
        return False  # not ours to judge
    _, stream, percentiles = stream_of(document)
    failed = stream["frames"] > stream.get("masks", stream["frames"])
    slow = percentiles is not None and percentiles["worst_ms"] > held["budget_ms"]
    return (
        document["frame_to_mask"]["mode"] == "paced"
        and held["bundle"].get("digest") == document["bundle"]["digest"]
        and not binding_differences(held["fingerprint"], document["fingerprint"])
        and document["fps"] <= held["fps"]
        and (slow or failed)
    )


def describe_certificate(document: Mapping[str, Any]) -> str:
    """A certificate that holds, in a line."""
    return (
        f"{document['claim']} on {device_name(document['fingerprint'])}: {document['frames']} frames at"
        f" {document['fps']:g} frames/s through the {document['through']}, none late, p99"
        f" {document['frame_to_mask']['p99_ms']:.1f} ms, worst {document['frame_to_mask']['worst_ms']:.1f} ms,"
        f" {document['created']}"
    )
