"""Questions for a booted machine, made from the `example`s of its services, and their judge.

questions = questions_of("echo", services, layouts, given, seed=0)
wire.send(questions[0].sent)
judge(questions[0], answer)     # "" if the answer is right, else what is wrong with it
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from dataclasses import dataclass

from metaos.boot.frames import (
    Chain,
    Given,
    Layer,
    TooShortError,
    Value,
    View,
    chain_of,
    path_of,
    write_field,
)
from metaos.errors import MetaosError, Problem, Span
from metaos.pattern import syntax

_PASSES = 8


@dataclass(frozen=True, slots=True)
class Question:
    """One frame to send, and what must come back.

    `view` is the whole frame; `sent` is what goes out, which may be cut short. `length` is
    that of a right answer. Without `answers`, silence is the right answer. With `onward`, the
    answer is what goes out of the other card, whose headers that chain says.
    """

    service: str
    title: str
    payload: int | None
    view: View
    sent: bytes
    length: int
    answers: tuple[syntax.Expr, ...]
    onward: Chain | None = None

    @property
    def name(self) -> str:
        size = "" if self.payload is None else f", {self.payload} bytes"
        return f"{self.title}{size}"


def questions_of(
    name: str,
    services: Mapping[str, syntax.Service],
    layouts: Mapping[str, syntax.Layout],
    given: Given,
    *,
    seed: int,
) -> tuple[Question, ...]:
    """Every question in the examples of the service `name`, in the pattern's order.

    Payloads are pseudo-random from `seed`. Raises MetaosError as `ask` does.
    """
    chain = chain_of(name, services, layouts)
    return tuple(
        _passed(ask(chain, example, payload, given, seed=seed), example, layouts)
        for example in asking(services[name])
        for payload in sizes(example)
    )


def asking(service: syntax.Service) -> tuple[syntax.Example, ...]:
    """The examples of a service that ask something."""
    return tuple(example for example in service.examples if example.said is None)


def sizes(example: syntax.Example) -> tuple[int | None, ...]:
    """The payloads to ask with, in bytes; only None where the example names none."""
    return example.payloads if any(example.payloads) else (None,)


def ask(
    chain: Chain, example: syntax.Example, payload: int | None, given: Given, *, seed: int
) -> Question:
    """Build the question that `example` describes, `payload` bytes long behind the headers.

    Fields are computed from each other, so the rules are applied until nothing changes; a
    field counts as 0 while it is computed, as checksums want it.

    Raises:
        MetaosError: a rule that means nothing, does not fit its field or never settles.
    """
    service = chain.layers[-1].service
    draw = random.Random(f"{seed}/{service.name}/{example.title}/{payload}")
    frame = bytes(chain.size) + draw.randbytes(payload or 0)
    own = len(chain.layers) - 1
    rules = _rules(chain, example)
    for _ in range(_PASSES):
        before = frame
        for (index, name), (value, seen_from) in rules.items():
            view = View(chain, seen_from, frame, len(frame), given, blank=(index, name))
            frame = write_field(frame, chain.layers[index], name, _number(view, value, index, name))
        if frame == before:
            break
    else:
        raise _wrong("the fields of this question never settle", example.span)
    view = View(chain, own, frame, len(frame), given)
    sent = frame[: example.cut] if example.cut is not None else frame
    length = 0 if example.silence else _answer_length(view)
    answers = () if example.silence else tuple(p for a in example.answers for p in conjuncts(a))
    return Question(service.name, example.title, payload, view, sent, length, answers)


def judge(question: Question, answer: bytes) -> str:
    """What is wrong with `answer`; empty if it is right.

    A field that no `reply` names must be as it was asked. Behind the answer's length zeros
    may follow: some cards pad short frames.
    """
    if len(answer) < question.length:
        return f"{len(answer)} bytes came back, {question.length} were expected"
    if any(answer[question.length :]):
        return f"{len(answer) - question.length} bytes too many came back, not zeros"
    asked = question.view
    view = dataclasses.replace(asked, frame=answer, extent=question.length, asked=asked)
    if question.onward is not None:
        own = len(question.onward.layers) - 1
        view = dataclasses.replace(view, chain=question.onward, own=own)
    for condition in question.answers:
        try:
            if view.evaluate(condition) == Value(0, 1):
                return _explain(view, condition)
        except TooShortError as error:
            return f"the answer ends before {error}"
    return _changed(view, asked) if question.onward is None else ""


def _passed(
    question: Question, example: syntax.Example, layouts: Mapping[str, syntax.Layout]
) -> Question:
    """The question with what goes out of the other card, if the example says that it does."""
    if not example.passed:
        return question
    chain = question.view.chain
    onward = _onward(chain, layouts)
    length = len(question.view.frame) + onward.size - chain.size
    return dataclasses.replace(question, onward=onward, length=length)


def _onward(chain: Chain, layouts: Mapping[str, syntax.Layout]) -> Chain:
    """The headers of a frame that the last service passes on: as they were, or its layout alone."""
    service = chain.layers[-1].service
    name = service.passing.layout if service.passing is not None else ""
    layout = next((x for x in service.layouts if x.name == name), layouts.get(name))
    return chain if layout is None else Chain((Layer(service, layout, 0),))


def _changed(answer: View, asked: View) -> str:
    """The first field that changed although no `reply` says so; empty if none did."""
    above = {x.field for layer in answer.chain.layers for x in layer.service.reply}
    for index, layer in enumerate(answer.chain.layers):
        named = {assignment.field for assignment in layer.service.reply}
        named |= {x.rpartition(".")[2] for x in above if x.startswith(f"{layer.service.name}.")}
        for field in layer.layout.fields if layer.layout else ():
            found, was = answer.field(index, field), asked.field(index, field)
            if field.name not in named and found != was:
                name = f"{layer.service.name}.{field.name}"
                return f"{name} is 0x{found:x}, 0x{was:x} was asked, and no reply names it"
    return ""


def _rules(chain: Chain, example: syntax.Example) -> dict[tuple[int, str], tuple[syntax.Expr, int]]:
    """Field (layer, name) -> its value and the layer that says so, the example's word last.

    A service's `where F == V` says what F of the service below must be.
    """
    rules: dict[tuple[int, str], tuple[syntax.Expr, int]] = {}
    for index, layer in enumerate(chain.layers):
        for condition in conjuncts(layer.service.where) if layer.service.where else ():
            match condition:
                case syntax.Binary(operator="==", left=syntax.Name() as name, right=value):
                    rules[_target(chain, index - 1, path_of(name), name.span)] = value, index - 1
        for asked in layer.service.ask:
            rules[_target(chain, index, asked.path, asked.span)] = asked.value, index
    own = len(chain.layers) - 1
    for asked in example.changes:
        rules[_target(chain, own, asked.path, asked.span)] = asked.value, own
    return rules


def _target(chain: Chain, own: int, path: tuple[str, ...], span: Span) -> tuple[int, str]:
    """The layer and field that `path` names, seen from layer `own`."""
    index = chain.index(".".join(path[:-1])) if len(path) > 1 else own
    layer = chain.layers[index] if index is not None and index >= 0 else None
    if layer is None or layer.layout is None or layer.layout.field(path[-1]) is None:
        raise _wrong(f"'{'.'.join(path)}' is no field of this frame", span)
    assert index is not None
    return index, path[-1]


def _number(view: View, value: syntax.Expr, index: int, name: str) -> int:
    """`value` as a number that fits the field it is for."""
    layout = view.chain.layers[index].layout
    field = layout.field(name) if layout else None
    result = view.evaluate(value)
    assert field is not None
    if isinstance(result, bytes):
        raise _wrong(f"'{name}' is a number, this is bytes", value.span)
    if not 0 <= result.number < 1 << field.bits:
        raise _wrong(f"{result.number} does not fit the {field.bits} bits of '{name}'", value.span)
    return result.number


def _answer_length(view: View) -> int:
    """How long the answer is, by the `send` nearest to the service; else as the question."""
    for index in range(view.own, -1, -1):
        send = view.chain.layers[index].service.send
        if send is not None:
            result = view.at(index).evaluate(send)
            assert isinstance(result, Value)
            return result.number
    return len(view.frame)


def conjuncts(expression: syntax.Expr) -> tuple[syntax.Expr, ...]:
    """What all has to hold for `expression` to hold."""
    match expression:
        case syntax.Binary(operator="&", left=left, right=right):
            return (*conjuncts(left), *conjuncts(right))
    return (expression,)


def _explain(view: View, condition: syntax.Expr) -> str:
    """Say which condition failed, and what was found where it is a comparison."""
    match condition:
        case syntax.Binary(operator=operator, left=left, right=right):
            found, wanted = view.evaluate(left), view.evaluate(right)
            return f"{condition.span}: {_show(found)} {operator} {_show(wanted)} does not hold"
    return f"{condition.span}: does not hold"


def _show(value: Value | bytes) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes {value[:16].hex()}{'...' if len(value) > 16 else ''}"
    return f"0x{value.number:x}" if value.number > 9 else str(value.number)


def _wrong(message: str, span: Span) -> MetaosError:
    return MetaosError(
        "the examples of the patterns cannot be run", problems=[Problem("E0702", message, span)]
    )
