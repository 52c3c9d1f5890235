"""Patterns and facts to straight lines: every constant known here is folded here."""
