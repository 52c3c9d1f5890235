"""A TextMate grammar of the pattern language, for editors: `textmate() -> dict`.

    python tools/docs.py      # writes editors/metaos-pattern.tmLanguage.json

Made of the words of `grammar.lark`. Source of the form: TextMate Manual, Language Grammars.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from metaos.pattern.keywords import Keywords, keywords

SCOPE = "source.metaos-pattern"
_NOT_A_NAME = r"(?!\s*(?:<-|:=|=(?!=)|[.\['\]]))"


def textmate(words: Keywords | None = None) -> dict[str, Any]:
    """The grammar as a JSON object; keywords are in `repository.keywords`."""
    known = words or keywords()
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "MetaOS pattern",
        "scopeName": SCOPE,
        "fileTypes": ["pattern"],
        "patterns": [
            {"include": f"#{name}"}
            for name in ("comments", "strings", "cites", "names", "keywords", "numbers", "rest")
        ],
        "repository": {
            "comments": _one("comment.line.number-sign", r"#.*$"),
            "strings": _one("string.quoted.double", r'"[^"]*"'),
            "cites": _one("entity.other.attribute-name", r"@\w+(?:\s+[0-9A-Z][0-9A-Za-z.\-]*)?"),
            "names": {
                "patterns": [
                    {
                        "match": r"^\s*(class|device|family|member|service|layout|part)\s+([\w.]+)",
                        "captures": {
                            "1": {"name": "storage.type.metaos-pattern"},
                            "2": {"name": "entity.name.type.metaos-pattern"},
                        },
                    }
                ]
            },
            "keywords": {
                "patterns": [
                    _rule("keyword.control", rf"^\s*({_either(known.heads)})\b{_NOT_A_NAME}"),
                    _rule(
                        "keyword.other",
                        rf"(?<![&.])\b({_either(known.inside)})\b(?!\s*(?:<-|=(?!=)|[,}}.\[):]))",
                    ),
                    _rule("storage.type", rf"(?<=: )({_either(known.types)})\b"),
                    _rule("storage.type", r"\bu[0-9]+\b(?!\[)"),
                ]
            },
            "numbers": _one(
                "constant.numeric",
                r"\b(0x[0-9A-Fa-f_]+|0b[01_]+|[0-9]+(\.[0-9]+){3}|[0-9][0-9_]*)\b",
            ),
            "rest": {
                "patterns": [
                    _rule("entity.name.function", r"\b[A-Za-z_]\w*(?=\()"),
                    _rule("keyword.operator", r"<-|->|:=|==|!=|<=|<<|>>|[-+*&|^~!<=']"),
                ]
            },
        },
    }


def _either(words: Iterable[str]) -> str:
    return "|".join(sorted(words))


def _rule(scope: str, match: str) -> dict[str, str]:
    return {"name": f"{scope}.metaos-pattern", "match": match}


def _one(scope: str, match: str) -> dict[str, Any]:
    return {"patterns": [_rule(scope, match)]}
