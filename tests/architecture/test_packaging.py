"""The three packages are ours, complete, and each extra keeps its promise.

Why: `edge`, `cloud` and `shared` are generic names which a stray foreign package could shadow; a wheel that lacks a
file works for everybody but the user; and an extra that leaves something out fails at the first import on a device.
"""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edge import __version__
from tests.architecture.tree import PACKAGES, ROOT, relative, repository_files

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# What the idle daemon and the hub do without, until somebody uses it (60 MB resident).
HEAVY = (
    "llama_cpp",
    "numpy",
    "gguf",
    "safetensors",
    "chromadb",
    "onnxruntime",
    "opentelemetry.sdk",
    "prometheus_client",
    "nicegui",
)


@cache
def distributions() -> Mapping[str, list[str]]:
    """Who provides each importable name."""
    return metadata.packages_distributions()


@pytest.mark.parametrize("name", PACKAGES)
def test_package_is_loaded_from_this_tree_and_typed(name: str) -> None:
    assert Path(str(import_module(name).__file__)) == ROOT / name / "__init__.py"
    assert (ROOT / name / "py.typed").is_file()


def test_the_device_tells_the_version_of_the_project() -> None:
    assert __version__ == PROJECT["version"]


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_provides_our_package(name: str) -> None:
    assert set(distributions().get(name, [])) <= {"covey"}


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_packages_and_the_profiles_and_nothing_else(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    ours = {name for name in names if ".dist-info/" not in name}
    tracked = {relative(path) for path in repository_files()}
    expected = {path for path in tracked if path.partition("/")[0] in PACKAGES}
    expected |= {
        path.replace("firmware-configs/", "edge/profiles/", 1)
        for path in tracked
        if path.startswith("firmware-configs/")
    }
    assert sorted(ours ^ expected) == []
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "extra"),
    [
        ("shared", None),
        ("edge", "edge"),
        ("cloud", "cloud"),
        ("shared.inference", "edge"),
        ("shared.inference", "cloud"),
    ],
)
def test_extra_is_enough_to_import_every_module_of_its_side(side: str, extra: str | None) -> None:
    """In a process where every installed library outside the extra is refused."""
    allowed = distributions_of(extra)
    refused = sorted(
        name
        for name, owners in distributions().items()
        if name not in PACKAGES and not {canonicalize_name(owner) for owner in owners} & allowed
    )
    assert "pytest" in refused
    failed = imports(side, refused=refused).failed
    assert not failed, "\n".join(failed.values())


@pytest.mark.slow
def test_library_outside_an_extra_is_noticed() -> None:
    failed = imports("shared", refused=["cbor2"]).failed
    assert "cbor2 does not come with this extra" in failed["shared.cbor"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "edge.__main__",
        "edge.daemon",
        "edge.wiring",
        "cloud.__main__",
        "cloud.app",
        "cloud.wiring_models",
        "shared.inference",
    ],
)
def test_heavy_libraries_are_imported_only_when_they_are_used(module: str) -> None:
    loaded = imports(module, refused=[])
    assert not loaded.failed, loaded.failed[module]
    assert loaded.heavy == []


def test_constraints_are_plain_and_pin_everything_we_ask_for() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines}
    asked = {
        canonicalize_name(requirement.name)
        for extra in (None, *extras())
        for requirement in requirements(extra)
    }
    assert sorted(asked - pinned) == []


def test_constraints_pin_what_this_environment_runs() -> None:
    """Tested versions are the pinned ones; otherwise `./run test` says nothing about a fresh install."""
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line
    )
    different = {
        name: (wanted, installed)
        for name, wanted in pins.items()
        if (installed := version_of(name)) is not None and installed != wanted
    }
    assert different == {}


def extras() -> list[str]:
    return list(PROJECT["optional-dependencies"])


def requirements(extra: str | None) -> list[Requirement]:
    """The direct requirements of one extra, or of the base."""
    texts = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def distributions_of(extra: str | None) -> set[str]:
    """The names of everything that pip installs for the base and this extra, followed through all requirements."""
    found: set[str] = set()
    waiting = requirements(None) + (requirements(extra) if extra is not None else [])
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        key = f"{name}[{','.join(sorted(requirement.extras))}]"
        if key in found:
            continue
        found |= {key, name}
        waiting.extend(inner_requirements(name, requirement.extras))
    return found


def inner_requirements(name: str, wanted_extras: set[str]) -> Iterator[Requirement]:
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in wanted_extras or {""}
        ):
            yield requirement


def version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


# Imports a module, or a package with all its modules, and reports as JSON. Alembic's scripts run only inside Alembic.
IMPORTER = """
import importlib, json, pkgutil, sys, traceback
name, refused, heavy = json.loads(sys.argv[1])

class Refusing:
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"{fullname} does not come with this extra", name=fullname)

sys.meta_path.insert(0, Refusing())
failed = {}

def load(module):
    try:
        return importlib.import_module(module)
    except Exception:
        failed[module] = traceback.format_exc(limit=-3)

package = load(name)
for found in pkgutil.walk_packages(getattr(package, "__path__", []), name + ".", onerror=lambda _: None):
    # What runs models needs one of the extras, and is looked at with each of them.
    if not found.name.startswith("cloud.migrations.") and (name != "shared" or "inference" not in found.name):
        load(found.name)
print(json.dumps({"failed": failed, "heavy": [one for one in heavy if one in sys.modules]}))
"""


@dataclass(frozen=True, slots=True)
class Imports:
    """Tracebacks of the modules that failed, by name; and which heavy libraries were loaded."""

    failed: dict[str, str]
    heavy: list[str]


def imports(name: str, *, refused: list[str]) -> Imports:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTER, json.dumps([name, refused, HEAVY])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    return Imports(failed=report["failed"], heavy=report["heavy"])
