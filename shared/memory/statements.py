"""What a person asks to be remembered, and the fact that it states. Pure.

    statement_in("Remember that the fridge's limit is 8 °C.") == "the fridge's limit is 8 °C"
    fact_in("the fridge's limit is 8 °C") == Fact(subject="fridge", relation="limit", value="8 °C", said=…)

English and German phrases for "remember". A sentence whose form is not known is kept as it stands: it is found by
its words, and closes nothing."""

import re
from typing import Final

from shared.memory.items import NAME_MAX_CHARS, VALUE_MAX_CHARS, Fact

STATEMENT_MAX_CHARS: Final = 2_000
STATED: Final = "said"
"""The relation of a sentence whose form is not known."""
IS: Final = "is"

_ASKS: Final = re.compile(
    r"^\s*(?:please[, ]+|bitte[, ]+)?(?:can you |could you |kannst du )?(?:please |bitte )?"
    r"(?:remember|note|keep in mind|memori[sz]e|do(?: not|n['’]t) forget|merke? (?:dir|mir)|behalte|notiere)"
    r"(?:[, ]+(?:bitte|please))?(?:\s*[:,]\s*|\s+)(?:that\s+|dass\s+|this:\s*)?(?P<statement>\S.*?)\s*$",
    re.IGNORECASE | re.DOTALL,
)
_QUESTION: Final = re.compile(
    r"^(?:what|when|who|where|why|how|which|whether|if|to|me|was|wann|wer|wo|wie|ob)\b", re.IGNORECASE
)
_ARTICLE: Final = re.compile(r"^(?:the|a|an|our|my|your|der|die|das|ein|eine|unser|unsere)\s+", re.IGNORECASE)
_VERB: Final = (
    r"is now|are now|is|are|was|were|ist jetzt|ist|sind|has|have|hat|needs|need|costs|kostet|opens at|closes at|"
    r"opens|closes|belongs to|comes from|comes|lives in|works at|stands in|stands at|lies in|weighs|holds|contains|"
    r"expires on|expires|starts at|ends at|starts|ends|runs on|uses"
)
_OF: Final = re.compile(
    rf"^(?P<relation>[^,.;:]{{1,80}}?)\s+(?:of|for|von|für)\s+(?P<subject>[^,.;:]{{1,120}}?)\s+(?P<verb>{_VERB})\s+(?P<value>.+)$",
    re.IGNORECASE | re.DOTALL,
)
_POSSESSIVE: Final = re.compile(
    rf"^(?P<subject>[^,.;:]{{1,120}}?)(?:['’]s|s['’])\s+(?P<relation>[^,.;:]{{1,80}}?)\s+(?P<verb>{_VERB})\s+(?P<value>.+)$",
    re.IGNORECASE | re.DOTALL,
)
_PLAIN: Final = re.compile(
    rf"^(?P<subject>[^,.;:]{{1,120}}?)\s+(?P<verb>{_VERB})\s+(?P<value>.+)$", re.IGNORECASE | re.DOTALL
)
_RUN: Final = re.compile(r"(\s)\s+")
"""Many spaces in a row could be shared out among the parts of a form in millions of ways."""
_NOW: Final = re.compile(r"\s+(?:now|jetzt)$", re.IGNORECASE)
_IS_FORMS: Final = frozenset({"is", "are", "was", "were", "is now", "are now", "ist", "sind", "ist jetzt"})


def statement_in(request: str) -> str | None:
    """What `request` asks to be remembered; None if it asks for something else."""
    found = _ASKS.match(request)
    if found is None or len(request) > STATEMENT_MAX_CHARS or request.rstrip().endswith("?"):
        return None
    statement = found["statement"].rstrip(" .!")
    return None if not statement or _QUESTION.match(statement) else statement


def fact_in(statement: str) -> Fact:
    """The fact that a sentence states. `statement`: at most `STATEMENT_MAX_CHARS`."""
    said = _RUN.sub(r"\1", statement.strip().rstrip(".!").strip()[:STATEMENT_MAX_CHARS])
    for pattern in (_OF, _POSSESSIVE, _PLAIN):
        found = pattern.match(said)
        if found is None:
            continue
        parts = found.groupdict()
        verb = _NOW.sub("", parts["verb"].lower())
        relation = parts.get("relation") or (IS if verb in _IS_FORMS else verb)
        fact = Fact(
            subject=_name(parts["subject"]),
            relation=_name(relation),
            value=parts["value"].strip()[:VALUE_MAX_CHARS],
            said=said,
        )
        if fact.subject and fact.relation and fact.value:
            return fact
    return Fact(subject=said[:NAME_MAX_CHARS], relation=STATED, value=said, said=said)


def _name(text: str) -> str:
    return _ARTICLE.sub("", text.strip())[:NAME_MAX_CHARS].strip()
