"""What a process may no longer do once it has confined itself: Linux's own means, called directly.

Every means says whether the machine has it; what was applied goes into the record of a verdict.
"""

import ctypes
import functools
import math
import os
import resource
import signal
import struct
import sys
import sysconfig
from collections.abc import Iterable, Sequence

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
_CLONE_NEWUTS, _CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x04000000, 0x08000000, 0x10000000, 0x40000000
_CLONE_THREAD = 0x00010000
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _prctl(option: int, *values: int) -> bool:
    return _libc is not None and _libc.prctl(option, *(ctypes.c_ulong(v) for v in (*values, 0, 0, 0, 0)[:4])) == 0


def die_with_parent() -> None:
    """End when the thread that started this process ends, whatever ends that."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def hide_memory() -> None:
    """Let no process of the same user look into this one."""
    _prctl(_PR_SET_DUMPABLE, 0)


def limit_resources(seconds: float, memory: int, writes: bool = False) -> None:
    """Bound processor time (to whole seconds), memory and open files; without ``writes`` no file can grow."""
    whole = math.ceil(seconds)
    limits = {
        resource.RLIMIT_CPU: (whole, whole + 1),
        resource.RLIMIT_AS: (memory, memory),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NOFILE: (64, 64),
        resource.RLIMIT_STACK: (64 * 2**20, 64 * 2**20),
    }
    if not writes:
        limits[resource.RLIMIT_FSIZE] = (0, 0)
    for kind, (soft, hard) in limits.items():
        ceiling = resource.getrlimit(kind)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(kind, (soft, hard))


def confine() -> list[str]:
    """Give up everything but computing and reading Python's own files, for good.

    Returns:
        The means that this machine has: "namespaces" (no network), "landlock" (no files but Python's), "capabilities"
        (none left), "seccomp" (no system calls but those of computing, so no processes, sockets or writing of files).
    """
    applied = []
    if _unshare():
        applied.append("namespaces")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if _landlock(readable_places()):
        applied.append("landlock")
    if _drop_capabilities():
        applied.append("capabilities")
    if _seccomp():
        applied.append("seccomp")
    else:
        # Without it nothing else stops a process from making others.
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    return applied


def readable_places() -> list[str]:
    """Files and folders of Python, its packages and the libraries that these load."""
    paths = sysconfig.get_paths()
    places = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    places += [os.path.join(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix)]
    # Packages that are installed from where they are developed.
    places += [path for path in sys.path if path]
    places += ["/usr/lib", "/lib", "/lib64", "/usr/lib64", "/usr/share/zoneinfo", "/etc/localtime"]
    places += ["/dev/null", "/dev/urandom", "/etc/ld.so.cache", "/usr/local/lib"]
    return sorted({os.path.realpath(place) for place in places if os.path.exists(place)})


def _unshare() -> bool:
    if _libc is None:
        return False
    everything = _CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
    return any(_libc.unshare(ctypes.c_int(flags)) == 0 for flags in (everything, everything & ~_CLONE_NEWUSER))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def _drop_capabilities() -> bool:
    if _libc is None:
        return False
    for number in range(_LAST_CAPABILITY + 1):
        _prctl(_PR_CAPBSET_DROP, number)
    header = _CapabilityHeader(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    return bool(_libc.capset(ctypes.byref(header), nothing) == 0)


# Landlock: the calls have these numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
# How many rights on files each version of the interface knows.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}


def _landlock(places: Iterable[str]) -> bool:
    if _libc is None:
        return False
    version = _libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    rights = (1 << _RIGHTS.get(version, 16)) - 1
    # Files, then from version 4 on both kinds of TCP, then from 6 on signals and sockets of others.
    content = struct.pack("<QQQ", rights, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _libc.syscall(_CREATE_RULESET, content, size, 0)
    if ruleset < 0:
        return False
    for place in places:
        folder = os.path.isdir(place)
        handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
        allowed = _READ_FILE | (_READ_DIR if folder else 0)
        _libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("<Qi", allowed, handle), 0)
        os.close(handle)
    done = _libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return done


# Numbers of system calls: (x86_64, aarch64); -1 where there is none.
_CALLS = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "stat": (4, -1), "fstat": (5, 80), "lstat": (6, -1),
    "poll": (7, -1), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "pread64": (17, 67), "readv": (19, 65), "writev": (20, 66), "access": (21, -1), "pipe": (22, -1),
    "select": (23, -1), "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233), "dup": (32, 23),
    "dup2": (33, -1), "nanosleep": (35, 101), "getitimer": (36, 102), "setitimer": (38, 103), "getpid": (39, 172),
    "exit": (60, 93), "uname": (63, 160), "getcwd": (79, 17), "readlink": (89, -1),
    "gettimeofday": (96, 169), "getrlimit": (97, -1), "getrusage": (98, 165), "sysinfo": (99, 179),
    "times": (100, 153), "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177),
    "getppid": (110, 173), "sigaltstack": (131, 132), "arch_prctl": (158, -1), "gettid": (186, 178),
    "time": (201, -1), "futex": (202, 98), "sched_getaffinity": (204, 123), "getdents64": (217, 61),
    "set_tid_address": (218, 96), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "exit_group": (231, 94), "pselect6": (270, 72), "newfstatat": (262, 79),
    "readlinkat": (267, 78), "faccessat": (269, 48), "ppoll": (271, 73), "set_robust_list": (273, 99),
    "eventfd2": (290, 19), "dup3": (292, 24), "pipe2": (293, 59), "getrandom": (318, 278), "membarrier": (324, 283),
    "statx": (332, 291), "rseq": (334, 293), "faccessat2": (439, 439),
}  # fmt: skip
_OPEN, _OPENAT, _CLONE, _CLONE3, _TGKILL, _PRLIMIT = (2, -1), (257, 56), (56, 220), (435, 435), (234, 131), (302, 261)
_FCNTL, _IOCTL = (72, 25), (16, 29)
# Commands of fcntl but F_SETFL: F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC, F_GETPIPE_SZ. With F_SETOWN,
# F_SETOWN_EX and F_SETSIG a process has a signal of its choice sent to any other one of its user.
_FCNTL_COMMANDS, _F_SETFL, _O_ASYNC = (0, 1, 2, 3, 1030, 1032), 4, 0x2000
# TCGETS and TCGETS2 (is it a terminal?), TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX; not FIOASYNC and FIOSETOWN.
_IOCTL_COMMANDS = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_EPERM, _EACCES, _ENOSYS = 1, 13, 38


def _step(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, true, false, value)


_load, _give = functools.partial(_step, 0x20), functools.partial(_step, 0x06)
_EQUAL, _ANY_BIT = 0x15, 0x45


def _argument(number: int) -> int:
    """Where the low half of an argument stands."""
    return 16 + 8 * number


def _rule(call: int, checks: Sequence[bytes]) -> list[bytes]:
    """For one call its own checks, each an instruction, which end with a verdict."""
    return [_step(_EQUAL, call, 0, len(checks)), *checks]


def _any_of(values: Iterable[int]) -> list[bytes]:
    """Let a loaded value pass if it is one of these."""
    return [step for value in values for step in (_step(_EQUAL, value, 0, 1), _give(_ALLOW))]


def _seccomp() -> bool:
    machine = os.uname().machine
    if _libc is None or machine not in _ARCHITECTURES:
        return False
    column, architecture = _ARCHITECTURES[machine]
    program = [_load(4), _step(_EQUAL, architecture, 1, 0), _give(_KILL), _load(0)]
    refuse = _give(_ERRNO | _EPERM)
    for call, place in ((_OPEN, 1), (_OPENAT, 2)):
        if call[column] >= 0:
            checks = [_load(_argument(place)), _step(_ANY_BIT, _WRITING, 0, 1), _give(_ERRNO | _EACCES), _give(_ALLOW)]
            program += _rule(call[column], checks)
    thread = [_load(_argument(0)), _step(_ANY_BIT, _CLONE_THREAD, 0, 1), _give(_ALLOW), refuse]
    program += _rule(_CLONE[column], thread)
    # With this answer the C library makes its threads with clone, whose flags can be looked at.
    program += _rule(_CLONE3[column], [_give(_ERRNO | _ENOSYS)])
    own = [_load(_argument(0)), _step(_EQUAL, os.getpid(), 0, 1), _give(_ALLOW), refuse]
    program += _rule(_TGKILL[column], own)
    # Limits may be read, not set: the pointer to a new one must be null in both halves.
    reading = [_load(_argument(2)), _step(_EQUAL, 0, 0, 3), _load(_argument(2) + 4), _step(_EQUAL, 0, 0, 1)]
    program += _rule(_PRLIMIT[column], [*reading, _give(_ALLOW), refuse])
    flags = [_step(_EQUAL, _F_SETFL, 0, 3), _load(_argument(2)), _step(_ANY_BIT, _O_ASYNC, 1, 0), _give(_ALLOW)]
    program += _rule(_FCNTL[column], [_load(_argument(1)), *_any_of(_FCNTL_COMMANDS), *flags, refuse])
    program += _rule(_IOCTL[column], [_load(_argument(1)), *_any_of(_IOCTL_COMMANDS), refuse])
    for numbers in _CALLS.values():
        if numbers[column] >= 0:
            program += _rule(numbers[column], [_give(_ALLOW)])
    program.append(refuse)
    code = ctypes.create_string_buffer(b"".join(program))
    filter_ = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(code))
    return bool(_libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(2), filter_, ctypes.c_ulong(0), ctypes.c_ulong(0)) == 0)
