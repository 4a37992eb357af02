"""From the bytes of a file to a document for the search: its text, its blocks with exact spans, its pages.

    with Extractor(ExtractionLimits()) as extractor:
        found = extractor.extract("pump.pdf", content)     # blocks; call it from a thread
        found.document, found.media_type, found.notices

`extractor.py` is the door, `formats/` has one file a format and the table of all, `limits.py` every bound,
`reasons.py` every refusal. Files are hostile until proven otherwise: `child.py` reads them in a process of its
own, which `containment.py` leaves with nothing to harm.
"""

from cloud.knowledge.extraction.extracted import Extracted, Notice, NoticeCode
from cloud.knowledge.extraction.extractor import Extractor
from cloud.knowledge.extraction.formats import FORMATS
from cloud.knowledge.extraction.limits import ExtractionLimits
from cloud.knowledge.extraction.media import Format
from cloud.knowledge.extraction.reasons import Reason

__all__ = [
    "FORMATS",
    "Extracted",
    "ExtractionLimits",
    "Extractor",
    "Format",
    "Notice",
    "NoticeCode",
    "Reason",
]
