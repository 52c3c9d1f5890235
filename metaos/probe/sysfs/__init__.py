"""A machine as Linux shows it: `/sys`, `/proc` and `/dev`, live or copied into a folder."""
