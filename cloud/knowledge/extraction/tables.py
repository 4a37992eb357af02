"""Rows of cells as the text of a table: one row a line between pipes, a delimiter row after the first (as
Markdown). Pure."""

from collections.abc import Iterable, Sequence

from cloud.knowledge.extraction.draft import Draft
from cloud.knowledge.extraction.reasons import Reason, refused


def table_text(rows: Iterable[Sequence[str]], draft: Draft) -> str:
    """The first row is the header. Rows without any text are left out, shorter ones filled up.

    Raises `RefusedError` beyond the bounds of a table or of the document's text.
    """
    lines: list[str] = []
    chars = width = count = 0
    for row in rows:
        count += 1
        check_size(draft, rows=count, columns=len(row))
        cells = [_cell(cell) for cell in row]
        if not any(cells):
            continue
        width = width or len(cells)
        line = f"| {' | '.join(cells + [''] * (width - len(cells)))} |"
        chars += len(line) + (1 if lines else 0)
        if chars > draft.limits.text_max_chars:
            raise draft.too_long()
        lines.append(line)
    if len(lines) > 1:
        lines.insert(1, "|" + " --- |" * width)
    return "\n".join(lines)


def check_size(draft: Draft, *, rows: int, columns: int) -> None:
    limits = draft.limits
    if rows > limits.table_max_rows:
        raise refused(
            Reason.TOO_LARGE,
            f"A table has more than {limits.table_max_rows:,} rows; split the file into several.",
        )
    if columns > limits.table_max_columns:
        raise refused(
            Reason.TOO_LARGE, f"A table has more than {limits.table_max_columns:,} columns; leave some out."
        )


def _cell(text: str) -> str:
    """On one line; a pipe of its own is escaped, as in Markdown."""
    if not text.isprintable() or "  " in text:
        text = " ".join(text.split())
    return text.replace("|", "\\|").strip() if "|" in text else text.strip()
