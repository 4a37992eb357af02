"""Why a document is refused, as codes that stay. Pure."""

from enum import StrEnum

from shared.errors import RefusedError


class Reason(StrEnum):
    EMPTY = "file_empty"
    TOO_LARGE = "file_too_large"
    TOO_COMPLEX = "file_too_complex"
    """Nested deeper, or of more parts, than any document that people write."""
    TYPE_LIES = "file_type_lies"
    """The bytes are of another kind than the name says."""
    TYPE_UNKNOWN = "file_type_unknown"
    """A kind that is not read here."""
    ENCRYPTED = "file_encrypted"
    BROKEN = "file_broken"
    UNSAFE = "file_unsafe"
    """Parts made to harm who opens it: paths that lead out, entities, one name twice."""
    NO_TEXT = "no_text"
    TIMEOUT = "extraction_timeout"
    MEMORY = "extraction_memory"
    CRASHED = "extraction_crashed"
    """The process that read it ended, or answered what cannot be."""


def refused(reason: Reason, message: str) -> RefusedError:
    return RefusedError(message, code=reason.value)


def crashed() -> RefusedError:
    return refused(
        Reason.CRASHED, "Reading the document broke the program that reads it; save it in another format."
    )
