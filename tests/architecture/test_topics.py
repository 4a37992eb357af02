"""Only shared/topics.py contains topic strings (STYLE: build and parse topics in one place).

Why: a topic that is spelled twice is one day spelled differently, and the access rules of the broker hang on it.
"""

import re

from shared import topics
from tests.architecture.tree import python_files, relative

HOME = "shared/topics.py"
# `covey/1/lane` and the like are labels that keep signatures, hashes and keys apart, not topics.
TOPIC = re.compile(f"{re.escape(topics.ROOT)}/(hub|d)\\b")


def test_no_other_source_file_contains_a_topic() -> None:
    files = python_files("edge", "cloud", "deploy", "shared")
    found = [path for path in files if TOPIC.search(path.read_text("utf-8"))]
    assert [relative(path) for path in found if relative(path) != HOME] == []


def test_pattern_finds_every_topic_of_the_protocol() -> None:
    built = [topics.HUB_STATUS, *(topics.device_topic("acme.dev-1", channel) for channel in topics.Channel)]
    assert [topic for topic in built if not TOPIC.search(topic)] == []
