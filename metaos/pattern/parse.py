"""Text of one pattern file to its syntax tree.

    parse(Source("net/x.pattern", text)) -> File

Raises `MetaosError` with one problem, E0001 to E0009, where the text does not parse, and
nothing else whatever the text is: see the limits below.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError
from lark.indenter import DedentError, Indenter

from metaos.errors import MetaosError, Problem, Source, Span, did_you_mean
from metaos.pattern import syntax as s
from metaos.pattern.keywords import keywords
from metaos.pattern.nodes import Nodes

# What a hostile text may cost: the largest rule we have has 5 KB, lines of 300 characters,
# three brackets in each other and eight terms; no pass behind may meet an endless tree.
MAX_CHARACTERS = 24 * 1024
MAX_LINE = 1_000
MAX_DEPTH = 40
MAX_NODES = 120

_REMEMBERED = 256
"""Files: several times as many as there are. A build reads each once, an editor or a test often."""


class _BlockError(Exception):
    """Blocks or brackets that fit nothing, at a token."""

    def __init__(self, code: str, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.code, self.message, self.line, self.column = code, message, line, column


class _Blocks(Indenter):
    """Makes blocks of indentation; tabs count as eight columns."""

    NL_type = "_NL"
    OPEN_PAREN_types = ["LPAR", "LSQB", "LBRACE"]  # noqa: RUF012 - lark's interface
    CLOSE_PAREN_types = ["RPAR", "RSQB", "RBRACE"]  # noqa: RUF012
    INDENT_type = "_INDENT"
    DEDENT_type = "_DEDENT"
    tab_len = 8

    def handle_NL(self, token: Token) -> Iterator[Token]:  # noqa: N802 - lark's interface
        """The line's end and the block marks, each where the next line's text begins."""
        indent = token.rsplit("\n", 1)[1]
        try:
            for made in super().handle_NL(token):
                if made.type != self.NL_type:
                    made.line, made.column = token.end_line, len(indent) + 1
                yield made
        except DedentError:
            message = "this line's indentation fits no block"
            line = token.end_line or 1
            raise _BlockError("E0002", message, line, len(indent) + 1) from None

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        for token in super().process(stream):  # type: ignore[no-untyped-call]
            if self.paren_level >= MAX_DEPTH or len(self.indent_level) > MAX_DEPTH:
                message = f"the text is nested more than {MAX_DEPTH} deep"
                raise _BlockError("E0003", message, token.line or 1, token.column or 1)
            yield token


@cache
def _grammar() -> Lark:
    text = Path(__file__).with_name("grammar.lark").read_text("utf-8")
    return Lark(
        text,
        parser="lalr",
        lexer="contextual",
        postlex=_Blocks(),
        propagate_positions=True,
        maybe_placeholders=True,
    )


def parse(source: Source) -> s.File:
    """Parse one file. A text that was parsed a moment ago is not parsed again."""
    return _parsed(source.file, source.text)


@lru_cache(_REMEMBERED)
def _parsed(file: str, text: str) -> s.File:
    source = _limited(Source(file, text))
    try:
        tree = _grammar().parse(_ended(source.text))
        _limit(source, tree)
        result = Nodes(source).transform(tree)
    except UnexpectedInput as error:
        raise _syntax_error(source, error) from None
    except _BlockError as error:
        place = error.line, error.column, error.column + 1
        above = range(error.line, 0, -1) if error.code == "E0002" else ()
        hint = next(filter(None, (_tab_hint(source, n, error.line) for n in above)), "")
        raise _fail(source, error.code, error.message, *place, hint) from None
    except VisitError as error:
        if isinstance(error.orig_exc, MetaosError):
            raise error.orig_exc from None
        raise
    assert isinstance(result, s.File)
    return result


def words(source: Source) -> tuple[Token, ...]:
    """The words of a file that parses, with the marks of lines' ends and of blocks."""
    parse(source)
    text = source.text.replace("\r\n", "\n")
    return tuple(_grammar().parse_interactive(_ended(text)).iter_parse())


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _limited(source: Source) -> Source:
    """The text with the line ends of Unix; refused if there is too much of it."""
    if len(source.text) > MAX_CHARACTERS:
        message = f"the file has {len(source.text)} characters, more than {MAX_CHARACTERS}"
        raise _fail(source, "E0003", message, 1, 1, 2, "divide it into several files")
    source = Source(source.file, source.text.replace("\r\n", "\n"))
    for number, line in enumerate(source.lines, 1):
        if len(line) > MAX_LINE:
            message = f"a line of {len(line)} characters, more than {MAX_LINE}"
            raise _fail(Source(source.file, ""), "E0003", message, number, 1, 2)
    return source


def _limit(source: Source, tree: Tree[Token]) -> None:
    """Refuse what would nest our nodes too deeply: a chain `a + b + c` nests once a term."""
    left = [(tree, 0)]
    while left:
        node, depth = left.pop()
        depth += len(node.children) if node.data in _CHAINS else 1
        if depth > MAX_NODES:
            at = (node.meta.line, node.meta.column, node.meta.column + 1)
            raise _fail(source, "E0003", "this expression is too long; name its parts", *at)
        left += [(child, depth) for child in node.children if isinstance(child, Tree)]


_CHAINS = frozenset({"or_", "xor_", "and_", "mul_", "shift", "sum"})

_SPOKEN = {
    "_NL": "the end of the line",
    "CITE_SECTION": "a section such as 13.4.1 or A.2",
    "_INDENT": "an indented block",
    "_DEDENT": "the end of the block",
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a text in quotes",
    "$END": "the end of the file",
    "WIDTH": "a width such as u8",
    "COMPARE": "a comparison",
    "SIGN": "+ or -",
    "SHIFT": "a shift",
    "SPACE": "mmio, port or config",
    "ORDER": "little or big",
    "UNIT": "us, ms or s",
    "MATCH_KIND": "legacy, acpi or platform",
    "FACT_TYPE": "window, ports or a width such as u8",
}


def _spoken(terminal: str) -> str:
    if terminal in _SPOKEN:
        return _SPOKEN[terminal]
    found = [t for t in _grammar().terminals if t.name == terminal]
    return f"'{found[0].pattern.value}'" if found else terminal


_VALUE = frozenset(["'!'", "'~'", "'('", "'{'", "'&'"]) | {"a name", "a number", "a text in quotes"}
_OPERATORS = frozenset(["'&'", "'*'", "'^'", "'|'", "'.'", "'['", "'''"]) | {
    "+ or -", "a comparison", "a shift",
}  # fmt: skip


def _grouped(wanted: set[str]) -> set[str]:
    """Words for what begins a value and for what goes on with one, instead of lists."""
    if {"'~'", "'('"} <= wanted:
        wanted = wanted - _VALUE | {"a value"}
    if {"'|'", "'^'"} <= wanted:
        wanted = wanted - _OPERATORS | {"an operator"}
    return wanted


_BRANCHES = frozenset({"if", "else", "elif", "for", "while", "loop", "switch"})


def _syntax_error(source: Source, error: UnexpectedInput) -> MetaosError:
    line, column = max(error.line or 1, 1), max(error.column or 1, 1)
    if isinstance(error, UnexpectedToken):
        token = error.token
        given = {"_NL": "the end of the line", "$END": "the end of the file"}.get(
            token.type, _SPOKEN.get(token.type, "") if not token.strip() else f"'{token}'"
        )
        spoken = {_spoken(t) for t in error.accepts or error.expected}
        words = [w.strip("'") for w in spoken if w.startswith("'")]
        wanted = sorted(_grouped(spoken))
        hint = did_you_mean(str(token), words) if token.type == "NAME" and words else ""
        listed = ", ".join(wanted[:12]) + (" ..." if len(wanted) > 12 else "")
        width = max(1, len(token.strip()) or 1)
        message = f"expected {listed}, given {given}" if listed else f"unexpected {given}"
        hint = hint if hint.startswith("did") else ""
        first = source.line(line).split(maxsplit=1)[:1]
        if first and first[0] in _BRANCHES:
            hint = f"nothing branches here, there is no '{first[0]}': write 'when CONDITION'"
        elif first and not hint and first[0] not in keywords().heads:
            hint = did_you_mean(first[0], keywords().heads, 1)
            hint = hint if hint.startswith("did") else ""
        hint = hint or _tab_hint(source, line, line)
        return _fail(source, "E0001", message, line, column, column + width, hint)
    character = error.char if isinstance(error, UnexpectedCharacters) else "?"
    message = f"unexpected character {character!r}"
    if character == '"':
        message = "this text has no second quote in its line"
    return _fail(source, "E0001", message, line, column, column + 1)


def _tab_hint(source: Source, number: int, wrong: int) -> str:
    """What to tell of line `wrong`, if a tab is what line `number` begins with."""
    line = source.line(number)
    if "\t" not in line[: len(line) - len(line.lstrip())]:
        return ""
    which = "this line" if number == wrong else f"line {number}"
    return f"a tab begins {which}: blocks are indented by spaces"


def _fail(
    source: Source, code: str, message: str, line: int, column: int, end: int, hint: str = ""
) -> MetaosError:
    span = Span(source.file, line, column, end)
    problem = Problem(code, message, span, hint, source.line(line))
    return MetaosError(f"{source.file} does not parse", problems=[problem])
