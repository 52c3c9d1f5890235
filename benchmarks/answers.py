"""What an answer costs: instructions, branches, time. `python -m benchmarks.answers IMAGE [--json]`

Two boots: one without the plugin, for times; one with it, for counts. Frames travel over QEMU's
datagram network, so no privileges are needed. Exit 1 if a conditional branch was executed after
the hand-over, if anything but the phases ran then, or if an answer was wrong or lost.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Booted, Counters, Guest, booted, fail, median
from metaos.errors import MetaosError

SIZES = (0, 1, 17, 56, 333, 1000, 1472)
BOOT_SECONDS, ANSWER_SECONDS = 60.0, 2.0
IN_FLIGHT = 32
PAYLOAD = 56


def measure(image: Path, echoes: int, arguments: Sequence[str] = ()) -> dict[str, object]:
    """Boot twice and measure; `echoes` are sent one by one, ten times as many 32 in flight."""
    with booted(image, plugin=False, arguments=arguments) as machine:
        first = machine.wake(BOOT_SECONDS)
        wrong = _sizes(machine)
        times, lost = one_by_one(machine, echoes)
    with booted(image, plugin=True, arguments=arguments) as machine:
        machine.wake(BOOT_SECONDS)
        wrong += _sizes(machine)
        idle = _idle(machine)
        before, start = machine.counters(), time.perf_counter()
        answered, missing = in_flight(machine, 10 * echoes)
        seconds, after = time.perf_counter() - start, machine.counters()
    others = sum(after.owners[name].instructions for name in ("stray", "outside"))
    return {
        "first_answer_ms": round(first * 1000, 1),
        "round_trip_us_p50": round(median(times) * 1e6, 1),
        "wrong_or_unanswered": sorted(set(wrong)),
        "echoes_one_by_one": echoes,
        "lost_one_by_one": lost,
        "echoes_in_flight": 10 * echoes,
        "lost_in_flight": missing,
        "instructions_per_answering_turn": round(
            _steady(before, after) / max(turns_between(before, after), 1), 2
        ),
        "turns_per_echo_with_idle_ones": round(turns_between(before, after) / max(answered, 1), 1),
        "echoes_per_second": round(answered / seconds),
        "idle_turns_per_second": idle,
        "conditional_branches_after_handover": after.branches_after,
        "instructions_outside_the_phases": others,
    }


def _steady(before: Counters, after: Counters) -> int:
    return after.owners["steady"].instructions - before.owners["steady"].instructions


def turns_between(before: Counters, after: Counters) -> int:
    """Steady turns from one look at the counters to the next."""
    return after.steady_turns - before.steady_turns


def _sizes(machine: Booted) -> list[str]:
    """Ask both echoes with every size; which were not answered rightly."""
    pick, host, wrong = random.Random(1), machine.host, []
    for size in SIZES:
        data = pick.randbytes(size)

        def icmp(answer: bytes, data: bytes = data) -> bool:
            return host.answers_icmp(answer, 9, data)

        def udp(answer: bytes, data: bytes = data) -> bool:
            return host.answers_udp(answer, data)

        if machine.ask(host.icmp(9, data), icmp, ANSWER_SECONDS) is None:
            wrong.append(f"icmp {size}")
        if machine.ask(host.udp(data), udp, ANSWER_SECONDS) is None:
            wrong.append(f"udp {size}")
    return wrong


def one_by_one(machine: Guest, echoes: int) -> tuple[list[float], int]:
    """Round-trip times in seconds, and how many answers were lost."""
    times, lost, data = [], 0, bytes(PAYLOAD)
    for number in range(echoes):

        def right(answer: bytes, number: int = number) -> bool:
            return machine.host.answers_icmp(answer, number, data)

        took = machine.ask(machine.host.icmp(number, data), right, ANSWER_SECONDS)
        if took is None:
            lost += 1
        else:
            times.append(took)
    return times, lost


def _idle(machine: Booted) -> int:
    """Steady turns a second with nothing on the wire, with the plugin's own cost in them."""
    before, start = machine.counters(), time.perf_counter()
    time.sleep(0.5)
    return round(turns_between(before, machine.counters()) / (time.perf_counter() - start))


def in_flight(machine: Guest, echoes: int) -> tuple[int, int]:
    """Keep 32 echoes of 56 bytes under way; how many were answered rightly, and how many never.

    A frame for an answer: the machine has no more than 32 of them at once.
    """
    host, data = machine.host, bytes(range(PAYLOAD))
    waiting: set[int] = set()
    sent = answered = 0
    while answered < echoes:
        while sent < echoes and len(waiting) < IN_FLIGHT:
            if machine.wire.send(host.icmp(sent & 0xFFFF, data)):
                waiting.add(sent & 0xFFFF)
                sent += 1
        frame = machine.wire.receive(ANSWER_SECONDS)
        if frame is None:
            break
        number = int.from_bytes(frame[40:42], "big")
        if number in waiting and host.answers_icmp(frame, number, data):
            waiting.discard(number)
            answered += 1
    return answered, echoes - answered


def broken(result: dict[str, object]) -> list[str]:
    """What makes a result no proof of a machine that answers without branches."""
    zero = (
        "conditional_branches_after_handover",
        "instructions_outside_the_phases",
        "lost_one_by_one",
        "lost_in_flight",
    )
    found = [f"{name} is {result[name]}" for name in zero if result[name]]
    if result["wrong_or_unanswered"]:
        found.append(f"not answered rightly: {result['wrong_or_unanswered']}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("-n", "--echoes", type=int, default=500, help="echoes one by one")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("arguments", nargs="*", help="for QEMU, after --")
    options = parser.parse_args()
    try:
        result = measure(options.image, options.echoes, options.arguments)
    except MetaosError as error:
        fail(error)
    if options.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{name:38} {value}" for name, value in result.items()))
    problems = broken(result)
    raise SystemExit("; ".join(problems) if problems else 0)


if __name__ == "__main__":
    main()
