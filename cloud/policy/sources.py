"""A package's files as they were written, with the line of everything in them.

`package.yaml` and `tests.yaml` are YAML 1.1 as PyYAML's safe loader takes it, with no key twice, no aliases that
multiply, and bounded size; nothing is fetched and nothing is executed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from cloud.policy.problems import PackageError, Problem
from shared.errors import ConfigError

PACKAGE: Final = "package.yaml"
TESTS: Final = "tests.yaml"
CEDAR_SUFFIX: Final = ".cedar"
FILE_MAX_BYTES: Final = 1_024 * 1_024
FILES_MAX: Final = 200
NODES_MAX: Final = 100_000
DEPTH_MAX: Final = 32

Where = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Yaml:
    """A YAML file: its plain value, and for each place in it (keys and indices from the top) its line from 1."""

    file: str
    value: Any
    lines: Mapping[Where, int]

    def line(self, where: Sequence[str | int]) -> int:
        """The line of a place, or of the nearest thing around it."""
        path = tuple(where)
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """All files of a package. `cedar`: name and text of each, in the order of their names."""

    package: Yaml
    cedar: tuple[tuple[str, str], ...]
    tests: Yaml | None


def read_folder(folder: Path) -> Sources:
    """Raises `ConfigError` for a folder that holds no package, `PackageError` for files that are no YAML."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; a package is a folder with {PACKAGE} and *{CEDAR_SUFFIX}.")
    if not (folder / PACKAGE).is_file():
        raise ConfigError(
            f"{folder} has no {PACKAGE}; a package is a folder with {PACKAGE} and *{CEDAR_SUFFIX}."
        )
    rules = sorted(path for path in folder.iterdir() if path.suffix == CEDAR_SUFFIX)
    if len(rules) > FILES_MAX:
        raise ConfigError(f"{folder} has {len(rules)} Cedar files; at most {FILES_MAX} are read.")
    tests = folder / TESTS
    return Sources(
        package=parse_yaml(PACKAGE, _read(folder / PACKAGE)),
        cedar=tuple((path.name, _read(path)) for path in rules),
        tests=parse_yaml(TESTS, _read(tests)) if tests.is_file() else None,
    )


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_MAX_BYTES:
            raise ConfigError(f"{path} is larger than {FILE_MAX_BYTES} bytes.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise PackageError([Problem(file=path.name, line=0, message="The file is not UTF-8.")]) from None


def parse_yaml(file: str, text: str) -> Yaml:
    """Raises `PackageError` with the place of what is no YAML, says a key twice, or is too large."""
    reader = _Reader(file)
    loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
    try:
        _check_depth(file, text, loader)
        root = yaml.compose(text, Loader=loader)
        value = None if root is None else reader.value(root, (), 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 0 if mark is None else mark.line + 1
        raise PackageError(
            [
                Problem(
                    file=file, line=line, message=f"This is no YAML: {error.problem or 'it cannot be read'}."
                )
            ]
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, PackageError):
            raise
        raise PackageError([Problem(file=file, line=0, message="This is no YAML.")]) from None
    return Yaml(file=file, value=value, lines=reader.lines)


def _check_depth(file: str, text: str, loader: Any) -> None:  # one of PyYAML's
    """Composing is recursive in C: what is nested too deep would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_MAX + 1:
            raise _too_large(file, 0 if event.start_mark is None else event.start_mark.line + 1)


def _too_large(file: str, line: int) -> PackageError:
    message = f"The file has more than {NODES_MAX} values, or is nested deeper than {DEPTH_MAX}."
    return PackageError([Problem(file=file, line=line, message=message)])


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Where, int] = {}
        self._nodes = 0
        self._plain = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, where: Where, depth: int) -> Any:  # whatever the file says
        self._nodes += 1
        self.lines[where] = node.start_mark.line + 1
        if self._nodes > NODES_MAX or depth > DEPTH_MAX:
            raise _too_large(self.file, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, where, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*where, index), depth + 1) for index, item in enumerate(node.value)]
        if node.tag == "tag:yaml.org,2002:timestamp":
            return node.value  # a date is text here; who needs one reads it
        value = self._plain.construct_object(node)
        if isinstance(value, bytes | set) or (
            value is not None and not isinstance(value, str | int | float | bool)
        ):
            raise self._error(node, "Only text, numbers, true, false, lists and maps are read here.")
        return value

    def _mapping(self, node: yaml.MappingNode, where: Where, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "A key has to be a word.")
            key = key_node.value
            if key in made:
                raise self._error(key_node, f"{json.dumps(key)} is said twice.")
            made[key] = self.value(value_node, (*where, key), depth + 1)
            self.lines[(*where, key)] = key_node.start_mark.line + 1
        return made

    def _error(self, node: yaml.Node, message: str) -> PackageError:
        return PackageError([Problem(file=self.file, line=node.start_mark.line + 1, message=message)])
