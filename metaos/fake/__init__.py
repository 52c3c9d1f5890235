"""Devices as their patterns' `fake` blocks say, and the examples that run on them."""
