"""Services of which others have one of their own: `expand(services, say) -> services`.

    service neighbour over ...
      constant of : u32 = 0.0.0.0
      state left : u8
      ready = left != 0
    service greeter over ...
      constant to : u32 = 10.0.2.2
      use hop = neighbour(to)      # the service `greeter.hop`, whose `of` is this `to`
      speak when hop.ready

A name for an expression is gone behind this: where it stood, the expression stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from metaos.errors import Span, did_you_mean
from metaos.pattern import syntax as s
from metaos.pattern.parts import changed, replaced

Say = Callable[[str, str, Span, str], None]


def expand(services: Mapping[str, s.Service], say: Say) -> dict[str, s.Service]:
    """All services, those that are used by another right before it.

    `say(code, message, span, hint)` is told of services that do not exist or do not fit.
    """
    plain = {name: _spelled_out(service) for name, service in services.items()}
    found: dict[str, s.Service] = {}
    for name, service in plain.items():
        inside: dict[tuple[str, str], s.Expr] = {}
        for use in service.uses:
            model = plain.get(use.part)
            if model is None or model.uses or model is service:
                hint = did_you_mean(use.part, plain) if model is None else ""
                text = f"no service '{use.part}' to have one of" if model is None else (
                    f"'{use.part}' uses services itself"
                )  # fmt: skip
                say("E0201", text, use.span, hint)
            elif len(use.arguments) != len(model.constants):
                wanted = ", ".join(x.name for x in model.constants)
                text = f"'{model.name}' takes {len(model.constants)} numbers ({wanted})"
                say("E0208", f"{text}, given {len(use.arguments)}", use.span, "")
            else:
                own = _instance(model, service, use)
                found[own.name] = own
                inside |= {(use.name, key): at for key, at in _seen(own).items()}
        found[name] = _reached(service, inside) if inside else service
    return found


def _spelled_out(service: s.Service) -> s.Service:
    """A service in which every name of an expression is that expression."""
    names: dict[str, s.Expr] = {}
    for one in service.named:
        names[one.name] = replaced(one.value, names)
    if not names:
        return service
    named = tuple(replace(x, value=names[x.name]) for x in service.named)
    whole: s.Service = replaced(service, names)
    return replace(whole, named=named)


def _instance(model: s.Service, user: s.Service, use: s.Use) -> s.Service:
    """The service that a user has of a model; what the user's constants are, its own are."""
    own = {x.name: x for x in user.constants}
    constants: list[s.Constant] = []
    given: list[tuple[str, str]] = []
    for constant, argument in zip(model.constants, use.arguments, strict=True):
        if isinstance(argument, s.Name) and argument.text in own:
            given.append((constant.name, argument.text))
            argument = own[argument.text].value
        constants.append(replace(constant, value=argument))
    name = f"{user.name}.{use.name}"
    return replace(
        model, name=name, constants=tuple(constants), given=tuple(given), model=model.name
    )


def _seen(service: s.Service) -> dict[str, s.Expr]:
    """What a user may name of a service that it has: its states, constants and names."""
    first, *rest = service.name.split(".")
    own: s.Expr = s.Name(first, service.span)
    for part in rest:
        own = s.Member(own, part, service.span)
    names: dict[str, s.Expr] = {
        state.name: s.Member(own, state.name, service.span) for state in service.states
    }
    names |= {constant.name: constant.value for constant in service.constants}
    return names | {x.name: replaced(x.value, names) for x in service.named}


def _reached(node: Any, inside: Mapping[tuple[str, str], s.Expr]) -> Any:
    """`hop.ready` as what it stands for."""
    match node:
        case s.Member(of=s.Name(text=use), name=name) if (use, name) in inside:
            return replace(inside[use, name], span=node.span)
    return changed(node, lambda inner: _reached(inner, inside))
