"""Stub until the detectors are merged."""

DETECTORS = (
    "hidden_text",
    "imitation",
    "encoded_payload",
    "repeated_denials",
    "loop",
    "unusual_sequence",
    "tool_drift",
)
