"""Personal data in text and in JSON-like values: finding it, replacing it, putting it back. Pure.

recogniser = Recogniser({"email", "card", "name"}, names=["Anna Schmidt"])
text, found = recogniser.redact("Anna Schmidt <anna@example.com>", into=(redaction := Redaction()))
assert text == "[name 1] <[email 1]>"
assert redaction.restore(text) == "Anna Schmidt <anna@example.com>"
"""

from shared.policy.classes import CLASSES
from shared.policy.personal.recogniser import Recogniser
from shared.policy.personal.redaction import Found, FoundAt, Redaction

__all__ = ["CLASSES", "Found", "FoundAt", "Recogniser", "Redaction"]
