"""The pattern language: text in, checked and resolved `Patterns` out."""
