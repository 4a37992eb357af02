"""English words that a question is made with, whatever it is about. Pure.

They are indexed like any other word, and in a query they count for less, not for nothing: "to be or not to be" can
still be found. Their rarity says little about them: texts that state facts hold few of a question's words, so that
"what did" would weigh as much as a name.
"""

from typing import Final

from shared.retrieval.terms import terms

FUNCTION_WORD_WEIGHT: Final = 0.25
"""nDCG@10 of keywords at 1, 0.5, 0.25, 0.1 and 0: CACM .506 .526 .532 .532 .530, dialogue .370 .479 .595 .643 .641,
the same with other words .178 .174 .161 .130 .119, package descriptions .882 .881 .881 .879 .879."""

_WORDS: Final = """
    a about above after again against all also am an and any are as at be because been before being
    below between both but by can could did do does doing down during each few find for from further
    give had has have having he her here hers him his how i if in into is it its itself just know me
    might more most must my no nor not of off on once only or other our out over own please same shall
    she should show so some such tell than that the their them then there these they this those through
    to too under until up very was we were what when where which while who whom why will with would you
    your yours
"""
FUNCTION_WORDS: Final = frozenset(terms(_WORDS))
"""As terms."""
