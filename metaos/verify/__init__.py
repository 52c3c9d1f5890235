"""The proof of the laws on finished bytes: `verify`; beside it `audit.audit` and `why.why`."""

from metaos.verify.laws import LAWS, verify
from metaos.verify.report import Report, Violation

__all__ = ["LAWS", "Report", "Violation", "verify"]
