"""`covey-edge run` understood without the command line's library, and only when there is nothing to judge."""

import inspect

import pytest
import typer

from edge import commands
from edge.run import FLAG, OPTIONS, plain_options, run


def test_plain_run_knows_the_options_of_the_full_command_and_no_other() -> None:
    command = typer.main.get_command(commands.app)
    known = {
        option
        for parameter in command.commands["run"].params  # type: ignore[attr-defined]  # the group's, which it is
        for option in parameter.opts
    }
    assert known - {"--help"} == {*OPTIONS, FLAG}
    assert set(inspect.signature(run).parameters) == set(inspect.signature(commands.run).parameters)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["run"], {}),
        (["run", "--home", "there"], {"--home": "there"}),
        (["run", "--home=there", "--json"], {"--home": "there", "--json": ""}),
        (["run", "--api-port", "0", "--model", "small"], {"--api-port": "0", "--model": "small"}),
    ],
)
def test_plain_run_is_understood(arguments: list[str], values: dict[str, str]) -> None:
    assert plain_options(arguments) == values


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["status"],
        ["--help"],
        ["run", "--help"],
        ["run", "somewhere"],
        ["run", "--home"],
        ["run", "--home="],
        ["run", "--home", "--json"],
        ["run", "--bogus", "1"],
        ["run", "--api-port", "x"],
        ["run", "--api-port", "-1"],
        ["run", "--json=yes"],
    ],
)
def test_everything_else_is_left_to_the_full_command_line(arguments: list[str]) -> None:
    assert plain_options(arguments) is None
