"""What a process of `tests.command` has loaded before it begins: MetaOS, and its patterns."""

import importlib
import pkgutil

import metaos
from metaos import resources
from metaos.pattern.patterns import load

for module in pkgutil.walk_packages(metaos.__path__, "metaos."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
load([resources.PATTERNS])
