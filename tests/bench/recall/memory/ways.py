"""How people speak of what changes, and ask for it. Data for `dialogues`."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Ways:
    """How a track is spoken of. Templates know `{it}`, `{value}`, `{old}`, `{who}`, `{what}` and `{date}`."""

    first: tuple[str, ...]
    change: tuple[str, ...]
    unnamed: tuple[tuple[str, str, str], ...]
    echo: str
    now: tuple[str, ...]
    past: tuple[str, ...] = ()
    since: tuple[str, ...] = ()
    count: tuple[str, ...] = ()


SETTING: Final = Ways(
    first=(
        "{It} runs at {value}.", "I have set {it} to {value}.", "The {what} of {it} is {value}.",
        "By the way, while the floor was drying I put {it} to {value}.",
        "{who} insisted, so {it} is at {value} and the discussion is over.",
    ),
    change=(
        "We changed {it} to {value}.", "From today on {it} is at {value}.",
        "I turned {it} to {value}, {old} was wrong.",
        "{It} did not do well at {old}, it gets {value} now.",
        "Before I forget and go home: {it} is at {value} since this morning.",
        "{who} was here and adjusted {it}, {value} it is.",
    ),
    unnamed=(
        ("I have just been at {it}.", "What did you do there?", "Put it to {value}."),
        ("Something about {it}.", "Yes?", "It is {value} from now on."),
    ),
    echo="So {it} is at {value}.",
    now=("What is {it} set to?", "Which {what} does {it} have at the moment?", "At what {what} is {it} running now?"),
    past=(
        "What was {it} set to on {date}?", "Which {what} did {it} have on {date}?",
        "At what {what} did {it} run on {date}?",
    ),
    since=("Since when has {it} been at {value}?", "When was {it} set to {value}?"),
    count=("How many times was the {what} of {it} changed?", "How often did we change {it}?"),
)  # fmt: skip
CODE: Final = Ways(
    first=("The code of {it} is {value}.", "{It} opens with {value}.", "In case you need it, {value} opens {it}."),
    change=(
        "The code of {it} is {value} now.", "They reprogrammed {it}: {value}.", "{old} is history, {it} takes {value}.",
        "{who} left us, so {it} got a new code, {value}.",
    ),
    unnamed=(("There is news about {it}.", "Tell me.", "The new code is {value}."),),
    echo="{It}: {value}.",
    now=("What is the code of {it}?", "How do I open {it}?", "Which code does {it} have now?"),
    past=("What was the code of {it} on {date}?", "With which code did {it} open on {date}?"),
    since=("Since when is {value} the code of {it}?", "When did {it} get the code {value}?"),
    count=("How many times was the code of {it} changed?", "How often did {it} get a new code?"),
)  # fmt: skip
DUTY: Final = Ways(
    first=("{value} looks after {it}.", "{It} is {value}'s job.", "For {it} ask {value}, nobody else knows about it."),
    change=(
        "{value} has taken over {it} from {old}.", "From now on {value} looks after {it}.",
        "{old} is too busy, {value} does {it} now.",
    ),
    unnamed=(("We talked about {it} at the meeting.", "And?", "{value} does that from now on."),),
    echo="{value} then, for {it}.",
    now=("Who looks after {it}?", "Who is responsible for {it} now?", "Whose job is {it}?"),
    past=("Who looked after {it} on {date}?", "Who was responsible for {it} on {date}?"),
    since=("Since when has {value} looked after {it}?", "When did {value} take over {it}?"),
    count=("How many times did {it} go to somebody else?",),
)  # fmt: skip
PHONE: Final = Ways(
    first=("{it} has extension {value}.", "You reach {it} at {value}.", "{it}'s extension is {value}."),
    change=("{it} moved to another desk, extension {value}.", "{it} has a new extension, {value}."),
    unnamed=(("{it} got a new phone.", "Which extension?", "It is {value}."),),
    echo="{it}, {value}.",
    now=("What is the extension of {it}?", "Which extension does {it} have?", "How do I reach {it}?"),
)  # fmt: skip
PLACE: Final = Ways(
    first=("{It}: you find it in {value}.", "I keep {it} in {value}.", "{It} has its place in {value}.",
           "If somebody looks for {it}, {value}."),
    change=(
        "I moved {it} to {value}.", "{It} is in {value} now.", "{who} tidied up, {it} went to {value}.",
        "{It} was always in the way, so now it is in {value}.",
    ),
    unnamed=(("I could not stand {it} lying around.", "Where is it now?", "In {value}."),),
    echo="In {value}, fine.",
    now=("Where is {it}?", "Where do we keep {it}?", "Where can I find {it} now?"),
    past=("Where was {it} on {date}?", "Where did we keep {it} on {date}?"),
    since=("Since when has {it} been in {value}?", "When did {it} go to {value}?"),
    count=("How many times was {it} moved?", "How often did {it} change its place?"),
)  # fmt: skip
PART: Final = Ways(
    first=(
        "{It} has the part number {value}.", "I ordered {it} again, number {value}.",
        "For {it} it says {value} on the bag.",
    ),
    change=("{It} has been replaced by another type, {value}.",),
    unnamed=(("{It} is worn.", "Do you know the number?", "{value}, it says."),),
    echo="{value}, noted.",
    now=("What is the part number of {it}?", "Which number does {it} have?"),
)  # fmt: skip
GOODS: Final = Ways(
    first=("{It} come on {value}.", "The driver brings {it} on {value}.", "We get {it} on {value}."),
    change=("{It} come on {value} now instead of {old}.", "The driver changed his tour, {it} come on {value}."),
    unnamed=(("They called about {it}.", "What is new?", "They come on {value} now."),),
    echo="{It} on {value}.",
    now=("When do {it} come?", "On which day do we get {it}?"),
    past=("On which weekday did {it} come around {date}?",),
)  # fmt: skip
