"""Names of PCI capabilities.

Source: PCI Code and ID Assignment Specification 1.11 §2 (capability ids), §3 (extended ones).
"""

from __future__ import annotations

from collections.abc import Mapping

CAPABILITIES: Mapping[int, str] = {
    0x01: "power management",
    0x02: "AGP",
    0x03: "vital product data",
    0x04: "slot identification",
    0x05: "MSI",
    0x06: "CompactPCI hot swap",
    0x07: "PCI-X",
    0x08: "HyperTransport",
    0x09: "vendor's own",
    0x0A: "debug port",
    0x0B: "CompactPCI resource control",
    0x0C: "hot plug",
    0x0D: "bridge subsystem ids",
    0x0E: "AGP 8x",
    0x0F: "secure device",
    0x10: "PCI Express",
    0x11: "MSI-X",
    0x12: "SATA registers",
    0x13: "advanced features",
    0x14: "enhanced allocation",
    0x15: "flattening portal bridge",
}
EXTENDED: Mapping[int, str] = {
    0x0001: "advanced error reporting",
    0x0002: "virtual channel",
    0x0003: "device serial number",
    0x0004: "power budgeting",
    0x0005: "root complex links",
    0x0006: "root complex internal link control",
    0x0007: "root complex event collectors",
    0x0008: "multi-function virtual channel",
    0x0009: "virtual channel",
    0x000A: "root complex registers",
    0x000B: "vendor's own",
    0x000D: "access control services",
    0x000E: "alternative routing ids",
    0x000F: "address translation",
    0x0010: "single-root virtualisation",
    0x0011: "multi-root virtualisation",
    0x0012: "multicast",
    0x0013: "page requests",
    0x0015: "resizable windows",
    0x0016: "dynamic power allocation",
    0x0017: "TPH requester",
    0x0018: "latency tolerance",
    0x0019: "secondary PCI Express",
    0x001B: "process address spaces",
    0x001D: "downstream port containment",
    0x001E: "L1 substates",
    0x001F: "precision time",
    0x0022: "readiness times",
    0x0023: "designated vendor's own",
    0x0024: "resizable windows of virtual functions",
    0x0025: "data link features",
    0x0026: "16 GT/s",
    0x0027: "lane margining",
    0x002A: "32 GT/s",
    0x002B: "alternate protocols",
    0x002E: "data object exchange",
}


def capability_name(number: int) -> str:
    return CAPABILITIES.get(number, f"capability {number:#04x}")


def extended_name(number: int) -> str:
    return EXTENDED.get(number, f"extended capability {number:#06x}")
