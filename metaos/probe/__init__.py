"""Stage 1: a machine, probed or read from its file, to a `Machine`."""
