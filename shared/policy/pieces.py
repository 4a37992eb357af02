"""A request whose parts bear different labels: what a person asks now, and what was said before by whom.

The record of the request bears the labels of all of it. Beside it stands, as JSON, where it is cut and what each part
bears; who does not know of that, or cannot read it, takes all of it for what the record says. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Piece = tuple[str, Sequence[str]]
"""A part of a request, with its labels."""


def told_of(pieces: Sequence[Piece]) -> dict[str, Any]:
    """Where a request is cut, for `cut`. `pieces`: all of it, in order."""
    bears = list(dict.fromkeys(tuple(labels) for _, labels in pieces))
    return {"bears": bears, "pieces": [[len(text), bears.index(tuple(labels))] for text, labels in pieces]}


def cut(request: str, labels: Sequence[str], told: Mapping[str, Any]) -> list[Piece]:
    """A request in pieces, in order. `labels`: of all of it, which it bears as one where nothing fitting is told."""
    pieces: list[Piece] = []
    start = 0
    try:
        match told:
            case {"bears": list() as bears, "pieces": list() as cuts}:
                for length, place in cuts:
                    pieces.append((request[start : start + length], tuple(map(str, bears[place]))))
                    start += length
    except (TypeError, ValueError, IndexError):
        return [(request, labels)]
    return pieces if pieces and start == len(request) else [(request, labels)]
