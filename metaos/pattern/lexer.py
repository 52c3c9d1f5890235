"""A Pygments lexer for pattern files; `pygmentize -l metaos-pattern FILE` finds it by itself.

The words come from the grammar (`metaos.pattern.keywords`). Pygments is imported here and
nowhere else: MetaOS works without it.
"""

from __future__ import annotations

from pygments.lexer import RegexLexer, bygroups, words
from pygments.token import (
    Comment,
    Error,
    Keyword,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Whitespace,
)

from metaos.pattern.keywords import keywords

_WORDS = keywords()
_NAMED = r"(?:class|device|family|member|service|layout|part)\b"
_NOT_A_NAME = r"(?![ \t]*(?:<-|:=|=(?!=)|[.\['\]]))"
"""What follows a keyword is not what follows a name that is written or given a value."""


class PatternLexer(RegexLexer):  # type: ignore[misc]  # Pygments has no types
    """Tokens of the pattern language; what no pattern file can hold is an `Error`."""

    name = "MetaOS pattern"
    aliases = ("metaos-pattern",)
    filenames = ("*.pattern",)

    tokens = {  # noqa: RUF012  # Pygments' own form
        "root": [
            (r"(?=[^\r\n])", Whitespace, "line"),
            (r"\r?\n", Whitespace),
        ],
        "line": [
            (r"[ \t]+", Whitespace),
            (rf"({_NAMED})([ \t]+)([\w.]+)",
             bygroups(Keyword.Declaration, Whitespace, Name.Class), "rest"),
            (words(sorted(_WORDS.heads), suffix=r"\b" + _NOT_A_NAME), Keyword, "rest"),
            (r"", Whitespace, "rest"),
        ],
        "rest": [
            (r"\r?\n", Whitespace, "#pop:2"),
            (r"[ \t]+", Whitespace),
            (r"#[^\n]*", Comment.Single),
            (r'"[^"\r\n]*"', String.Double),
            (r"(@\w+)([ \t]+)([0-9A-Z][0-9A-Za-z.\-]*)",
             bygroups(Name.Decorator, Whitespace, Number)),
            (r"@\w+", Name.Decorator),
            (r"0x[0-9A-Fa-f_]+", Number.Hex),
            (r"0b[01_]+", Number.Bin),
            (r"[0-9]+(?:\.[0-9]+){3}", Number),
            (r"[0-9][0-9_]*", Number.Integer),
            (r"u[0-9]+\b(?!\[)", Keyword.Type),
            (words(sorted(_WORDS.types), prefix=r"(?<=: )", suffix=r"\b"), Keyword.Type),
            (r"(\.)(\w+)", bygroups(Punctuation, Name.Attribute)),
            (r"[A-Za-z_]\w*(?=\()", Name.Function),
            (words(sorted(_WORDS.inside), prefix=r"(?<![&.])\b",
                   suffix=r"\b(?![ \t]*(?:<-|=(?!=)|[,}.\[):]))"), Keyword),
            (r"[A-Za-z_]\w*", Name),
            (r"<-|->|:=|==|!=|<=|<<|>>|[-+*&|^~!<='@]", Operator),
            (r"[\[\](){},:.]", Punctuation),
            (r"[^\r\n]", Error),
        ],
    }  # fmt: skip
