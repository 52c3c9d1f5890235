"""`probe_sysfs(root)`: a `Machine` out of a live Linux ("/") or of a tree copied from one.

Read without root, much of it is unknown; a copied tree lacks what was not copied. Each such
fact is in `Machine.unknown` with the file that is to blame.
"""

from __future__ import annotations

from pathlib import Path

from metaos.errors import MetaosError
from metaos.probe.machine import SCHEMA, Machine
from metaos.probe.sysfs.firmware import read_ports, read_tables
from metaos.probe.sysfs.memory import read_memory
from metaos.probe.sysfs.networks import read_networks
from metaos.probe.sysfs.pci import read_functions
from metaos.probe.sysfs.processor import read_cpu
from metaos.probe.sysfs.tree import Gaps, Tree


def probe_sysfs(root: Path) -> Machine:
    """Read everything that the tree has of the machine.

    Raises:
        MetaosError: there is no tree, or it holds neither PCI functions nor a processor.
    """
    if not root.is_dir():
        what = "not a folder" if root.exists() else "no such folder"
        raise MetaosError(
            f"{root}: {what}", hint="--root names the folder in which sys/ and proc/ are"
        )
    tree, gaps = Tree(root), Gaps()
    functions = read_functions(tree, gaps)
    cpu = read_cpu(tree, gaps)
    if not functions and not cpu.leaves and not cpu.flags:
        reasons = [f"  {fact.what}: {fact.reason}" for fact in gaps.unknown()]
        raise MetaosError(
            "\n".join(
                [f"{root}: no machine in it: neither PCI functions nor a processor", *reasons]
            ),
            hint="--root names the folder in which sys/ and proc/ are",
        )
    return Machine(
        schema=SCHEMA,
        cpu=cpu,
        memory=read_memory(tree, gaps),
        functions=functions,
        legacy=read_ports(tree, functions, gaps),
        acpi=read_tables(tree, gaps),
        networks=read_networks(tree, functions, gaps),
        learnt=(),
        unknown=gaps.unknown(),
    )
