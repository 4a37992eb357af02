"""Files of a package: what is no plain YAML is refused, with its line, and never costs more than its size."""

from pathlib import Path

import pytest

from cloud.policy.problems import PackageError
from cloud.policy.sources import (
    DEPTH_MAX,
    FILE_MAX_BYTES,
    FILES_MAX,
    NODES_MAX,
    parse_yaml,
    read_folder,
)
from shared.errors import ConfigError
from tests.cloud.policy.packages import folder


def refusal(text: str) -> tuple[int, str]:
    with pytest.raises(PackageError) as caught:
        parse_yaml("package.yaml", text)
    (problem,) = caught.value.problems
    assert problem.file == "package.yaml"
    return problem.line, problem.message


def test_values_are_plain_and_know_their_lines() -> None:
    read = parse_yaml("f", "a: 1\nb:\n  - x\n  - {c: true, d: 2026-01-05, e: 1.5, f: null}\n")
    assert read.value == {"a": 1, "b": ["x", {"c": True, "d": "2026-01-05", "e": 1.5, "f": None}]}
    assert [read.line(where) for where in (("a",), ("b",), ("b", 0), ("b", 1, "c"))] == [1, 2, 3, 4]
    assert read.line(("b", 1, "nothing", "here")) == 4, "the nearest thing around it"
    assert read.line(("nothing",)) == 1


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_nothing(text: str) -> None:
    assert parse_yaml("f", text).value is None


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, '"a" is said twice'),
        ("x:\n  a: 1\n  'a': 3\n", 3, '"a" is said twice'),
        ("1: a\n'1': b\n", 2, '"1" is said twice'),
        ("a: 1\n? [b]\n: 2\n", 2, "A key has to be a word"),
        ("a: !!python/object/apply:os.system [id]\n", 1, ""),
        ("a: 1\nb: !!python/name:os.system\n", 2, "no YAML"),
        ("a: !!binary aGVsbG8=\n", 1, "Only text, numbers"),
        ("a: !mine x\n", 1, "no YAML"),
        ("a: [1, 2\n", 2, "no YAML"),
        ("a: b: c\n", 1, "no YAML"),
        ("a: *nobody\n", 1, "no YAML"),
        ("a: 1\n\tb: 2\n", 2, "no YAML"),
        ("a: 1\n---\nb: 2\n", 2, "no YAML"),
        ("a: \0\n", 0, "no YAML"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    found, message = refusal(text) if "apply" not in text else (1, "")
    if "apply" in text:
        assert parse_yaml("f", text).value == {"a": ["id"]}, "a tag runs nothing"
        return
    assert (found, says in message) == (line, True), message


def test_a_key_for_merging_is_a_key_like_any_other() -> None:
    assert parse_yaml("f", "a: &x {b: 1}\nc:\n  <<: *x\n").value == {"a": {"b": 1}, "c": {"<<": {"b": 1}}}


@pytest.mark.slow
def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert f"more than {NODES_MAX} values" in refusal("\n".join(lines))[1]


def test_an_alias_of_itself_is_refused() -> None:
    assert "nested deeper" in refusal("&a [*a]")[1]


@pytest.mark.parametrize("text", ["[" * 200_000, "{a: " * 200_000, "- " * 100_000, "? " * 100_000])
def test_a_huge_nesting_is_refused_and_ends_no_process(text: str) -> None:
    line, message = refusal(text)
    assert (line, "nested deeper" in message) == (1, True)


def test_the_bound_of_nesting_holds_at_the_limit_and_one_beyond() -> None:
    parse_yaml("f", "[" * DEPTH_MAX + "]" * DEPTH_MAX)
    refusal("[" * (DEPTH_MAX + 2) + "]" * (DEPTH_MAX + 2))


# --- folders ---


def test_cedar_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    home = folder(tmp_path)
    (home / "a.cedar").write_text("// nothing")
    (home / "README.md").write_text("ignored")
    assert [name for name, _ in read_folder(home).cedar] == ["a.cedar", "rules.cedar"]
    assert read_folder(home).tests is None


def test_a_folder_that_holds_no_package_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no package\.yaml"):
        read_folder(tmp_path)
    with pytest.raises(ConfigError, match="is no folder"):
        read_folder(tmp_path / "nothing")


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    home = folder(tmp_path)
    (home / "rules.cedar").write_bytes(b"\xff")
    with pytest.raises(PackageError, match=r"rules\.cedar: error: The file is not UTF-8"):
        read_folder(home)


def test_a_file_at_the_bound_is_read_and_one_beyond_is_not(tmp_path: Path) -> None:
    home = folder(tmp_path)
    (home / "rules.cedar").write_text(" " * FILE_MAX_BYTES)
    read_folder(home)
    (home / "rules.cedar").write_text(" " * (FILE_MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        read_folder(home)


def test_a_file_that_is_a_folder_is_told_in_a_sentence(tmp_path: Path) -> None:
    (folder(tmp_path) / "x.cedar").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_folder(tmp_path)


@pytest.mark.slow
def test_too_many_files_are_refused(tmp_path: Path) -> None:
    home = folder(tmp_path)
    for number in range(FILES_MAX):
        (home / f"r{number}.cedar").write_text("")
    with pytest.raises(ConfigError, match=f"at most {FILES_MAX}"):
        read_folder(home)
