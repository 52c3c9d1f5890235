"""The tests; folders as in metaos/."""
