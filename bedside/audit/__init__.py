"""The audit log: a hash-chained line per frame, written beside the frame path and never in it."""
