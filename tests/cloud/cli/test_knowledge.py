"""`covey-hub knowledge add` against a running hub: a file that cannot be taken is told with its reason and stops
nothing."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.real_hub import SETTINGS, RealHub, hub_command

pytestmark = [pytest.mark.broker, pytest.mark.model, pytest.mark.slow]

DOCUMENT_MAX_BYTES: Final = 4_096


@pytest.fixture
def hub(models_dir: Path, tmp_path: Path) -> Iterator[RealHub]:
    settings = {
        **SETTINGS,
        "models_dir": str(models_dir),
        "answer_model": "",
        "vector_index": "off",
        "dashboard": "off",
        "knowledge_document_max_bytes": DOCUMENT_MAX_BYTES,
    }
    with RealHub(tmp_path / "hub", settings=settings) as running:
        done = hub_command(running, "knowledge", "create", "manuals")
        assert done.returncode == 0, done.stderr
        yield running


def test_files_that_cannot_be_taken_are_told_and_stop_none_of_the_others(
    hub: RealHub, tmp_path: Path
) -> None:
    folder = tmp_path / "manuals"
    folder.mkdir()
    (folder / "a-empty.pdf").write_bytes(b"")
    (folder / "b-fits.txt").write_text("x" * (DOCUMENT_MAX_BYTES - 1) + "\n")
    (folder / "c-huge.txt").write_text("x" * (DOCUMENT_MAX_BYTES + 1))
    (folder / "d-\x07bell.md").write_text("# Bell\n\nIt rings.\n")
    (folder / "e-gone.md").symlink_to(folder / "nowhere.md")
    (folder / os.fsdecode(b"f-Gr\xf6\xdfe.md")).write_text("# Size\n\nIt is large.\n")
    (folder / "z-pump.md").write_text("# Pump\n\nClose valve V2 before cleaning the pump.\n")
    done = hub_command(hub, "knowledge", "add", "manuals", folder)
    assert done.returncode == 1
    assert "a-empty.pdf: The file is empty." in done.stderr
    assert f"c-huge.txt: A request's body may have at most {DOCUMENT_MAX_BYTES} bytes." in done.stderr
    assert "bell.md: This name cannot be used" in done.stderr
    assert "e.md: Its name is not UTF-8" in done.stderr
    found = hub_command(hub, "knowledge", "search", "Which valve is closed?", "--collection", "manuals")
    assert "Close valve V2" in found.stdout
