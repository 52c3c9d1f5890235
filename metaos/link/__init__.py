"""The linker: `Parts` to an `Image` with its manifest and account."""
