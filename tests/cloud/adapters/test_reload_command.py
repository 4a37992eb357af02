"""An operator's command after each change of the revocation list: run without a shell, and believed only if it ended
well."""

from pathlib import Path

import pytest

from cloud.adapters.reload_command import run_reload
from shared.errors import UnavailableError


async def test_a_command_gets_its_arguments_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "a b; touch c"
    await run_reload(["touch", str(file)])
    assert [path.name for path in tmp_path.iterdir()] == ["a b; touch c"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["false"], "failed with exit code 1 (it said nothing)"),
        (["ls", "--no-such-option"], "unrecognized option"),
        (["/no/such/program"], "cannot be started (No such file or directory)"),
    ],
    ids=["fails", "says why", "is not there"],
)
async def test_a_command_that_fails_is_told_in_one_sentence(command: list[str], said: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        await run_reload(command)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
