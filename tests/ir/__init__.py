"""Tests of the IR tools."""
