"""Desired settings beside reported ones, one line a setting: pure.

A setting is named by its path (`a.b`). What a device reports beyond what is desired of it are its defaults: nobody
wished otherwise, so they neither differ nor are listed.
"""

from collections.abc import Iterator, Mapping, Sequence

from cloud.dashboard.facts import SettingFacts
from shared.twin import Document, is_same

_ABSENT = object()


def setting_lines(
    desired: Document, reported: Document, refused: Mapping[str, str]
) -> Sequence[SettingFacts]:
    """Each desired setting, and each refused one, in the order of their paths."""
    here = dict(_leaves(reported))
    lines = {
        path: _line(path, value, here.get(path, _ABSENT), refused.get(path))
        for path, value in _leaves(desired)
    }
    for path, reason in refused.items():
        if path not in lines:
            lines[path] = _line(path, _ABSENT, here.get(path, _ABSENT), reason)
    return [lines[path] for path in sorted(lines)]


def _line(path: str, desired: object, reported: object, refused: str | None) -> SettingFacts:
    is_desired, is_reported = desired is not _ABSENT, reported is not _ABSENT
    return SettingFacts(
        path=path,
        desired=desired if is_desired else None,
        is_desired=is_desired,
        reported=reported if is_reported else None,
        is_reported=is_reported,
        refused=refused,
        is_met=is_desired and is_reported and refused is None and is_same(desired, reported),
    )


def _leaves(document: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    """Paths and values; an object without members is a value."""
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
