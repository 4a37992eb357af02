"""What the daemon's process does without, to stay small. Only `covey-edge run` calls this, before it imports the rest.

Each thing here is worth a quarter of a megabyte or more on a board that has 512, and nothing else in Covey depends on
it. What has been imported already stays as it is.
"""

import contextlib
import ctypes
import http
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Final

M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
"""glibc's <malloc.h>."""
MAPPED_FROM_BYTES: Final = 65_536
TZPATH: Final = tuple(f"/{place}/zoneinfo" for place in ("usr/share", "usr/lib", "usr/share/lib", "etc"))
"""Where Python looks for time zones unless it was built to look elsewhere (CPython's configure.ac)."""
UNUSED: Final = ("bcrypt", "python_multipart", "multipart", "socks")
"""Libraries that others take if some other package has brought them: `cryptography` for encrypted SSH keys, Starlette
for forms, paho for proxies."""

LATE: Final = ("stringprep", "tomllib", "http.cookies")
"""What comes when something of it is used: the tables for hosts' names that are not ASCII, which `encodings.idna` takes
for all; the reader of a file of settings, where there is one; the reader of cookies."""


def slim_down() -> None:
    """Call once, early."""
    _tune_allocator()
    for name in UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None is how an import is refused
    for name in LATE:
        _load_late(name)
    _leave_out_pydantic_plugins()
    _leave_out_ssh_keys()
    _leave_out_build_variables()
    _leave_out_uvicorn_command_line()
    _leave_out_forms()
    _leave_out_web_proxies()


def _tune_allocator() -> None:
    """With glibc each thread has an arena that keeps what was freed in it; ours hardly ever allocate at once.

    What is large is mapped, and given back when it is freed; left to itself, glibc raises that bound for good when the
    first such piece is freed (mallopt(3)), and the files of modules are such pieces.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        allocator = ctypes.CDLL(None)
        allocator.mallopt(M_ARENA_MAX, 1)
        allocator.mallopt(M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)


def _leave_out_pydantic_plugins() -> None:
    """Pydantic looks for them in the metadata of all that is installed, and needs the libraries that read that."""
    name = "pydantic.plugin._loader"
    sys.modules.setdefault(name, _module(name, get_plugins=tuple))


def _leave_out_ssh_keys() -> None:
    """`cryptography` brings SSH's keys, with ciphers and curves for them, along with the reader of PEM files."""
    name = "cryptography.hazmat.primitives.serialization.ssh"
    sys.modules.setdefault(name, _module(name, __getattr__=_nothing))


def _leave_out_build_variables() -> None:
    """`zoneinfo`, which Pydantic imports, looks up one of the thousand variables that tell how Python was built."""
    with _standing_in(_module("sysconfig", get_config_var={"TZPATH": os.pathsep.join(TZPATH)}.get)):
        import_module("zoneinfo")


def _nothing(name: str) -> None:
    """In the place of whatever is imported from a module; what Python itself asks for is not there."""
    if name.startswith("__"):
        raise AttributeError(name)


def _leave_out_uvicorn_command_line() -> None:
    """`import uvicorn` also brings its command line, process supervisors and file watchers; we use its server."""
    spec = find_spec("uvicorn")
    if spec is None or "uvicorn" in sys.modules:
        return
    package = module_from_spec(spec)
    sys.modules["uvicorn"] = package
    # Its own log formats, which we do not use, bring click along; its other modules want this one number of them.
    sys.modules["uvicorn.logging"] = _module("uvicorn.logging", TRACE_LOG_LEVEL=5)
    # It would read a configuration of logging, which we never give it, from files of two formats, and wrap
    # applications of other kinds than ours.
    wrappers = (
        _module(f"uvicorn.middleware.{name}", __getattr__=_nothing)
        for name in ("asgi2", "message_logger", "proxy_headers", "wsgi")
    )
    with _standing_in(_module("logging.config"), _module("configparser", RawConfigParser=object), *wrappers):
        for module, name in (("uvicorn.config", "Config"), ("uvicorn.server", "Server")):
            setattr(package, name, getattr(import_module(module), name))


def _leave_out_forms() -> None:
    """Starlette reads forms, whose files need libraries for temporary files and archives; our API takes JSON.

    It also takes the names of statuses from HTTP's client, which brings a reader of e-mails.
    """
    reasons = {status.value: status.phrase for status in http.HTTPStatus}
    client = _module("http.client", responses=reasons)
    with _standing_in(client, _module("starlette.formparsers", __getattr__=_nothing)):
        http.client = client  # type: ignore[attr-defined]  # until somebody imports the real one
        import_module("starlette.requests")


def _leave_out_web_proxies() -> None:
    """MQTT's client asks `urllib.request` for HTTP's proxies if there is a library for SOCKS; we go without either."""
    with _standing_in(_module("urllib.request")):
        import_module("paho.mqtt.client")


def _load_late(name: str) -> None:
    """Whoever has imported it meanwhile keeps what stands in for it, which passes on to the real one."""

    def real(attribute: str) -> object:
        if sys.modules.get(name) is stand_in:
            if attribute.startswith("__"):
                raise AttributeError(attribute)  # what Python itself looks for uses nothing of it
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    stand_in = _module(name, __getattr__=real)
    if sys.modules.setdefault(name, stand_in) is stand_in and "." in name:
        package, _, own = name.rpartition(".")
        setattr(import_module(package), own, stand_in)  # as importing it would


@contextlib.contextmanager
def _standing_in(*modules: ModuleType) -> Iterator[None]:
    """Modules in the place of real ones that have not been imported; who asks for those later gets the real ones."""
    placed = [module for module in modules if sys.modules.setdefault(module.__name__, module) is module]
    try:
        yield
    finally:
        for module in placed:
            del sys.modules[module.__name__]


def _module(name: str, **content: object) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module
