"""One child for all tests that do not break it."""

from collections.abc import Iterator

import pytest

from cloud.knowledge.extraction import Extractor


@pytest.fixture(scope="session")
def extractor() -> Iterator[Extractor]:
    with Extractor() as one:
        one.measures()  # started here and not in some test
        yield one
