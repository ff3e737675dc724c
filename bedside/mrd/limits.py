"""How much a peer may ask for. Each limit is an option of `serve-mrd`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Checked before memory is reserved or work is done."""

    max_text_bytes: int
    """XML header, text, or the attributes of an image."""
    max_image_bytes: int
    """Pixels of one image."""
    max_held_bytes: int
    """Pixels and attributes of one client's slices that wait for the rest of their frames, and pixels of its gated
    frames that wait for the engine."""
    max_images_per_s: float
    """Above it the server reads no faster, so that the client's own sending waits."""
    max_slices: int
    """In a frame."""
    idle_s: float
    """Without a message."""
    stall_s: float
    """From the first byte of a message to its last, in either direction."""
