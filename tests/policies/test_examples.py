"""The example packages compile without a warning, and nothing can be taken from them that their tests do not notice."""

import pytest

from cloud.policy.lint import lint
from cloud.policy.package_tests import run_tests
from cloud.policy.sources import Sources
from tests.policies.packages import NAMES, compiled, is_noticed, monitor_for, mutants, sources_of

MUTANTS = [
    pytest.param(mutant, id=f"{name}: {what}") for name in NAMES for what, mutant in mutants(name)
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_example_compiles_without_a_warning(name: str) -> None:
    made = compiled(name)

    assert [str(problem) for problem in lint(made.package, made.rules, sources_of(name))] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_examples_stories_end_as_they_say(name: str) -> None:
    results = list(run_tests(sources_of(name).tests, compiled(name).package, lambda: monitor_for(name)))

    assert len(results) >= 15
    assert [failure for result in results for failure in result.failures] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_named_after_its_folder(name: str) -> None:
    assert compiled(name).package.name == name


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.slow
def test_an_examples_own_tests_notice_what_is_taken_away(mutant: Sources) -> None:
    assert is_noticed(mutant)


def test_every_rule_of_every_example_is_taken_away_once() -> None:
    taken = {param.id for param in MUTANTS}

    rules = {f"{name}: rule {found.rule.id}" for name in NAMES for found in compiled(name).rules}
    assert rules <= taken
