"""Installing from a real web server into a real directory: complete, once, resumable, or refused."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from shared.errors import CapacityError, ConfigError, ProtocolError, UnavailableError
from shared.inference.catalogue import Catalogue, ModelEntry, ModelKind, Preparation
from shared.inference.install import (
    InstalledModel,
    find_installed,
    fingerprint_of,
    install,
    list_models,
    remove,
)
from tests.shared.inference.depot import Depot, Manner, open_depot, small_gguf


@pytest.fixture
def depot(tmp_path: Path) -> Iterator[Depot]:
    with open_depot(small_gguf(tmp_path / "original.gguf")) as depot:
        yield depot


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


def catalogue(depot: Depot) -> Catalogue:
    entry = ModelEntry(
        name="tiny",
        title="Nothing",
        kind=ModelKind.CHAT,
        licence="MIT",
        context_tokens=512,
        memory_mb=1,
        prepare=Preparation.NONE,
        files=(depot.file(),),
    )
    return Catalogue(models=(entry,))


def install_tiny(depot: Depot, models_dir: Path, source: str | None = None) -> InstalledModel:
    return install("tiny", models_dir=models_dir, source_override=source, catalogue=catalogue(depot))


def test_installed_model_is_found_with_its_hashes_and_its_source(depot: Depot, models_dir: Path) -> None:
    model = install_tiny(depot, models_dir)
    assert model == find_installed(models_dir, "tiny")
    assert model.path.read_bytes() == depot.content
    manifest = json.loads((models_dir / "tiny" / "manifest.json").read_text())
    assert manifest["delivered"][0]["source"] == "127.0.0.1"
    assert manifest["delivered"][0]["sha256"] == manifest["sha256"] == model.sha256
    assert not (models_dir / "tiny" / ".staging").exists()


def test_second_installation_does_nothing(depot: Depot, models_dir: Path) -> None:
    first = install_tiny(depot, models_dir)
    assert install_tiny(depot, models_dir) == first
    assert len(depot.ranges) == 1


def test_interrupted_installation_is_continued(depot: Depot, models_dir: Path) -> None:
    depot.manner = Manner.SILENT
    staging = models_dir / "tiny" / ".staging"
    staging.mkdir(parents=True)
    (staging / "model.gguf.part").write_bytes(depot.content[:100])
    with pytest.raises(UnavailableError):
        install_tiny(depot, models_dir)
    depot.manner = Manner.WELL
    install_tiny(depot, models_dir)
    assert set(depot.ranges) == {"bytes=100-"}


def test_file_that_was_changed_behind_our_back_is_installed_anew(depot: Depot, models_dir: Path) -> None:
    model = install_tiny(depot, models_dir)
    model.path.write_bytes(bytes(len(depot.content)))
    assert install_tiny(depot, models_dir).path.read_bytes() == depot.content


def test_touched_but_unchanged_file_is_left_alone(depot: Depot, models_dir: Path) -> None:
    install_tiny(depot, models_dir).path.touch()
    install_tiny(depot, models_dir)
    assert len(depot.ranges) == 1


def test_new_pin_in_the_catalogue_replaces_the_old_file(
    depot: Depot, models_dir: Path, tmp_path: Path
) -> None:
    install_tiny(depot, models_dir)
    depot.content += bytes(32)
    assert install_tiny(depot, models_dir).path.read_bytes() == depot.content
    assert len(list((models_dir / "tiny").glob("*.gguf"))) == 1


def test_wrong_bytes_are_not_installed(depot: Depot, models_dir: Path) -> None:
    depot.manner = Manner.OTHER_BYTES
    with pytest.raises(ProtocolError):
        install_tiny(depot, models_dir)
    assert list_models(models_dir) == []


def test_pinned_file_that_is_no_model_is_refused(models_dir: Path) -> None:
    with (
        open_depot(b"<html>not a model</html>") as depot,
        pytest.raises(ConfigError, match="not a GGUF file"),
    ):
        install_tiny(depot, models_dir)
    assert list_models(models_dir) == []


def test_own_file_is_used_instead_of_the_sources(depot: Depot, models_dir: Path, tmp_path: Path) -> None:
    install_tiny(depot, models_dir, str(tmp_path / "original.gguf"))
    assert depot.ranges == []


def test_own_address_is_used_instead_of_the_sources(depot: Depot, models_dir: Path) -> None:
    with open_depot(depot.content) as mirror:
        install_tiny(depot, models_dir, mirror.source().url)
        assert mirror.ranges == [None]
    assert depot.ranges == []


class Wrong(NamedTuple):
    source: str
    words: str


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong("/nowhere/model.gguf", "does not exist"),
        Wrong("ftp://example.org/model.gguf", "not an https address"),
        Wrong("http://example.org/model.gguf", "not an https address"),
    ],
)
def test_impossible_source_is_refused(depot: Depot, models_dir: Path, wrong: Wrong) -> None:
    with pytest.raises(ConfigError, match=wrong.words):
        install_tiny(depot, models_dir, wrong.source)


def test_own_file_with_another_hash_is_refused(depot: Depot, models_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(bytes(len(depot.content)))
    with pytest.raises(ProtocolError, match="pinned SHA-256"):
        install_tiny(depot, models_dir, str(other))


def test_too_small_a_disk_is_refused_before_anything_is_fetched(
    depot: Depot, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(CapacityError, match="are free") as refused:
        install_tiny(depot, models_dir)
    assert refused.value.bound == "disk_free_bytes"
    assert depot.ranges == []


def test_two_installations_at_once_are_refused(depot: Depot, models_dir: Path) -> None:
    (models_dir / "tiny").mkdir(parents=True)
    with (models_dir / "tiny" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match="wait until it is done"):
            install_tiny(depot, models_dir)
        with pytest.raises(UnavailableError):
            remove("tiny", models_dir=models_dir)
    install_tiny(depot, models_dir)


def test_unknown_model_is_refused(models_dir: Path) -> None:
    with pytest.raises(ConfigError, match="no model 'gpt'"):
        install("gpt", models_dir=models_dir)


def test_missing_model_names_the_command_that_installs_it(models_dir: Path) -> None:
    with pytest.raises(ConfigError, match="`covey-edge model install tiny`") as refused:
        find_installed(models_dir, "tiny")
    assert refused.value.code == "model_missing"


def test_truncated_and_deleted_files_name_the_command_that_repairs_them(
    depot: Depot, models_dir: Path
) -> None:
    model = install_tiny(depot, models_dir)
    model.path.write_bytes(depot.content[:-1])
    with pytest.raises(ConfigError, match="`covey-edge model install tiny`") as refused:
        find_installed(models_dir, "tiny")
    assert refused.value.code == "model_broken"
    model.path.unlink()
    with pytest.raises(ConfigError, match="is missing"):
        find_installed(models_dir, "tiny")
    assert list_models(models_dir) == []


def test_damaged_manifest_is_no_installation(depot: Depot, models_dir: Path) -> None:
    install_tiny(depot, models_dir)
    (models_dir / "tiny" / "manifest.json").write_text('{"name": "tiny"')
    with pytest.raises(ConfigError, match="is damaged"):
        find_installed(models_dir, "tiny")
    install_tiny(depot, models_dir)


def test_a_model_is_known_by_the_hash_of_its_file(depot: Depot, models_dir: Path) -> None:
    model = install_tiny(depot, models_dir)
    assert fingerprint_of(model) == hashlib.sha256(depot.content).hexdigest()


def test_a_file_that_was_touched_is_known_by_what_it_holds_now(depot: Depot, models_dir: Path) -> None:
    model = install_tiny(depot, models_dir)
    other = bytes(len(depot.content))
    model.path.write_bytes(other)
    os.utime(model.path, ns=(0, 0))
    assert fingerprint_of(find_installed(models_dir, "tiny")) == hashlib.sha256(other).hexdigest()
    model.path.unlink()
    with pytest.raises(UnavailableError, match="cannot be read"):
        fingerprint_of(model)


def test_removed_model_is_gone(depot: Depot, models_dir: Path) -> None:
    install_tiny(depot, models_dir)
    remove("tiny", models_dir=models_dir)
    assert list(models_dir.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "absent"])
def test_only_models_can_be_removed(models_dir: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "other").mkdir()
    models_dir.mkdir()
    with pytest.raises(ConfigError, match="is not installed"):
        remove(name, models_dir=models_dir)
    assert models_dir.exists()
    assert (tmp_path / "other").exists()
