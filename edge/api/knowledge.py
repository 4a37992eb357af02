"""What the local API and the commands tell of knowledge, as plain JSON values."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a device without knowledge does without it
    from shared.knowledge.answer import Supported
    from shared.library.answering import Answered
    from shared.library.library import Findings, Passage


def describe_found(found: "Findings") -> dict[str, Any]:
    """What a search found, the best first."""
    return {
        "passages": [describe_passage(each) for each in found.passages],
        "is_supported": found.is_supported,
        "ranked_by": found.ranked_by,
        "refused": found.refused,
        "note": found.note,
    }


def describe_passage(passage: "Passage") -> dict[str, Any]:
    """A passage and where it stands. `start` and `end`: characters of the document's text."""
    from shared.library.answering import citation_of

    item = passage.item
    return {
        "text": item.text,
        "headings": list(item.headings),
        "score": round(passage.score, 6),
        "citation": citation_of(passage).line,
        "collection": passage.collection,
        "revision": passage.number,
        "labels": list(passage.labels),
        "document": item.document,
        "title": item.title,
        "page": item.page or None,
        "start": item.start,
        "end": item.end,
    }


def is_end(item: "Supported | Answered") -> bool:
    """Whether it is the end of an answer, or a sentence of it."""
    from shared.library.answering import Answered

    return isinstance(item, Answered)


def describe_item(item: "Supported | Answered") -> dict[str, Any]:
    """A piece of an answer."""
    from shared.library.answering import Answered

    return describe_answer(item) if isinstance(item, Answered) else describe_sentence(item)


def describe_sentence(sentence: "Supported") -> dict[str, Any]:
    """A sentence, and the number of the source that says it."""
    return {"text": sentence.text, "source": sentence.quote}


def describe_answer(end: "Answered") -> dict[str, Any]:
    """The whole answer with its sources."""
    return {
        "text": end.answer.text,
        "is_known": end.answer.is_known,
        "sources": [
            {"number": each.number, "citation": each.citation.line, "passage": describe_passage(each.passage)}
            for each in end.cited
        ],
        "by": end.by,
        "dropped": end.answer.dropped,
        "labels": sorted({label for each in end.cited for label in each.passage.labels}),
        "note": end.note,
    }
