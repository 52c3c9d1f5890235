"""What a flood on one card does to the others. `python -m benchmarks.fairness IMAGE [--json]`

For each card in turn: 32 echoes are kept in flight on it, without a pause, while every other card
is asked one echo after the other. How many of those were lost, and their median round trip beside
that without a flood. Every card has a wire of its own; frames travel over QEMU's datagram network.
Exit 1 if an answer of a card that was not flooded was lost or wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import selectors
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.harness import Wire, fail, median
from benchmarks.packets import Host
from metaos.boot import found
from metaos.boot.network import connect_each, count_cards, free_datagrams, network_cards
from metaos.boot.qemu import Qemu
from metaos.boot.target import QEMU, command, load_target
from metaos.errors import MetaosError
from metaos.link.image import read_image
from metaos.link.manifest import Served

IN_FLIGHT = 32
PAYLOAD = bytes(range(56))
BOOT_SECONDS, ANSWER_SECONDS = 60.0, 2.0
_ARP_SECONDS = 0.2
_AT_MOST = 100
"""A flood ends at this many times its least, whatever is still asked."""


class Flood(msgspec.Struct, frozen=True, kw_only=True):
    """One card flooded: frames it was sent and answered, and how the others fared.

    Round trips are medians in microseconds, without the flood and during it.
    """

    card: str
    flooded: int
    flood_answered: int
    asked: int
    lost: int
    wrong: int
    quiet_us_p50: float
    round_trip_us_p50: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    in_flight: int
    floods: tuple[Flood, ...]


class End:
    """Our end of one card's wire, and the machine that has the card."""

    def __init__(self, card: str, wire: Wire, host: Host, vm: Qemu) -> None:
        self.card, self.wire, self.host, self.vm = card, wire, host, vm

    def wake(self, until: float) -> None:
        """Ask for its address until it answers. Raises MetaosError if it does not in time."""
        while time.monotonic() < until:
            if self.vm.returncode is not None:
                raise self.vm.death("while it booted")
            self.wire.send(self.host.arp())
            end = time.monotonic() + _ARP_SECONDS
            while (left := end - time.monotonic()) > 0:
                answer = self.wire.receive(left)
                if answer is not None and self.host.learn(answer):
                    return
        raise MetaosError(f"{self.card} did not answer at {self.host.guest_ip}")

    def drain(self) -> None:
        """Take late answers from the wire."""
        while self.wire.receive(_ARP_SECONDS) is not None:
            pass


class Flooder:
    """Keeps echoes in flight on one card: `least` of them, more while others are asked."""

    def __init__(self, end: End, least: int) -> None:
        self.end, self.least, self.most = end, least, _AT_MOST * least
        self.sent = self.answered = 0
        self.waiting: set[int] = set()
        self.heard = time.monotonic()

    def fill(self) -> None:
        """Send what is missing; echoes that nobody answered for long are given up."""
        if self.waiting and time.monotonic() - self.heard > ANSWER_SECONDS:
            self.waiting.clear()
            self.heard = time.monotonic()
        while len(self.waiting) < IN_FLIGHT and self.sent < self.most:
            number = self.sent & 0xFFFF
            if not self.end.wire.send(self.end.host.icmp(number, PAYLOAD)):
                return
            self.waiting.add(number)
            self.sent += 1

    def take(self, frame: bytes) -> None:
        number = int.from_bytes(frame[40:42], "big")
        if number in self.waiting and self.end.host.answers_icmp(frame, number, PAYLOAD):
            self.waiting.discard(number)
            self.answered += 1
            self.heard = time.monotonic()


class Asker:
    """Asks one card, one echo after the other: `echoes`, more while the flood is not over."""

    def __init__(self, end: End, echoes: int, flooder: Flooder | None) -> None:
        self.end, self.echoes, self.flooder = end, echoes, flooder
        self.times: list[float] = []
        self.asked = self.lost = self.wrong = 0
        self.start = 0.0
        self.done = False

    def next(self) -> None:
        flooding = self.flooder is not None and self.flooder.sent < self.flooder.least
        self.done = self.asked >= self.echoes and not flooding
        if not self.done:
            self.asked += 1
            self.start = time.perf_counter()
            self.end.wire.send(self.end.host.icmp(self.asked & 0xFFFF, PAYLOAD))

    def take(self, frame: bytes) -> None:
        if self.end.host.answers_icmp(frame, self.asked & 0xFFFF, PAYLOAD):
            self.times.append(time.perf_counter() - self.start)
            self.next()
        else:
            self.wrong += 1

    def give_up(self) -> None:
        """Count an echo as lost that is not answered in time."""
        if not self.done and time.perf_counter() - self.start > ANSWER_SECONDS:
            self.lost += 1
            self.next()


def measure(image: Path, *, echoes: int, frames: int, arguments: Sequence[str] = ()) -> Result:
    """Flood each card in turn with `frames` or more; ask every other `echoes` times or more."""
    with booted(image, arguments) as ends:
        if len(ends) < 2:
            raise MetaosError(f"{image} serves one card; a flood needs another to ask")
        return Result(in_flight=IN_FLIGHT, floods=flooded(ends, echoes, frames))


def flooded(ends: Sequence[End], echoes: int, frames: int) -> tuple[Flood, ...]:
    """Each card in turn flooded, and the others asked."""
    floods = []
    for one in ends:
        others = [end for end in ends if end is not one]
        quiet = _ask(others, echoes, None)
        flooder = Flooder(one, frames)
        asked = _ask(others, echoes, flooder)
        one.drain()
        floods.append(_report(flooder, quiet, asked))
    return tuple(floods)


def _report(flooder: Flooder, quiet: Sequence[Asker], asked: Sequence[Asker]) -> Flood:
    return Flood(
        card=flooder.end.card,
        flooded=flooder.sent,
        flood_answered=flooder.answered,
        asked=sum(asker.asked for asker in asked),
        lost=sum(asker.lost for asker in (*quiet, *asked)),
        wrong=sum(asker.wrong for asker in (*quiet, *asked)),
        quiet_us_p50=_microseconds(quiet),
        round_trip_us_p50=_microseconds(asked),
    )


def _microseconds(askers: Sequence[Asker]) -> float:
    return round(median([t for asker in askers for t in asker.times]) * 1e6, 1)


def _ask(ends: Sequence[End], echoes: int, flooder: Flooder | None) -> list[Asker]:
    """Ask every end at the same time, under the flood if there is one, until all are done."""
    askers = [Asker(end, echoes, flooder) for end in ends]
    with selectors.DefaultSelector() as ready:
        parts: list[Asker | Flooder] = [*askers, *([flooder] if flooder else [])]
        for one in parts:
            ready.register(one.end.wire.socket, selectors.EVENT_READ, one)
        for asker in askers:
            asker.next()
        while not all(asker.done for asker in askers):
            if flooder:
                flooder.fill()
            for key, _ in ready.select(_ARP_SECONDS):
                frame = key.data.end.wire.receive(0)
                if frame is not None:
                    key.data.take(frame)
            for asker in askers:
                asker.give_up()
    return askers


@contextlib.contextmanager
def booted(path: Path, arguments: Sequence[str] = ()) -> Iterator[list[End]]:
    """Boot an image under TCG with a wire for each card; all cards answer inside the block."""
    provenance = read_image(path).manifest.provenance
    emulator, cards = provenance.emulator, network_cards(QEMU)
    served = [device for device in provenance.devices if device.offers]
    if emulator is None:
        raise MetaosError(f"{path} was not made for a machine of QEMU's")
    words = (*emulator.arguments, *arguments)
    line = command(load_target(emulator.target), words, image=path, accel="tcg")
    if count_cards(line, cards) != len(served):
        raise MetaosError(f"{path} serves {len(served)} cards, and the machine has others")
    with contextlib.ExitStack() as stack:
        datagrams = [free_datagrams(number) for number in range(len(served))]
        wires = [stack.enter_context(contextlib.closing(Wire(one))) for one in datagrams]
        connected = connect_each(line, [one.backend for one in datagrams], cards)
        vm = stack.enter_context(Qemu([*connected, "-monitor", "none", "-no-reboot"]))
        yield _awake(vm, wires, served)


def _awake(vm: Qemu, wires: Sequence[Wire], served: Sequence[Served]) -> list[End]:
    until = time.monotonic() + BOOT_SECONDS
    at = _networks(vm, served, until)
    ends = []
    for device in served:
        wire = wires[int(at[device.address].removeprefix("net"))]
        ends.append(End(device.address, wire, Host(device.interface.partition("/")[0]), vm))
        ends[-1].wake(until)
    for end in ends:
        end.drain()
    return ends


def _networks(vm: Qemu, served: Sequence[Served], until: float) -> dict[str, str]:
    """The network of each card by its address. One card has no id to find it by, and needs none."""
    if len(served) == 1:
        return {served[0].address: "net0"}
    while time.monotonic() < until:
        netdevs = found.netdevs(vm.hmp("info network"))
        at = {
            address: netdevs[name]
            for name, address in found.pci_addresses(vm.command("query-pci")).items()
            if name in netdevs
        }
        if all(device.address in at for device in served):
            return at
        time.sleep(_ARP_SECONDS)
    raise MetaosError("the machine lacks a card that the image serves")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument(
        "-n", "--echoes", type=int, default=500, help="for each other card, at least"
    )
    parser.add_argument("--frames", type=int, default=5000, help="of a flood, at least")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("arguments", nargs="*", help="for QEMU, after --")
    options = parser.parse_args()
    try:
        result = measure(
            options.image, echoes=options.echoes, frames=options.frames, arguments=options.arguments
        )
    except MetaosError as error:
        fail(error)
    if options.json:
        print(msgspec.json.encode(result).decode())
    else:
        for flood in result.floods:
            print(
                f"{flood.card} flooded with {flood.flooded}, {flood.flood_answered} answered; "
                f"the others: {flood.lost} of {flood.asked} lost, {flood.wrong} wrong, median "
                f"{flood.round_trip_us_p50} us ({flood.quiet_us_p50} us without the flood)"
            )
    bad = [flood.card for flood in result.floods if flood.lost or flood.wrong]
    raise SystemExit(f"lost or wrong while flooded: {', '.join(bad)}" if bad else 0)


if __name__ == "__main__":
    main()
