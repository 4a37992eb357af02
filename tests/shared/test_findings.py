"""What a doctor concludes from what it found."""

import pytest

from shared.findings import Finding, State, conclusion, exit_code, fail, ok, warn

WELL = ok("clock", "It goes.")
KNOWN = warn("disk", "It fills.", "df -h")
WRONG = fail("broker", "It is away.", "systemctl status mosquitto")


def test_only_what_fails_fails_a_script() -> None:
    assert exit_code([]) == 0
    assert exit_code([WELL, KNOWN]) == 0
    assert exit_code([WELL, KNOWN, WRONG]) == 1


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        ([WELL, WELL], "All is well."),
        ([WELL, KNOWN], "1 thing to know."),
        ([WRONG, WRONG], "2 things wrong."),
        ([WRONG, KNOWN, KNOWN, WELL], "1 thing wrong and 2 things to know."),
    ],
)
def test_the_last_line_counts_what_is_wrong_and_what_is_to_know(findings: list[Finding], said: str) -> None:
    assert conclusion(findings) == said


def test_a_good_finding_has_nothing_to_mend() -> None:
    assert (WELL.state, WELL.command) == (State.OK, None)
    assert (WRONG.state, WRONG.command) == (State.FAIL, "systemctl status mosquitto")
