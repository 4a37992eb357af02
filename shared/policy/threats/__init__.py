"""Detectors beside the rules: they raise findings with evidence, and what follows is the policy's to say. Pure.

hidden_text imitation     what a text that came in hides or pretends to be
encoded_payload           what an outgoing call carries away
sequences                 repeated refusals, loops, sequences of tools that this fleet never shows
drift                     a tool that is no longer the one that was approved
"""

from shared.policy.threats.drift import ToolDrift
from shared.policy.threats.encoded_payload import encoded_payload
from shared.policy.threats.finding import Finding
from shared.policy.threats.hidden_text import hidden_text
from shared.policy.threats.imitation import IMITATION_THRESHOLD, imitation
from shared.policy.threats.sequences import Loops, RepeatedDenials, UnusualSequence

DETECTORS = (
    "encoded_payload", "hidden_text", "imitation", "loops", "repeated_denials", "tool_drift", "unusual_sequence",
)  # fmt: skip
"""Their names, by which rules speak of findings."""

__all__ = [
    "DETECTORS", "IMITATION_THRESHOLD", "Finding", "Loops", "RepeatedDenials", "ToolDrift", "UnusualSequence",
    "encoded_payload", "hidden_text", "imitation",
]  # fmt: skip
