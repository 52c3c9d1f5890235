"""Systems that several tests build images for."""

from msgspec.structs import replace

from metaos.match.system import System, read_system

POLLED: System = replace(read_system(), idle="poll")
"""The default system, but it never sleeps: each turn of the steady phase runs into the next."""
