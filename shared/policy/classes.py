"""The classes of personal data, by name: apart from who recognises them, whom an idle device does without."""

from typing import Final

CLASSES: Final = ("card", "iban", "national_id", "email", "phone", "name")
"""From what is hardest to meet by chance to what is easiest."""
