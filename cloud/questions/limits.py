"""How much of answering devices' questions the hub takes upon itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionLimits:
    """`waiting_max`: open questions of one device. `worth_s`: for how long after it came a question is worth answering.

    `attempts_max`: how often answering is tried, again after `retry_s`, and after twice as long each further time.
    """

    waiting_max: int = 20
    worth_s: float = 604_800
    attempts_max: int = 5
    retry_s: float = 10.0
