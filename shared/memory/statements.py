"""What a person asks to be remembered, and the fact that it states. Pure.

    statement_in("Remember that the fridge's limit is 8 °C.") == "the fridge's limit is 8 °C"
    fact_in("the fridge's limit is 8 °C") == Fact(subject="fridge", relation="limit", value="8 °C", said=…)

English and German phrases for "remember". A sentence whose form is not known is kept as it stands: it is found by
its words, and closes nothing. One that says that something is not so ("it is not true that …") is a fact of the very
relation whose value it denies, and stands beside every other value of it."""

import re
from dataclasses import replace
from typing import Final

from shared.memory.facts import NOT, contrary
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
    rf"^(?P<subject>[^,.;:]{{1,120}}?)(?P<owns>['’]s|s['’])\s+(?P<relation>[^,.;:]{{1,80}}?)\s+(?P<verb>{_VERB})\s+(?P<value>.+)$",
    re.IGNORECASE | re.DOTALL,
)
_PLAIN: Final = re.compile(
    rf"^(?P<subject>[^,.;:]{{1,120}}?)\s+(?P<verb>{_VERB})\s+(?P<value>.+)$", re.IGNORECASE | re.DOTALL
)
_DENIAL: Final = re.compile(
    r"^(?:it(?:['’]s| is) (?:not|no longer) (?:true|right|correct|so|the case)(?: any ?more)?"
    r"|it isn['’]t (?:true|right|correct|so|the case)(?: any ?more)?|it(?:['’]s| is) (?:false|wrong|untrue|incorrect)"
    r"|es (?:stimmt|gilt) nicht(?: mehr)?|es trifft nicht(?: mehr)? zu"
    r"|es ist (?:nicht(?: mehr)? (?:wahr|richtig|so|der fall)|falsch|unwahr))"
    r",?\s+(?:that|dass)\s+(?P<denied>\S.*)$",
    re.IGNORECASE | re.DOTALL,
)
DENIALS_MAX: Final = 4
"""Within one another: more is no sentence that anybody means."""
_NOT: Final = re.compile(r"\b(is|are|was|were|has|have)n['’]t\b", re.IGNORECASE)
_DENIED_VALUE: Final = re.compile(
    r"^(?:not|no longer|nicht mehr|nicht)\s+(?P<what>\S.*?)(?:\s+any ?more)?$", re.IGNORECASE | re.DOTALL
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
    stated, is_denied = said, False
    for _ in range(DENIALS_MAX):
        if (denial := _DENIAL.match(stated)) is None:
            break
        stated, is_denied = denial["denied"], not is_denied
    fact = _stated(stated, said)
    if not is_denied:
        return fact
    value = contrary(fact.value)
    # Twice not so is so: then it takes its place among the values as every other statement does.
    is_beside = value.startswith(NOT)
    return replace(fact, value=value[:VALUE_MAX_CHARS], is_beside=is_beside)


def _stated(stated: str, said: str) -> Fact:
    plain = _NOT.sub(r"\1 not", stated)
    for pattern in (_OF, _POSSESSIVE, _PLAIN):
        found = pattern.match(plain)
        if found is None:
            continue
        parts = found.groupdict()
        verb = _NOW.sub("", parts["verb"].lower())
        relation = parts.get("relation") or (IS if verb in _IS_FORMS else verb)
        value = parts["value"].strip()
        # The pumps' limit is that of each pump; Andreas' is not Andrea's.
        is_name = parts.get("owns", "").startswith("s") and _ARTICLE.match(parts["subject"]) is None
        subject = f"{parts['subject']}s" if is_name else parts["subject"]
        # A pump that is not running is in another state; a limit that is not 8 °C may still be 6 °C.
        denied = _DENIED_VALUE.match(value) if "relation" in parts and verb in _IS_FORMS else None
        fact = Fact(
            subject=_name(subject),
            relation=_name(relation),
            value=(value if denied is None else NOT + denied["what"])[:VALUE_MAX_CHARS],
            said=said,
            is_beside=denied is not None,
        )
        if fact.subject and fact.relation and fact.value:
            return fact
    return Fact(subject=stated[:NAME_MAX_CHARS], relation=STATED, value=stated, said=said)


def _name(text: str) -> str:
    return _ARTICLE.sub("", text.strip())[:NAME_MAX_CHARS].strip()
