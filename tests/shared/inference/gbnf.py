"""A GBNF grammar as a Python regular expression, to ask which texts it accepts. Recursion is unrolled some levels."""

import re

TOKEN = re.compile(r'\s+|("(?:\\.|[^"\\])*")|(\[(?:\\.|[^\]\\])*\])|([a-z][a-z0-9]*)|(\{[0-9,]+\}|[()|*+?])')
NOTHING = "(?!)"


class Grammar:
    def __init__(self, text: str, *, levels: int = 3) -> None:
        self._rules = dict(line.split(" ::= ", 1) for line in text.splitlines())
        self._levels = levels
        self._regex = re.compile(self._rule("root", {}))

    def accepts(self, text: str) -> bool:
        return self._regex.fullmatch(text) is not None

    def _rule(self, name: str, open_rules: dict[str, int]) -> str:
        if open_rules.get(name, 0) >= self._levels:
            return NOTHING
        inside = open_rules | {name: open_rules.get(name, 0) + 1}
        return f"(?:{self._expression(self._rules[name], inside)})"

    def _expression(self, rule: str, open_rules: dict[str, int]) -> str:
        out, at = [], 0
        while at < len(rule):
            match = TOKEN.match(rule, at)
            assert match, f"not GBNF: {rule[at : at + 20]!r}"
            literal, characters, name, operator = match.groups()
            if literal is not None:
                out.append(f"(?:{re.escape(_unescaped(literal[1:-1]))})")
            elif name is not None:
                out.append(self._rule(name, open_rules))
            elif characters is not None:
                out.append(characters)
            elif operator is not None:
                out.append("(?:" if operator == "(" else operator)
            at = match.end()
        return "".join(out)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), text)
