"""What of finished work may be given again."""

import json

from edge.core.remembering import Now, Used, answer_of

NOW = Now(knowledge={"manuals": "aa"}, rules="", model="scripted")
FOUND = Used(
    tool="memory.read",
    arguments={},
    result=json.dumps(
        {
            "passages": [
                {"text": "Ann is on duty.", "source": "Roster", "collection": "manuals", "revision": "aa"}
            ]
        }
    ),
)
SHOWN = Used(
    tool="read_sensor", arguments={}, result=json.dumps({"sensor": "fridge", "value": 4, "unit": "°C"})
)


def test_what_a_document_says_of_the_moment_is_not_given_again() -> None:
    assert answer_of("Who is on duty at the moment?", "Ann.", [FOUND], NOW) is None
    assert answer_of("Who is on duty at weekends?", "Ann.", [FOUND], NOW) is not None


def test_what_a_sensor_shows_at_the_moment_is_given_again_while_it_does() -> None:
    found = answer_of("How warm is the fridge at the moment?", "4 °C.", [SHOWN], NOW)
    assert found is not None
    assert found.sensors == {"fridge": "4 °C"}
