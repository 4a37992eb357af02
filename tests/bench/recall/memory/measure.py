"""What the bench tells of a memory: evidence among the first five, what it rightly does not know, and its cache.

* **Evidence**: the share of questions for which everything that has to be known is among the first five turns, by
  plain vectors and by ours, over the same dialogues. The seed measured is none that the ranking was tuned on.
* **Abstention**: "I do not know" is right for questions that belong to other dialogues, for what nobody told about
  things that are there, and for those of the dialogues to the judged collection; it is wrong for the dialogues' own
  questions and the judged collection's. Precision and recall by the product's threshold
  (`shared.retrieval.abstention`), over a memory also by whether anything found speaks of it (`shared.memory.ranking`).
* **Cache**: a hit is near by embedding and the same by its words (`shared.memory.sameness`).
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

from shared.inference.ports import EmbeddingModel
from shared.library.library import Library
from shared.memory.sameness import NEAR_COSINE_MIN, is_same_question
from shared.retrieval.abstention import SUPPORT_MIN
from shared.retrieval.search import query_of
from shared.retrieval.vectors import cosines, opened, quantised
from tests.bench.recall.judged import JudgedCollection
from tests.bench.recall.memory.dialogues import DIALOGUES, Dialogue, Kind, Question, dialogues
from tests.bench.recall.memory.questions import NEAR_MISSES, Pair, near_misses, paraphrases
from tests.bench.recall.memory.recalling import OurMemory, PlainMemory
from tests.bench.recall.shelf import NAME

SEED: Final = 2026
TOP: Final = 5
FOREIGN_EACH: Final = 2
UNTOLD_EACH: Final = 2
UNTOLD: Final = (
    "Who designed {it}?", "How noisy is {it}?", "Is {it} wheelchair accessible?", "What is {it} made of?",
    "When does the lease of {it} end?", "Which insurance covers {it}?", "Where was {it} manufactured?",
    "How tall is {it}?", "Who cleans {it} at weekends?", "Has {it} ever been stolen?",
)  # fmt: skip
"""What nobody says in any dialogue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """Shares of questions whose evidence is among the first five, whole and by kind."""

    plain: float
    ours: float
    by_kind: Mapping[Kind, tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstained:
    """Of "I do not know": how much of it was right, and how much of what is not known got it; and of each sort of
    question the share that got it."""

    precision: float
    recall: float
    by_sort: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """`hit_rate`: of paraphrases. `wrong_hits`: of `near_misses` pairs that have different answers."""

    hit_rate: float
    wrong_hits: int
    paraphrases: int
    near_misses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFound:
    recalled: Recalled
    abstained: Abstained
    cached: Cached

    def fields(self) -> dict[str, object]:
        return {
            "memory": {
                "plain_top5": round(self.recalled.plain, 4),
                "ours_top5": round(self.recalled.ours, 4),
            },
            "abstention": {
                "precision": round(self.abstained.precision, 4),
                "recall": round(self.abstained.recall, 4),
            },
            "cache": {"hit_rate": round(self.cached.hit_rate, 4), "wrong_hits": self.cached.wrong_hits},
        }


async def measure_memory(
    directory: Path,
    embedder: EmbeddingModel,
    judged: JudgedCollection,
    library: Library,
    *,
    count: int = DIALOGUES,
    near_miss_count: int = NEAR_MISSES,
) -> MemoryFound:
    """`library`: with the judged collection. `directory`: for what is made."""
    told = dialogues(SEED, count)
    hits: dict[Kind, list[tuple[bool, bool]]] = defaultdict(list)
    unknown: dict[str, list[bool]] = defaultdict(list)
    rng = random.Random(SEED)
    for number, dialogue in enumerate(told):
        plain = PlainMemory(embedder)
        await plain.add(dialogue.turns)
        with closing(OurMemory(directory / f"memory-{number}", embedder)) as ours:
            await ours.add(dialogue.turns)
            for question in dialogue.questions:
                first = await plain.search(question.text, question.at, TOP)
                best = await ours.search(question.text, question.at, TOP)
                hits[question.kind].append((is_met(question, first), is_met(question, best)))
                unknown["told"].append(not await ours.knows(question.text, question.at))
            at = dialogue.questions[0].at
            for text in _foreign(told, dialogue, rng):
                unknown["of others"].append(not await ours.knows(text, at))
            for text in _untold(dialogue, rng):
                unknown["untold"].append(not await ours.knows(text, at))
    unknown["judged"] = [not await _knows(library, embedder, text) for text in judged.queries.values()]
    unknown["not judged"] = [
        not await _knows(library, embedder, question.text) for each in told for question in each.questions[:1]
    ]
    return MemoryFound(
        recalled=_recalled(hits),
        abstained=_abstained(unknown),
        cached=await measure_cache(embedder, paraphrases(), near_misses(SEED, near_miss_count)),
    )


async def measure_cache(embedder: EmbeddingModel, same: Sequence[Pair], others: Sequence[Pair]) -> Cached:
    return Cached(
        hit_rate=fmean([await _is_hit(embedder, pair) for pair in same]),
        wrong_hits=sum([await _is_hit(embedder, pair) for pair in others]),
        paraphrases=len(same),
        near_misses=len(others),
    )


def is_met(question: Question, found: Sequence[int]) -> bool:
    """Whether each thing that has to be known is said by one of the turns."""
    return all(each.intersection(found) for each in question.evidence)


async def _is_hit(embedder: EmbeddingModel, pair: Pair) -> bool:
    if not is_same_question(pair.one, pair.other):
        return False
    one, other = await embedder.embed([pair.one, pair.other])
    return float(cosines(quantised(one), opened([quantised(other)]))[0]) >= NEAR_COSINE_MIN


async def _knows(library: Library, embedder: EmbeddingModel, text: str) -> bool:
    (vector,) = await embedder.embed([text])
    return library.search(query_of(text, quantised(vector)), [NAME], limit=TOP).support >= SUPPORT_MIN


def _foreign(told: Sequence[Dialogue], dialogue: Dialogue, rng: random.Random) -> list[str]:
    """Questions of other places of work."""
    others = [each for each in told if each.world is not dialogue.world]
    return [rng.choice(rng.choice(others).questions).text for _ in range(FOREIGN_EACH if others else 0)]


def _untold(dialogue: Dialogue, rng: random.Random) -> list[str]:
    """Of things that the dialogue speaks of what it does not say."""
    world = dialogue.world
    things = (*world.machines, *world.doors, *world.things)
    return [
        text.format(it=rng.choice(things))
        for text in rng.sample(UNTOLD, UNTOLD_EACH)
    ]  # fmt: skip


def _recalled(hits: Mapping[Kind, Sequence[tuple[bool, bool]]]) -> Recalled:
    every = [hit for each in hits.values() for hit in each]
    return Recalled(
        plain=fmean(plain for plain, _ in every),
        ours=fmean(ours for _, ours in every),
        by_kind={
            kind: (fmean(plain for plain, _ in each), fmean(ours for _, ours in each))
            for kind, each in hits.items()
        },
    )


def _abstained(unknown: Mapping[str, Sequence[bool]]) -> Abstained:
    wrong = sum(unknown["told"]) + sum(unknown["judged"])
    not_known = [each for sort in ("of others", "untold", "not judged") for each in unknown[sort]]
    said = wrong + sum(not_known)
    return Abstained(
        precision=sum(not_known) / said if said else 0.0,
        recall=fmean(not_known) if not_known else 0.0,
        by_sort={sort: fmean(each) for sort, each in unknown.items() if each},
    )
