"""Examples that run asleep: the fakes interrupt, and a rule that would lose a wake-up fails."""

from __future__ import annotations

import re
from functools import cache

import pytest

from metaos import resources
from metaos.errors import Source
from metaos.fake import examples
from metaos.fake.prepare import interrupts
from metaos.match.bind import offers
from metaos.match.system import read_system
from metaos.pattern.parse import parse
from metaos.pattern.patterns import Patterns, load, resolve

pytestmark = pytest.mark.long


@cache
def ours() -> Patterns:
    return load([resources.PATTERNS])


def changed(file: str, old: str, new: str) -> Patterns:
    """Our patterns with `old` of a file, whatever its columns, replaced."""
    source = ours().sources[file]
    text, count = re.subn(r"\s+".join(map(re.escape, old.split())), new, source.text)
    assert count == 1
    broken = Source(file, text)
    files = tuple(parse(broken) if f.name == file else f for f in ours().files)
    return resolve(files, {**ours().sources, file: broken})


def failures(name: str, patterns: Patterns) -> set[str]:
    """What is said of a rule's examples that fail asleep, in the interpreter."""
    bench = examples.Bench(patterns, read_system(), ("interpreter",))
    tested = examples.test_device(patterns.devices[name], bench)
    assert tested.asleep
    return {x.detail for x in tested.failed if x.engine == "interpreter, asleep"}


def test_every_card_runs_asleep() -> None:
    cards = [p for p in ours().devices.values() if offers(p) and not p.abstract]
    assert len(cards) > 20
    assert all(interrupts(card) for card in cards)


FOREVER = "then it does not fall asleep in 300 turns"
LOST = "expected 60 bytes sent, found nothing sent"
BROKEN = {
    "a line is not acknowledged": (
        "net/realtek_rings.pattern", "ISR <- { ROK }", "ISR <- 0", "rtl8139cp", FOREVER),
    "a message is not acknowledged": (
        "net/realtek_rings.pattern", "ISR <- { ROK }", "ISR <- 0", "rtl8168",
        "then it sleeps, and its interrupt is not acknowledged"),
    "the look is the wrong way round": (
        "net/realtek_rings.pattern", "wake when !rx'", "wake when rx'", "rtl8168", FOREVER),
    "it is acknowledged behind the look": (
        "net/realtek_rings.pattern",
        "ISR <- { ROK } _flushed = ISR wake when !rx'[head'].OWN",
        "wake when !rx'[head'].OWN\n      ISR <- { ROK }", "rtl8139cp",
        "a frame comes before access 2 of a turn: it sleeps, and a frame waits"),
    "all is masked": (
        "net/rtl8168.pattern", "IMR <- { ROK = system.halt }", "IMR <- 0", "rtl8168", LOST),
    "frames that begin to be sent are not masked": (
        "net/pcnet.pattern", "JABM, TXSTRTM, RCVCCOM, MFCOM }\n    RAP", "JABM }\n    RAP", "pcnet",
        FOREVER),
    "a read that acknowledges is left out": (
        "net/i8254x.pattern", "_cause = ICR", "_cause = IMS", "i82540em", FOREVER),
    "the vector stays masked": (
        "net/virtio_net_pci.pattern", "VECTOR[3] <- 0", "VECTOR[3] <- 1", "virtio_net_modern",
        LOST),
    "no interrupt is asked for with the next frame": (
        "net/virtio_net.pattern", "rx.used_event[0].idx <- rx.seen'", "rx.used_event[0].idx <- 77",
        "virtio_net_modern", LOST),
    "the 8255x forgets no cause": (
        "net/i8255x.pattern", "ACK <- status[15:8] | 0xEF", "ACK <- 0", "i82559c", FOREVER),
    "the NE2000 looks the wrong way round": (
        "net/ne2000.pattern", "wake when last != next'", "wake when last == next'", "ne2000",
        FOREVER),
    "the 21143 forgets no cause": (
        "net/dec21143.pattern", "CSR5 <- { RI, NIS }", "CSR5 <- 0", "dec21143", FOREVER),
    "nobody looks": (
        "net/vmxnet3.pattern", "wake when came'[seen'[6:0]].gen != seen'[7]",
        "wake when came'[seen'[6:0]].gen != seen'[7] & seen'[7]", "vmxnet3",
        "expected 60, 600 bytes sent, found 60 bytes sent"),
}  # fmt: skip


QUICK = (
    "a message is not acknowledged",
    "it is acknowledged behind the look",
    "the look is the wrong way round",
    "all is masked",
)


@pytest.mark.parametrize(
    "what",
    [what if what in QUICK else pytest.param(what, marks=pytest.mark.slow) for what in BROKEN],
)
def test_a_rule_that_oversleeps_or_never_sleeps_fails(what: str) -> None:
    file, old, new, name, said = BROKEN[what]
    found = failures(name, changed(file, old, new))
    assert said in found
