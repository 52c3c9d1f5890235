"""The proof of the laws on finished bytes: `verify`, `audit` and `why`."""

from metaos.verify.audit import AuditReport, audit, measure, render
from metaos.verify.laws import LAWS, verify
from metaos.verify.report import Report, Violation
from metaos.verify.why import Origin, why

__all__ = [
    "LAWS",
    "AuditReport",
    "Origin",
    "Report",
    "Violation",
    "audit",
    "measure",
    "render",
    "verify",
    "why",
]
