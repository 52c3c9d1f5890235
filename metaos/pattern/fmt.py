"""A pattern file as it should look: `formatted(source) -> str`.

Two spaces a block, one between words, one empty line at most; rows of registers, fields and
layouts in columns, the arrows and equals signs of a block below each other, the comments of a
paragraph too. Words, comments and the order of lines stay as they are, so what comes out means
the same, and formatting it again changes nothing.

What of a text is kept is its words, its comments, which lines are empty, and how deep each line
lies. All else is made anew from these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lark import Token

from metaos.errors import MetaosError, Source
from metaos.pattern.parse import words

INDENT = "  "
CONTINUED = "    "
TAB = 8
STOPS = {"name": 1, "access": 1, "arrow": 1, "cite": 2, "note": 2, "comment": 2}
"""What is put below each other, from left to right, and the spaces before it at least."""

WIDEST = 60
"""A line that is longer before a stop does not move the others of its group to the right."""

_OPERANDS = frozenset({"NAME", "NUMBER", "STRING", "CITE_SECTION", "RPAR", "RSQB", "RBRACE"})
_OPENING = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


@dataclass(frozen=True, eq=False)
class _Statement:
    """The words of one line, or of several inside brackets; `parent` is whose block it is in."""

    words: tuple[Token, ...]
    depth: int
    parent: _Statement | None

    @property
    def head(self) -> str:
        """What kind of statement it is, by its first word."""
        return str(self.words[0]) if self.words[0].type != "NAME" else ""


@dataclass
class _Line:
    """One line on its way: `text` grows by what `pending` holds for each stop, in their order.

    Lines with the same `groups[stop]` have that stop in the same column.
    """

    text: str = ""
    pending: dict[str, str] = field(default_factory=dict)
    groups: dict[str, object] = field(default_factory=dict)


def formatted(source: Source) -> str:
    """The text of a pattern file, formatted.

    Raises:
        MetaosError: the text does not parse, or would not any more since it is too long.
    """
    found = words(source)
    lines = source.text.replace("\r\n", "\n").split("\n")
    made = list(_lines(lines, found))
    text = "".join(f"{line}\n" for line in made)
    if _kept(made, words(Source(source.file, text))) != _kept(lines, found):
        raise MetaosError(f"{source.file}: formatting would change what it says")
    return text


def _kept(lines: Sequence[str], found: Sequence[Token]) -> tuple[object, ...]:
    """What formatting must not change: the words, their blocks, the comments."""
    marks = ("_NL", "_INDENT", "_DEDENT")
    said = [(w.type, "" if w.type in marks else str(w)) for w in found if w.type != "_NL"]
    ends = {w.line: w.end_column or 1 for w in found if w.type not in marks}
    comments = [_comment(text, ends.get(n, 1)) for n, text in enumerate(lines, 1)]
    return said, [c for c in comments if c]


def _comment(line: str, column: int) -> str:
    """What stands in a line from a column on, without the spaces around it."""
    return line[column - 1 :].strip(" \t\r")


def _lines(lines: Sequence[str], found: Sequence[Token]) -> Iterator[str]:
    """The file's lines, formatted."""
    statements = tuple(_statements(found))
    made = list(_columns(list(_drafts(lines, statements))))
    while made and not made[-1]:
        made.pop()
    for number, text in enumerate(made):
        if text or (number and made[number - 1]):
            yield text


def _statements(found: Sequence[Token]) -> Iterator[_Statement]:
    """The words between line ends, with the blocks they lie in."""
    parents: list[_Statement | None] = [None]
    last: _Statement | None = None
    line: list[Token] = []
    for word in found:
        match word.type:
            case "_NL":
                if line:
                    last = _Statement(tuple(line), len(parents) - 1, parents[-1])
                    yield last
                line = []
            case "_INDENT":
                parents.append(last)
            case "_DEDENT":
                parents.pop()
            case _:
                line.append(word)


# ---- one line ---------------------------------------------------------------------------


def _drafts(lines: Sequence[str], statements: Sequence[_Statement]) -> Iterator[_Line]:
    """Every line with its words spaced, not yet in columns."""
    of_line = {w.line: s for s in statements for w in s.words}
    inside = {
        number
        for s in statements
        for number in range((s.words[0].line or 1) + 1, (s.words[-1].line or 1) + 1)
    }
    depths = _comment_depths(lines, statements)
    paragraph = run = 0
    for number, text in enumerate(lines, 1):
        statement = of_line.get(number)
        if statement is None:
            comment = _comment(text, 1)
            if not comment:
                paragraph, run = number, number
                yield _Line()
            elif number in inside:
                yield _Line(CONTINUED + INDENT * depths[number] + comment)
            else:
                yield _Line(INDENT * depths[number] + comment)
            continue
        on_line = [w for w in statement.words if w.line == number]
        comment = _comment(text, on_line[-1].end_column or 1)
        if on_line[0] is statement.words[0]:
            line = _Line(INDENT * statement.depth)
            _place(line, statement, len(on_line), run)
        else:
            extra = "" if on_line[0] in (")", "]", "}") else CONTINUED
            start = next(i for i, w in enumerate(statement.words) if w is on_line[0])
            inner = _spaced(statement.words, start, start + len(on_line))
            line = _Line(INDENT * statement.depth + extra + inner)
        if comment:
            line.pending["comment"] = comment
            line.groups["comment"] = paragraph
        yield line


def _place(line: _Line, statement: _Statement, count: int, run: int) -> None:
    """Divide a statement's first `count` words among the stops of a line; `run` numbers the
    stretches without an empty line."""
    words_ = statement.words
    cuts = [(s, i) for s, i in _cuts(statement) if 0 < i < count]
    ends = [i for _, i in cuts] + [count]
    line.text += _spaced(words_, 0, ends[0])
    for (stop, start), end in zip(cuts, ends[1:], strict=True):
        line.pending[stop] = _spaced(words_, start, end)
        line.groups[stop] = _group(stop, statement, start, run)


def _cuts(statement: _Statement) -> list[tuple[str, int]]:
    """Where a statement's columns begin: stop and number of the first word."""
    words_, parent = statement.words, statement.parent
    types = [w.type for w in words_]
    above = "" if parent is None else parent.head
    note = [("note", len(words_) - 1)] if types[-1] == "STRING" else []
    if above == "registers":
        cite = [("cite", i) for i, w in enumerate(words_) if w == "@"][:1]
        access = 5 if len(words_) > 2 and words_[2] == "[" else 2
        return [("name", 1), ("access", access), *cite, *note]
    if parent is not None and parent.parent is not None and parent.parent.head == "registers":
        return [("name", 3 if ":" in words_ else 1), *note]
    if above == "layout" and types[0] == "NUMBER":
        return [("name", 3 if words_[1] == ":" else 1), *note]
    if above == "layout":
        return [("access", 1), *note]
    if types[0] == "NAME" or statement.head == "source":
        arrow = _arrow(words_)
        return [("arrow", arrow)] if arrow else []
    return []


def _arrow(words_: Sequence[Token]) -> int:
    """The number of the word `<-`, `=` or `:=` that is in no brackets; 0 for none."""
    depth = 0
    for number, word in enumerate(words_):
        depth += _OPENING.get(word, 0)
        if not depth and word in ("<-", "=", ":="):
            return number
    return 0


def _group(stop: str, statement: _Statement, start: int, run: int) -> object:
    """Lines with the same have `stop` in the same column."""
    if stop != "arrow":
        rows = statement.parent
        assert rows is not None
        return id(rows if rows.head in ("registers", "layout") else rows.parent), statement.depth
    plain = "[" not in statement.words[:start]
    return id(statement.parent), run, plain, statement.head


def _spaced(words_: Sequence[Token], start: int, end: int) -> str:
    """The words from `start` to `end`, with the spaces that belong between them."""
    text, depth = "", 0
    for number in range(end):
        word = words_[number]
        if number >= start:
            text += " " * (number > start and _space(words_, number, depth)) + word
        depth += _OPENING.get(word, 0) if word in "[]" else 0
    return text


def _space(words_: Sequence[Token], number: int, brackets: int) -> bool:
    """Whether a space stands before a word; `brackets` is how many `[` are open."""
    word, before = words_[number], words_[number - 1]
    if word in (",", ")", "]", ".", "..", "'") or before in ("(", "[", ".", "..", "@", "~", "!"):
        return False
    if word == "[" or (word == "(" and before.type == "NAME"):
        return False
    if word == "}" and before == "{":
        return False
    if ":" in (word, before):
        return not brackets and words_[0].type != "NUMBER"
    return not (before == "&" and not _operand(words_, number - 2))


def _operand(words_: Sequence[Token], number: int) -> bool:
    """Whether a value ends at a word, so that `&` behind it joins two."""
    return number >= 0 and (words_[number].type in _OPERANDS or words_[number] == "'")


# ---- between lines ----------------------------------------------------------------------


def _comment_depths(lines: Sequence[str], statements: Sequence[_Statement]) -> dict[int, int]:
    """How deep each line that is only a comment lies: with what follows, or with a block
    before it that it is as far to the right as."""
    depths: dict[int, int] = {}
    left = list(statements)
    open_: list[tuple[int, int]] = []
    for number, text in enumerate(lines, 1):
        while left and (left[0].words[0].line or 1) <= number:
            statement = left.pop(0)
            column = _column(lines[(statement.words[0].line or 1) - 1])
            open_ = [(c, d) for c, d in open_ if d < statement.depth]
            open_.append((column, statement.depth))
        last = open_[-1][1] if open_ else 0
        inside = bool(open_) and _within(statements[len(statements) - len(left) - 1], number)
        following = left[0].depth if left else 0
        fitting = [d for c, d in open_ if c <= _column(text)]
        depths[number] = last if inside else max([following, *fitting])
    return depths


def _within(statement: _Statement, line: int) -> bool:
    return line <= (statement.words[-1].line or 1)


def _column(text: str) -> int:
    """How far to the right a line begins."""
    blank = text[: len(text) - len(text.lstrip(" \t"))]
    return blank.count(" ") + TAB * blank.count("\t")


def _columns(lines: Sequence[_Line]) -> Iterator[str]:
    """The lines' texts, each stop of a group in one column."""
    for stop, gap in STOPS.items():
        columns: dict[object, int] = {}
        for line in lines:
            if stop in line.pending and len(line.text) <= WIDEST:
                group = line.groups[stop]
                columns[group] = max(columns.get(group, 0), len(line.text) + gap)
        for line in lines:
            if stop in line.pending:
                column = max(len(line.text) + gap, columns.get(line.groups[stop], 0))
                line.text = line.text.ljust(column) + line.pending[stop]
    return (line.text for line in lines)
