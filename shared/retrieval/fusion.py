"""Keyword scores and cosines into one score, trusting each side as far as this query deserves. Pure.

Rank fusion cannot know that one side is only guessing. Here the score of an item is the weighted mean of the share
of the query that its words cover (`keyword`, 0 to 1) and its cosine, and the weight of the keywords is

    TRUST * min(1, best / SOUND_COVERAGE) * sqrt(gap of keywords / gap of cosines)
          * (SOUND_COSINE / best cosine)^2 * SOUND_COSINE / best

times that of the cosine: keywords count for little where even the best item covers little of the query (other words
were used), and for more the more their best item stands out against the tenth (a gap is 1 - tenth / best) while
cosines are flat or low (part numbers, codes, names: the model knows none of them). The form and the values come
from a search over 6,000 settings on six collections (CACM; Debian package descriptions; manual pages; maintenance
notes with codes; two of dialogue turns), of which the simplest near the best was taken. nDCG@10 of keywords,
cosines, reciprocal ranks, and this:

    CACM .534 .429 .565 .587     packages .879 .865 .890 .922    pages .820 .785 .844 .860   notes .978 .355 .612 .980
    dialogue .634 .748 .717 .755, paraphrased so that no word is shared .170 .523 .252 .508
    Python's docstrings, not used for the choice: .571 .603 .635 .655

Everything that the weight depends on comes from the best items of each side, which an approximate index finds too;
and each item's score from that item and the weight alone. So candidates that one machine found and another did not
change nothing.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

TRUST: Final = 0.37
SOUND_COVERAGE: Final = 0.23
SOUND_COSINE: Final = 0.6
"""What a passage on the subject reaches with all-MiniLM-L6-v2; another model needs another value."""
COSINE_MIN: Final = 0.05
"""Below this a best cosine says nothing more."""
GAP_FLOOR: Final = 0.02
GAP_STEPS: Final = 64
"""The gap of the cosines is rounded down to a 64th: its tenth item is the only thing here that an approximate index
might miss, and this way it mostly does not matter."""
GAP_RANK: Final = 10

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fused:
    """`scores` from 0 to 1, one an item; `keyword_weight`: that of the keyword part against the cosine's, which is 1;
    None: there were no cosines."""

    scores: Scores
    keyword_weight: float | None


def fused(keyword: Scores, cosine: Scores | None) -> Fused:
    """The keyword score and the cosine of the same items, which must include the best of either side. A cosine that
    is not a number is unknown (an item without a vector) and taken to be as good as the item's keyword score is."""
    if cosine is None:
        return Fused(keyword, None)
    best = float(np.max(keyword, initial=0.0))
    known = cosine[~np.isnan(cosine)]
    best_cosine = max(float(np.max(known, initial=0.0)), COSINE_MIN)
    weight = 0.0
    if best > 0.0:
        weight = trust(best, _gap(keyword, best), _stepped(_gap(known, best_cosine)), best_cosine) / best
        cosine = np.where(np.isnan(cosine), keyword * (best_cosine / best), cosine)
    cosine = np.maximum(np.nan_to_num(cosine), 0.0)
    return Fused((weight * keyword + cosine) / (weight + 1.0), weight)


def trust(best: float, gap: float, cosine_gap: float, best_cosine: float) -> float:
    """How much the keywords' best item weighs, against the cosine's 1."""
    standing_out = math.sqrt((gap + GAP_FLOOR) / (cosine_gap + GAP_FLOOR))
    lowness = SOUND_COSINE / best_cosine
    return TRUST * SOUND_COSINE * min(1.0, best / SOUND_COVERAGE) * standing_out * lowness * lowness


def _gap(values: Scores, best: float) -> float:
    """How far the tenth value is below the best, as a part of the best."""
    if len(values) < GAP_RANK:
        return 1.0
    tenth = float(np.partition(values, len(values) - GAP_RANK)[len(values) - GAP_RANK])
    return min(max(1.0 - tenth / best, 0.0), 1.0)


def _stepped(gap: float) -> float:
    return math.floor(gap * GAP_STEPS) / GAP_STEPS
