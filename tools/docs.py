"""Write the parts of README.md, docs/ and metaos/explanations.md that are made from other things.

    python tools/docs.py            # write them anew
    python tools/docs.py --check    # exit 1, naming them, if some are not current

A made part lies between `<!-- made: NAME WORDS -->` and `<!-- end -->`. Figures and code are
those of the machine in tests/data/machines/pc-e1000.json, recorded from the default target.
The TextMate grammar in editors/ is made, too.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

from metaos import pipeline, resources
from metaos.boot.target import load_target, targets
from metaos.cli_patterns_text import patterns_data
from metaos.errors import Exit, MetaosError, Problem, Source
from metaos.explain import explanations
from metaos.link.image import Image
from metaos.match.system import read_system
from metaos.pattern.check import check
from metaos.pattern.ebnf import sections
from metaos.pattern.keywords import GRAMMAR
from metaos.pattern.parse import parse
from metaos.pattern.patterns import Patterns, resolve
from metaos.pattern.textmate import textmate
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine
from metaos.verify.audit import AuditReport, measure
from metaos.verify.decode import ledger, straight_lines
from tools import devices as tested

ROOT = Path(__file__).parents[1]
MACHINE = ROOT / "tests" / "data" / "machines" / "pc-e1000.json"
EXAMPLES = ROOT / "tests" / "pattern" / "errors"
EXPLANATIONS = ROOT / "metaos" / "explanations.md"
TEXTMATE = ROOT / "editors" / "metaos-pattern.tmLanguage.json"
CARD = "00:03.0"
_MADE = re.compile(r"(<!-- made: (\w+)([^\n]*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_CODE = re.compile(r"E\d{4}")


def documents() -> list[Path]:
    pages = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", EXPLANATIONS, *pages]


def current(text: str) -> str:
    """A document's text with every made part made anew."""

    def make(match: re.Match[str]) -> str:
        start, name, words, _, end = match.groups()
        body = "\n".join(PARTS[name](*words.split()))
        return f"{start}\n{body.strip()}\n\n{end}"

    return _MADE.sub(make, text)


@cache
def loaded() -> Patterns:
    return pipeline.read_patterns([resources.PATTERNS])


@cache
def machine() -> Machine:
    return read_machine(MACHINE)


@cache
def image() -> Image:
    return pipeline.build(machine(), system=read_system())


@cache
def report() -> AuditReport:
    return measure(image(), "image")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in row)} |"


# ---- what is supported ------------------------------------------------------------------


def classes() -> Iterator[str]:
    """The devices that have a pattern, by class."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for data in patterns_data(loaded())["devices"]:
        found[data["class"]].append(f"[{data['name']}](patterns/{data['file']})")
    rows = [(f"`{name}`", ", ".join(found[name])) for name in sorted(found)]
    yield from table(("class", "devices"), rows)


def devices() -> Iterator[str]:
    """Every device that has a pattern, and where it is tested; for a page of docs/."""
    rows = [
        data | {"about": _about(data["name"]), "link": _link(data["file"], "../")}
        for data in patterns_data(loaded())["devices"]
    ]
    yield from table(tested.HEADER, list(tested.tested(rows)))


def without() -> Iterator[str]:
    """QEMU's network devices that have no pattern."""
    yield from table(("QEMU's name", "why not"), list(tested.without()))


def services() -> Iterator[str]:
    """The services, and how many questions `metaos test` has for each."""
    rows = [
        (f"`{d['name']}`", f"`{d['over']}`", d["examples"] or "", _link(d["file"]))
        for d in patterns_data(loaded())["services"]
    ]
    yield from table(("service", "over", "examples", "pattern"), rows)


def machines() -> Iterator[str]:
    """The QEMU machines of qemu/."""
    chosen = [load_target(name) for name in targets()]
    yield from table(("target", "machine"), [(f"`{t.name}`", t.description) for t in chosen])


def _link(file: str, to: str = "") -> str:
    return f"[{file}]({to}patterns/{file})"


def _about(name: str) -> str:
    """The first line of a pattern file that says in words what the device is."""
    device = loaded().devices[name]
    files = [device.span.file]
    if device.family:
        files.append(loaded().devices[device.family].span.file)
    for file in files:
        first = loaded().sources[file].line(1)
        if first.startswith("# "):
            words = re.split(r"[:,.](?:\s|$)", first[2:])[0]
            return f"{name}: {words}" if device.family else words
    return name


def excerpt(file: str, start: str, end: str = "") -> Iterator[str]:
    """A pattern file's lines from the first that begins with `start` to before one with `end`."""
    lines = loaded().sources[file].lines
    first = next(n for n, line in enumerate(lines) if line.strip().startswith(start))
    after = [
        n for n, line in enumerate(lines) if n > first and end and line.strip().startswith(end)
    ]
    yield "```text"
    yield from "\n".join(lines[first : after[0] if after else None]).rstrip().split("\n")
    yield "```"


# ---- what an image is -------------------------------------------------------------------


def figures() -> Iterator[str]:
    """What `metaos audit` says of the default target's image."""
    r = report()
    turns = r.phase_instructions
    kinds = ", ".join(f"{kind} {size}" for kind, size in r.content_by_kind.items())
    idle, answered = r.device_accesses.idle, r.device_accesses.answered
    rows = [
        ("content: bytes of the image that are not zero", f"{r.content_bytes:,}"),
        ("of these", kinds),
        ("sectors read at start", r.loaded_sectors),
        ("machine code of all phases", f"{r.text_bytes:,} bytes"),
        ("instructions in a turn of the steady phase", r.loop_instructions),
        ("in a turn of the others", ", ".join(f"{k} {turns[k]}" for k in turns if k != "steady")),
        ("conditional branches, indirect branches, calls",
         f"{r.conditional_branches}, {r.indirect_branches}, {r.calls}"),
        ("the card's registers accessed for an answered frame",
         f"{answered.reads} reads, {answered.writes} writes"),
        ("the same for a turn without a frame", f"{idle.reads} reads, {idle.writes} writes"),
        ("bytes of the image that nothing accounts for", r.unattributed_bytes),
    ]  # fmt: skip
    yield from table(("", "pc-e1000"), rows)


@cache
def _ir() -> tuple[str, ...]:
    dirs = (resources.PATTERNS,)
    text = pipeline.dump("ir", machine(), system=read_system(), pattern_dirs=dirs)
    start = text.index(f"program {CARD} steady")
    return tuple(text[start:].split("\nprogram ")[0].strip().splitlines())


def ir(*files: str) -> Iterator[str]:
    """The card's steady program: the steps that come from these pattern files."""
    yield "```text"
    yield _ir()[0]
    yield from _excerpt(_ir()[1:], [f"; {file}:" for file in files])
    yield "```"


def code(*files: str) -> Iterator[str]:
    """The card's steady machine code: the instructions that come from these files."""
    lines, book = [], ledger(image())
    steady = next(line for line in straight_lines(image()) if line.name == "steady")
    for step in steady.steps:
        entry = book.entry(steady.file_offset(step.offset))
        if entry is not None:
            place = f"{Path(entry.file).name}:{entry.line}{'' if entry.exact else ' (derived)'}"
            lines.append(f"  +{step.offset:#05x}  {step.text:<50} ; {place}")
    yield "```text"
    yield from _excerpt(lines, [f"; {file}:" for file in files])
    yield "```"


def _excerpt(lines: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    skipped = False
    for line in lines:
        if any(w in line for w in wanted):
            yield line
            skipped = False
        elif not skipped:
            yield "  ..."
            skipped = True


# ---- what can go wrong ------------------------------------------------------------------


def errors() -> Iterator[str]:
    """Every code, where it is raised, what it says, and a broken pattern that shows it."""
    where: defaultdict[str, dict[str, None]] = defaultdict(dict)
    texts: defaultdict[str, dict[str, None]] = defaultdict(dict)
    package = Path(pipeline.__file__).parent
    for path in sorted(package.rglob("*.py")):
        for found, text in _raised(ast.parse(path.read_text("utf-8"))):
            where[found][path.relative_to(package).parts[0].removesuffix(".py")] = None
            if text:
                texts[found][text] = None
    shown: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(EXAMPLES.glob("*.pattern")):
        match = _CODE.search(path.read_text("utf-8").split("\n")[0])
        if match:
            shown[match[0]].append(f"[{path.stem}](../tests/pattern/errors/{path.name})")
    meaning = {code_: one.title for code_, one in explanations().items()}
    rows = [
        (
            found, meaning.get(found, ""), ", ".join(where[found]), "<br>".join(texts[found]),
            ", ".join(shown[found][:3]),
        )
        for found in sorted(where)
    ]  # fmt: skip
    yield from table(("code", "meaning", "stage", "message", "examples"), rows)


def meanings(*prefixes: str) -> Iterator[str]:
    """What the codes that begin so mean, in a few words."""
    rows = [(c, one.title) for c, one in explanations().items() if c.startswith(prefixes)]
    yield from table(("code", ""), rows)


def example(name: str) -> Iterator[str]:
    """A broken pattern of tests/pattern/errors/ without its first line, and what is said of it."""
    path = EXAMPLES / f"{name}.pattern"
    text = path.read_text("utf-8").split("\n", 1)[1].strip("\n")
    yield from ("```pattern", *text.split("\n"), "```", "", "```text")
    for problem in _said(Source("x.pattern", text + "\n")):
        yield from problem.render().split("\n")
    yield "```"


def _said(source: Source) -> tuple[Problem, ...]:
    """Everything that is wrong with one file beside the classes."""
    classes = tuple(f for f in loaded().files if f.name.startswith("classes/"))
    sources = {f.name: loaded().sources[f.name] for f in classes} | {source.file: source}
    try:
        return check(resolve((*classes, parse(source)), sources))
    except MetaosError as error:
        return error.problems


def _raised(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The codes in a module; of a call, with the text that follows the code."""
    told: set[ast.AST | None] = set()
    for node in ast.walk(tree):
        arguments = [*node.args, None] if isinstance(node, ast.Call) else [None]
        for one, following in itertools.pairwise(arguments):
            if code_ := _error_code(one):
                told.add(one)
                yield code_, _words(following)
    for node in ast.walk(tree):
        if (code_ := _error_code(node)) and node not in told:
            yield code_, ""


def _error_code(node: ast.AST | None) -> str:
    match node:
        case ast.Constant(value=str(text)) if _CODE.fullmatch(text):
            return text
    return ""


def _words(node: ast.AST | None) -> str:
    """A message with "…" for what is filled in; empty if it is made elsewhere."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_words(p) or "…" for p in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (_words(left) or "…") + (_words(right) or "…")
        case ast.IfExp(body=body, orelse=other):
            return " / ".join(filter(None, (_words(body), _words(other))))
    return ""


# ---- the grammar ------------------------------------------------------------------------

SAID: dict[str, tuple[str, ...]] = {
    "A file": ("On one page",),
    "Declarations": ("Sources and layouts", "Devices, families, members", "Services"),
    "What a device is": ("Devices, families, members", "Facts", "Parts"),
    "Places": ("Registers", "Sources and layouts", "Tables and states"),
    "What a device does": ("Sequences", "Turns", "What a class demands"),
    "Services": ("Services",),
    "Expressions": ("Expressions",),
}
"""Where docs/language.md says in words what a section of the grammar means."""


def grammar() -> Iterator[str]:
    """Every rule of the grammar, section by section."""
    for section in sections(GRAMMAR.read_text("utf-8")):
        heads = SAID.get(section.title, ("On one page",))
        links = (
            f"[{h}](language.md#{h.lower().replace(',', '').replace(' ', '-')})" for h in heads
        )
        yield from (f"## {section.title}", "", f"In words: {', '.join(links)}.", "")
        yield from ("```text", section.text(), "```", "")


# ---- what a standard demands ------------------------------------------------------------


def clauses(data: str, source: str, *families: str) -> Iterator[str]:
    """What a standard demands, the pattern lines that cite it, and the tests that show it.

    `data` is a TOML file; `source` is the standard's name in the pattern files `families`.
    """
    cited: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for file in families:
        for number, line in enumerate(
            (resources.PATTERNS / file).read_text("utf-8").split("\n"), 1
        ):
            for cite in re.findall(rf"@{source} (\d[\d.]*(?:, \d[\d.]*)*)", line):
                for clause in cite.split(", "):
                    place = f"`{Path(file).name}:{number}`"
                    cited[clause].append((place, " ".join(line.split())))
    rows = []
    for row in tomllib.loads((ROOT / data).read_text("utf-8"))["clause"]:
        name = f"{row['number']} ({row['demand']})"
        wanted = row.get("line", [""])
        lines = [at for at, line in cited[row["number"]] if any(w in line for w in wanted)]
        if "why" not in row and not (lines and row.get("tests")):
            raise MetaosError(f"{data}: {name} is cited by no such line, or shown by no test")
        shown = [_test(test, name) for test in row.get("tests", [])]
        where = row.get("why") or "<br>".join(lines)
        rows.append((row["number"], row["demand"], where, "<br>".join(shown)))
    yield from table(("clause", "a driver must", "where, or why not", "shown by"), rows)


def _test(test: str, clause: str) -> str:
    """A link to a test that exists."""
    file, _, name = test.partition("::")
    path = ROOT / file
    if not path.is_file() or f"\ndef {name}(" not in path.read_text("utf-8"):
        raise MetaosError(f"{clause}: there is no test {test}")
    return f"[{name.removeprefix('test_')}](../{file})"


def exits() -> Iterator[str]:
    """The exit codes of the command."""
    rows = [(code_.value, code_.name.lower().replace("_", " ")) for code_ in Exit]
    yield from table(("code", "meaning"), rows)


PARTS: dict[str, Callable[..., Iterator[str]]] = {
    f.__name__: f
    for f in (
        classes, devices, without, services, machines, figures, ir, code, errors, meanings, example,
        grammar, clauses, excerpt, exits,
    )
}  # fmt: skip


def main(words: Sequence[str]) -> int:
    stale = []
    made = {path: current(path.read_text("utf-8")) for path in documents()}
    made[TEXTMATE] = json.dumps(textmate(), indent=2) + "\n"
    for path, new in made.items():
        if not path.exists() or new != path.read_text("utf-8"):
            stale.append(path.relative_to(ROOT).as_posix())
            if "--check" not in words:
                path.write_text(new, "utf-8")
    if "--check" in words:
        if stale:
            print(f"not current: {', '.join(stale)}; run: python tools/docs.py")
        return bool(stale)
    print("\n".join(f"wrote {name}" for name in stale) or "all current")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
