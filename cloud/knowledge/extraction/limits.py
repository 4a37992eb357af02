"""The bounds of one extraction. Pure. Each has its unit in its name, and a test at the bound and one past it."""

from dataclasses import dataclass

MIB = 1_048_576


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionLimits:
    """A document beyond a bound is refused with a code (`reasons.Reason`); it is never cut silently."""

    content_max_bytes: int = 64 * MIB
    """Of the file as it came. Looked at before anything else."""
    text_max_chars: int = 64 * MIB
    """Of the document's text, in characters (code points)."""
    blocks_max: int = 500_000
    """Headings, paragraphs, lists, tables and code of one document."""
    output_max_bytes: int = 256 * MIB
    """Of what the child may answer. More than a text of `text_max_chars` can need is a child gone wrong."""
    cpu_max_s: float = 60.0
    """Processor time for one document."""
    wall_max_s: float = 120.0
    """Time on the clock for one document, as the hub measures it."""
    memory_max_bytes: int = 1_536 * MIB
    """Address space of the child (RLIMIT_AS), libraries included. A text needs up to ten times its bytes."""
    process_max_documents: int = 200
    """After so many the child is replaced, so that what a library leaks, or keeps of one document, does not pile up."""
    pages_max: int = 5_000
    """Pages of a PDF."""
    sheets_max: int = 256
    """Sheets of a workbook, hidden ones included."""
    table_max_rows: int = 250_000
    """Rows of one sheet or CSV file."""
    table_max_columns: int = 1_024
    """Columns of one sheet or CSV file."""
    nesting_max_depth: int = 64
    """Lists in lists, tables in tables. Elements of HTML and XML without meaning for the text do not count."""
    archive_max_entries: int = 10_000
    """Files in the ZIP that a DOCX or XLSX is."""
    archive_max_bytes: int = 512 * MIB
    """Of all of them together, unpacked, as the archive's directory tells and again as they are read."""
    archive_part_max_bytes: int = 256 * MIB
    """Of one of them, unpacked."""
    archive_max_ratio: int = 200
    """Unpacked to packed bytes of one of them, where it unpacks to more than 1 MiB. Office files have 5 to 50."""
