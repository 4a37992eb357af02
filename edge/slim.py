"""What the daemon's process does without, to stay small. Only `covey-edge run` calls this, before it imports the rest.

Each thing here is worth about a megabyte or more on a board that has 512, and nothing else in Covey depends on it.
"""

import contextlib
import ctypes
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Final

M_ARENA_MAX: Final = -8
"""glibc's <malloc.h>."""


def slim_down() -> None:
    """Call once, early."""
    _share_one_arena()
    _leave_out_uvicorn_command_line()
    _leave_out_bcrypt()


def _share_one_arena() -> None:
    """With glibc each thread has an arena that keeps what was freed in it; ours hardly ever allocate at once."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def _leave_out_uvicorn_command_line() -> None:
    """`import uvicorn` also brings its command line, process supervisors and file watchers; we use its server."""
    spec = find_spec("uvicorn")
    if spec is None or "uvicorn" in sys.modules:
        return
    package = module_from_spec(spec)
    sys.modules["uvicorn"] = package
    # Its own log formats, which we do not use, bring click along; its other modules want this one number of them.
    formats = ModuleType("uvicorn.logging")
    formats.TRACE_LOG_LEVEL = 5  # type: ignore[attr-defined]  # the module was made here
    sys.modules[formats.__name__] = formats
    for module, name in (("uvicorn.config", "Config"), ("uvicorn.server", "Server")):
        setattr(package, name, getattr(import_module(module), name))


def _leave_out_bcrypt() -> None:
    """`cryptography` takes it, if some other package has brought it, for encrypted SSH keys."""
    sys.modules.setdefault("bcrypt", None)  # type: ignore[arg-type]  # None is how an import is refused
