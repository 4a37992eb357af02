"""What the daemon's process leaves out stays out, and whoever asks for the real thing later gets it."""

import json
import subprocess
import sys

import pytest

from tests.architecture.tree import ROOT

pytestmark = pytest.mark.slow

LEFT_OUT = (
    "bcrypt",
    "bz2",
    "click",
    "configparser",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "cryptography.hazmat.primitives.asymmetric.rsa",
    "csv",
    "email.message",
    "html",
    "http.client",
    "importlib.metadata",
    "importlib.resources",
    "logging.config",
    "logging.handlers",
    "pickle",
    "python_multipart",
    "shutil",
    "starlette.applications",
    "starlette.formparsers",
    "tempfile",
    "typer",
    "urllib.request",
    "uvicorn.middleware.proxy_headers",
)
DAEMON = """
from edge.slim import slim_down
slim_down()
import edge.adapters.link_paho, edge.logs, edge.wiring, uvicorn.protocols.http.h11_impl
"""


def in_a_process(program: str) -> object:
    """What `program` leaves in `told`, in a fresh process that is set up as the daemon's is."""
    done = subprocess.run(
        [sys.executable, "-c", f"{DAEMON}\n{program}\nimport json; print(json.dumps(told))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_idle_daemon_does_without_what_it_does_not_use() -> None:
    loaded = in_a_process("import sys; told = [name for name, module in sys.modules.items() if module]")
    assert isinstance(loaded, list)
    assert "edge.daemon" in loaded
    assert sorted({*LEFT_OUT} & {*loaded}) == []


def test_what_stood_in_for_a_module_is_gone_when_somebody_needs_the_real_one() -> None:
    program = """
import configparser, http.client, logging.config, sysconfig, urllib.request
logging.config.dictConfig({"version": 1})
configparser.RawConfigParser().read_string("[a]")
told = [sysconfig.get_config_var("prefix") is not None, "HTTPSConnection" in vars(http.client),
        "urlopen" in vars(urllib.request)]
"""
    assert in_a_process(program) == [True, True, True]


def test_what_is_loaded_late_is_there_when_it_is_used() -> None:
    program = """
import sys, tomllib, http.cookies
before = [hasattr(sys.modules[name], "__file__") for name in ("tomllib", "stringprep", "http.cookies")]
said = ["bücher.example".encode("idna").decode(), tomllib.loads("a = 1"), http.cookies.SimpleCookie("a=b")["a"].value]
told = [before, said, [hasattr(sys.modules[name], "__file__") for name in ("tomllib", "stringprep", "http.cookies")]]
"""
    said = ["xn--bcher-kva.example", {"a": 1}, "b"]
    assert in_a_process(program) == [[False] * 3, said, [True] * 3]


def test_an_error_without_words_of_its_own_is_named_after_its_status() -> None:
    program = "from starlette.exceptions import HTTPException; told = HTTPException(404).detail"
    assert in_a_process(program) == "Not Found"


def test_time_zones_are_looked_for_where_python_does() -> None:
    program = """
import sysconfig, zoneinfo
told = [list(zoneinfo.TZPATH), sysconfig.get_config_var("TZPATH").split(":")]
"""
    told = in_a_process(program)
    assert isinstance(told, list)
    assert told[0] == told[1]


def test_a_slim_process_reads_the_devices_key_and_signs_with_it() -> None:
    program = """
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from shared.keys import Signer, TrustedKey
made = Ed25519PrivateKey.generate()
pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
signer = Signer(load_pem_private_key(pem, password=None))
told = TrustedKey(owner="a", public=made.public_key().public_bytes_raw()).verifies(signer.sign(b"x"), b"x")
"""
    assert in_a_process(program) is True
