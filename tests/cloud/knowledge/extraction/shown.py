"""What a test looks at: a document's blocks as kind and text, and the code of a refusal."""

import pytest

from cloud.knowledge.extraction import Extracted, Extractor
from shared.errors import RefusedError


def blocks(found: Extracted) -> list[tuple[str, str]]:
    """Headings carry their level: `("heading 1", "Pump")`."""
    document = found.document
    return [
        (f"{block.kind.value} {block.level}".removesuffix(" 0"), document.text_of(block))
        for block in document.blocks
    ]


def notices(found: Extracted) -> dict[str, int]:
    return {notice.code.value: notice.count for notice in found.notices}


def refusal(extractor: Extractor, name: str, content: bytes) -> str:
    """The code with which it is refused. Its message is one sentence, and none of our internals."""
    with pytest.raises(RefusedError) as caught:
        extractor.extract(name, content)
    message = str(caught.value)
    assert message.endswith(".")
    assert "Traceback" not in message
    assert "\n" not in message
    return caught.value.code
