"""What an action said before personal data was taken out of it, as far as rules can tell: with other data of that kind.

Of a decision to redact, the record holds what was done, with placeholders. A candidate that is asked about that finds
nothing to redact and would seem to decide otherwise. Invented values stand in their place; they are nobody's. Pure.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

INVENTED: Final[Mapping[str, str]] = {
    "email": "somebody@example.org",
    "phone": "+49 30 23125000",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "national_id": "85.07.30-033.28",
}
"""The bureaus' and networks' own examples: each is sound by its checksum."""
_PLACEHOLDER: Final = re.compile(r"\[([a-z_]{1,16}) [0-9]{1,6}\]")


def original(value: object, classes: Collection[str], names: Sequence[str]) -> object:
    """JSON values with something of its class in place of each placeholder. `names`: people whom the package names."""
    match value:
        case str():
            return _PLACEHOLDER.sub(lambda found: _invented(found, classes, names), value)
        case list():
            return [original(item, classes, names) for item in value]
        case dict():
            return {key: original(item, classes, names) for key, item in value.items()}
    return value


def _invented(found: re.Match[str], classes: Collection[str], names: Sequence[str]) -> str:
    cls = found.group(1)
    invented = names[0] if cls == "name" and names else INVENTED.get(cls)
    return found.group() if invented is None or cls not in classes else invented
