"""`covey-edge knowledge` as a process: with the daemon and without it, with a link and without."""

import json
from pathlib import Path

import pytest

from edge.key_files import KeyFiles
from edge.vault_key import library_key
from shared.knowledge import ChunkEntry, Content, DocumentEntry, Manifest
from shared.library.library import Library
from tests.support.edge_cli import covey_edge, daemon, sentence

pytestmark = pytest.mark.slow

PROTOCOL, REFUSED = 76, 77
TEXT = "Close valve V2 before cleaning the pump."
MODEL = bytes(32)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "edge.toml").write_text('index = "off"\nknowledge = ["manuals"]\n')
    return home


def hold(home: Path) -> None:
    """What a device has taken up, in its library."""
    content = Content(("Pump",), TEXT, b"")
    manifest = Manifest(
        tenant="main",
        name="manuals",
        number=3,
        labels=["internal"],
        model=MODEL,
        documents=[DocumentEntry("pump.md", "Pump", "text/markdown", bytes(32))],
        chunks=[ChunkEntry(0, 0, len(TEXT), 4, content.id)],
    )
    library = Library(home / "knowledge", mac_key=library_key(KeyFiles(home / "identity")), index=None)
    library.add_contents([content], model=MODEL)
    library.apply("manuals", manifest)
    library.close()


def test_a_device_that_holds_nothing_says_what_to_do(home: Path) -> None:
    listed = covey_edge("knowledge", "list", "--json", home=home)
    assert json.loads(listed.out)["collections"][0]["revision"] is None
    found = covey_edge("knowledge", "search", "pump", home=home)
    assert "holds no knowledge" in sentence(found, REFUSED)
    assert covey_edge("knowledge", "verify", home=home).code == 0


def test_what_is_held_is_listed_found_and_verified_without_a_daemon(home: Path) -> None:
    hold(home)
    listed = covey_edge("knowledge", "list", home=home)
    assert "manuals     3         1/1" in listed.out
    assert "internal" in listed.out
    found = covey_edge("knowledge", "search", "which valve?", home=home)
    assert TEXT in found.out
    assert "Pump, page 4 (manuals, revision " in found.out
    assert "By keywords alone" in found.err
    assert "as it was written" in covey_edge("knowledge", "verify", home=home).out


def test_a_daemon_tells_the_same(home: Path) -> None:
    hold(home)
    with daemon(home) as process:
        process.wait_for_line('"ready": true', timeout_s=60)
        found = covey_edge("knowledge", "search", "which valve?", "--json", home=home)
        assert json.loads(found.out)["passages"][0]["text"] == TEXT
        assert "manuals: revision 3, 1 of 1 passages" in " ".join(covey_edge("status", home=home).out.split())


def test_a_library_of_another_device_answers_nothing_and_is_reported(home: Path) -> None:
    hold(home)
    (home / "identity" / "secrets.key").unlink()
    assert covey_edge("knowledge", "search", "which valve?", home=home).out.startswith("Nothing was found.")
    verified = covey_edge("knowledge", "verify", home=home)
    assert verified.code == PROTOCOL
    assert "changed behind the program's back" in verified.out
