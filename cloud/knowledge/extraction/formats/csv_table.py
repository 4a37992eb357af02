"""CSV (RFC 4180) and its relatives with semicolons, tabs or pipes: one table; the first row is its header.

The delimiter is the one that cuts the first rows into the same number of cells, more than one; `csv.Sniffer`
guesses letters. Cells are text as written: a reader of the table knows better than we do whether 1.234 is a
thousand.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from itertools import islice
from typing import Final

from cloud.knowledge.extraction.decoding import decoded
from cloud.knowledge.extraction.draft import Draft, Source
from cloud.knowledge.extraction.reasons import Reason, refused
from cloud.knowledge.extraction.tables import table_text
from shared.retrieval.blocks import BlockKind, Document

DELIMITERS: Final = ",;\t|"
"""Also the order of preference where several fit as well."""
SNIFFED_ROWS: Final = 50
SNIFFED_CHARS: Final = 65_536


def read(source: Source, draft: Draft) -> Document:
    text = draft.cleaned(decoded(source.content, draft))
    csv.field_size_limit(draft.limits.text_max_chars)  # of this process, also for what came before
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first) == 5:  # what Excel writes and reads
        delimiter, text = first[4], rest
    else:
        delimiter = _delimiter(text[:SNIFFED_CHARS])
    try:
        table = table_text(_rows(text, delimiter), draft)
    except csv.Error as error:
        raise refused(Reason.BROKEN, f"The file is no CSV: {error}.") from error
    draft.add(BlockKind.TABLE, table)
    return draft.built(source)


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    return csv.reader(StringIO(text, newline=""), delimiter=delimiter)


def _delimiter(sample: str) -> str:
    """The candidate under which most rows have the same number of cells; of those, the one with most cells."""
    best, best_fit = DELIMITERS[0], (0, 0)
    for candidate in DELIMITERS:
        widths = Counter(len(row) for row in islice(_rows(sample, candidate), SNIFFED_ROWS) if row)
        fits = [(rows, width) for width, rows in widths.items() if width > 1]
        if fits and max(fits) > best_fit:
            best, best_fit = candidate, max(fits)
    return best
