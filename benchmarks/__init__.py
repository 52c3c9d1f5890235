"""The project's own measurements: docs/benchmarks.md says what each number means."""
