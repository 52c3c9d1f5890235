"""The syntax tree of pattern files: frozen nodes, each with the `Span` it came from.

Widths are in bits, sizes and offsets in bytes.
"""

from metaos.pattern.syntax.declarations import *  # noqa: F403
from metaos.pattern.syntax.devices import *  # noqa: F403
from metaos.pattern.syntax.expressions import *  # noqa: F403
from metaos.pattern.syntax.file import *  # noqa: F403
from metaos.pattern.syntax.services import *  # noqa: F403
from metaos.pattern.syntax.steps import *  # noqa: F403
from metaos.pattern.syntax.trials import *  # noqa: F403
