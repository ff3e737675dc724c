"""What `serve-mrd` lets an engine process do unless its options say otherwise."""

KEEP_WARM_MS = 500.0
"""Idle time after which it segments a frame of noise."""
HANG_MS = 2000.0
"""Time without a sign of life after which it is killed."""
SHORTEST_HANG_MS = 500.0
"""An idle engine gives a sign of life every 100 ms, and the one who listens looks as often."""
