"""What a process may still do after it has given everything else up. Called in the child alone, before the first
document.

Layers, each of which would do for a library that is merely broken:

* resource limits, always: address space, no new file or socket (a limit of 0 open files leaves those that are
  open), no bytes to any file, no core, no process;
* root becomes nobody, without groups;
* no new privileges, and a seccomp filter (Linux, x86-64 and arm64) of the system calls that memory, time and an
  open pipe need: no open, no socket, no fork, no exec, no signal to others.

The second and third are for a library that a document took over. Where the kernel refuses them the child goes
on with the rest and says so (`Measure`): containers may forbid seccomp, and their own walls then stand around
us.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
from enum import StrEnum
from typing import Final

NOBODY: Final = 65_534
"""As on every Linux (`overflowuid`)."""

PR_SET_NO_NEW_PRIVS: Final = 38
PR_SET_SECCOMP: Final = 22
SECCOMP_MODE_FILTER: Final = 2
SECCOMP_ALLOW: Final = 0x7FFF_0000
SECCOMP_REFUSE: Final = 0x0005_0000 | 1  # SECCOMP_RET_ERRNO, EPERM
_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_AT_NUMBER: Final = 0  # of struct seccomp_data
_AT_ARCHITECTURE: Final = 4

# read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn mremap madvise
# sched_yield nanosleep setitimer getpid exit sigaltstack gettid futex clock_gettime clock_nanosleep exit_group
# restart_syscall getrandom getrusage membarrier rseq
_CALLS: Final = {
    "x86_64": (
        0xC000_003E,
        (0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 25, 28, 24, 35, 38, 39, 60, 131, 186, 202, 228, 230, 231, 219, 318,
         98, 324, 334),
    ),
    "aarch64": (
        0xC000_00B7,
        (63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 216, 233, 124, 101, 103, 172, 93, 132, 178, 98, 113,
         115, 94, 128, 278, 165, 283, 293),
    ),
}  # fmt: skip
"""Audit architecture and the system calls that stay, by `platform.machine()` (arch/*/entry/syscalls, unistd.h)."""


class Measure(StrEnum):
    LIMITS = "limits"
    NOBODY = "nobody"
    SYSTEM_CALLS = "system_calls"


def contain(*, memory_max_bytes: int) -> frozenset[Measure]:
    """Give up what a reader of documents does not need, for good. Returns what holds.

    Raises `OSError` when not even the limits do.
    """
    measures = {Measure.LIMITS}
    resource.setrlimit(resource.RLIMIT_AS, (memory_max_bytes, memory_max_bytes))
    for limit in (
        resource.RLIMIT_NOFILE,
        resource.RLIMIT_FSIZE,
        resource.RLIMIT_CORE,
        resource.RLIMIT_NPROC,
    ):
        resource.setrlimit(limit, (0, 0))
    if _become_nobody():
        measures.add(Measure.NOBODY)
    if _filter_system_calls():
        measures.add(Measure.SYSTEM_CALLS)
    return frozenset(measures)


def end_after(cpu_s: float) -> None:
    """From now on, so much processor time, then SIGPROF ends the process. 0 takes the limit away."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)


def _become_nobody() -> bool:
    if os.geteuid() != 0:
        return False
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:  # in a user namespace there may be nobody else to be
        return False
    return True


def _filter_system_calls() -> bool:
    known = _CALLS.get(platform.machine())
    if known is None:
        return False
    program = _program(*known)
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: number of instructions, pointer to them, aligned as the machine does.
    wanted = struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
    pointer = ctypes.create_string_buffer(wanted, len(wanted))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(pointer), 0, 0) == 0)


def _program(architecture: int, calls: tuple[int, ...]) -> bytes:
    """Classic BPF: another architecture is refused, a call of the list allowed, any other refused (seccomp(2))."""
    end = len(calls)
    steps = [
        (_LOAD_WORD, 0, 0, _AT_ARCHITECTURE),
        (_JUMP_EQUAL, 0, end + 1, architecture),
        (_LOAD_WORD, 0, 0, _AT_NUMBER),
        *((_JUMP_EQUAL, end - at, 0, call) for at, call in enumerate(calls)),
        (_RETURN, 0, 0, SECCOMP_REFUSE),
        (_RETURN, 0, 0, SECCOMP_ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
