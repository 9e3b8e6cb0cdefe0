"""Each means by itself, in a process of its own: what one lets through another may not have to catch."""

import os
import signal
import subprocess
import sys

import pytest

from interlat.tasks.sandbox.confinement import readable_places

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these are means of Linux")


def outcome(means, attempt, after=""):
    """What an attempt prints under one means, or the name of its exception."""
    code = (
        f"import ctypes, os, socket, threading, resource\nfrom interlat.tasks.sandbox import confinement\n{after}\n"
        f"assert {means}\ntry:\n    print({attempt})\nexcept BaseException as error:\n    print(type(error).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    return done.stdout.strip() or f"ended with {done.returncode}: {done.stderr[-300:]}"


FILTER = "confinement._prctl(38, 1) and confinement._seccomp()"
FILES = "confinement._prctl(38, 1) and confinement._landlock(confinement.readable_places())"


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        ("1 + 1", "2"),
        ("open('/etc/passwd').read(0) == ''", "True"),
        ("open('/dev/null', 'w')", "PermissionError"),
        ("os.open('/tmp', os.O_TMPFILE | os.O_RDWR)", "PermissionError"),
        ("os.mkdir('/tmp/never')", "PermissionError"),
        ("os.fork()", "PermissionError"),
        ("os.kill(os.getpid(), 0)", "PermissionError"),
        ("socket.socket()", "PermissionError"),
        ("os.execv('/bin/true', ['true'])", "PermissionError"),
        ("resource.getrlimit(resource.RLIMIT_AS) is None", "False"),
        # The module makes this of the refusal.
        ("resource.setrlimit(resource.RLIMIT_CPU, (5, 5))", "ValueError"),
        ("(t := threading.Thread(target=os.write, args=(1, b'ran\\n'))).start() or t.join()", "ran\nNone"),
        ("ctypes.CDLL(None).ptrace(16, 1, 0, 0)", "-1"),
        ("ctypes.CDLL(None).syscall(435, 0, 0)", "-1"),
    ],
)
def test_system_calls(attempt, expected):
    # A thread may print before or after.
    assert sorted(outcome(FILTER, attempt).split()) == sorted(expected.split())


SIGNALS = {
    "F_SETOWN": "fcntl.fcntl(reads, 8, {victim})",
    "F_SETSIG": "fcntl.fcntl(reads, 10, 9)",
    "F_SETOWN_EX": "fcntl.fcntl(reads, 15, struct.pack('ii', 1, {victim}))",
    "a command with other high bits": "ctypes.CDLL(None).syscall({fcntl}, reads, 2**32 + 8, {victim})",
    "F_SETFL with O_ASYNC": "fcntl.fcntl(reads, 4, 0x2000)",
    "F_NOTIFY": "fcntl.fcntl(reads, 1026, 1)",
    "F_SETLEASE": "fcntl.fcntl(reads, 1024, 0)",
    "FIOASYNC": "fcntl.ioctl(reads, 0x5452, struct.pack('i', 1))",
    "FIOSETOWN": "fcntl.ioctl(reads, 0x8901, struct.pack('i', {victim}))",
    "SIOCSPGRP": "fcntl.ioctl(reads, 0x8902, struct.pack('i', {victim}))",
    "TIOCSTI": "fcntl.ioctl(reads, 0x5412, b'x')",
}
PIPE = "import fcntl, struct\nreads, writes = os.pipe()"


@pytest.fixture
def victim():
    with subprocess.Popen(["sleep", "100"]) as sleeper:
        yield sleeper
        sleeper.kill()


@pytest.mark.parametrize("name", SIGNALS)
def test_no_file_sends_signals(name, victim):
    """On the filter alone: Landlock keeps signals back from Linux 6.12 on only."""
    number = 72 if os.uname().machine == "x86_64" else 25
    assert outcome(FILTER, SIGNALS[name].format(victim=victim.pid, fcntl=number), PIPE) in ("PermissionError", "-1")


@pytest.mark.parametrize(("means", "dies"), [("True", True), (FILTER, False)])
def test_a_pipe_of_the_code_s_own_kills_nobody(means, dies, victim):
    """Every step that it takes, whatever became of the one before; without any means it does work."""
    names = ("F_SETOWN", "F_SETOWN_EX", "F_SETSIG", "FIOSETOWN", "FIOASYNC", "F_SETFL with O_ASYNC")
    steps = [SIGNALS[name].format(victim=victim.pid) for name in names]
    tried = "\n".join(f"    try: {step}\n    except OSError: pass" for step in steps)
    assert outcome(means, "kill()", f"{PIPE}\ndef kill():\n{tried}\n    return os.write(writes, b'x')") == "1"
    if dies:
        assert victim.wait(timeout=10) == -signal.SIGKILL
    else:
        assert victim.poll() is None


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        ("fcntl.fcntl(reads, fcntl.F_GETFL) >= 0", "True"),
        ("os.set_blocking(reads, False)", "None"),
        ("fcntl.fcntl(reads, fcntl.F_DUPFD_CLOEXEC, 0) > reads", "True"),
        ("os.set_inheritable(reads, True)", "None"),
        ("os.isatty(reads)", "False"),
        ("fcntl.ioctl(reads, 0x541B, struct.pack('i', 9)) == struct.pack('i', 0)", "True"),
    ],
)
def test_what_python_does_with_its_files_still_works(attempt, expected):
    assert outcome(FILTER, attempt, PIPE) == expected


def test_calls_of_another_architecture_end_the_process():
    """The numbers of 32-bit calls mean other things: whoever uses them is killed."""
    assert os.uname().machine != "x86_64" or "ended with" in outcome(
        FILTER,
        "ctypes.CFUNCTYPE(ctypes.c_long)(address)()",
        # mov eax, 20 (getpid of i386); int 0x80; ret
        "import mmap\nroom = mmap.mmap(-1, 4096, prot=7)\nroom.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))\n"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(room))",
    )


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        ("len(open(os.__file__).read()) > 0", "True"),
        ("__import__('numpy').__name__", "numpy"),
        ("__import__('zoneinfo').__name__", "zoneinfo"),
        ("open('/etc/passwd')", "PermissionError"),
        ("os.listdir('/proc')", "PermissionError"),
        ("os.listdir('/')", "PermissionError"),
        ("open('/tmp/never', 'w')", "PermissionError"),
        ("os.kill(os.getppid(), 0)", "PermissionError"),
    ],
)
def test_files(attempt, expected):
    assert outcome(FILES, attempt) == expected


def test_no_network_and_no_capabilities():
    reach = "socket.create_connection(('127.0.0.1', 9), timeout=2)"
    # A new network has no address at all, not even this one: unreachable, not refused.
    assert outcome("confinement._unshare()", reach) == "OSError"
    assert outcome("confinement._drop_capabilities()", "os.chroot('/')") == "PermissionError"


def test_limits(tmp_path):
    limits = "confinement.limit_resources(5, 2**30) is None"
    assert outcome(limits, "bytearray(2**31)") == "MemoryError"
    write = f"os.write(os.open({str(tmp_path / 'grows')!r}, os.O_CREAT | os.O_WRONLY), b'x')"
    assert outcome(limits, write) == "OSError" and (tmp_path / "grows").stat().st_size == 0
    assert outcome(limits, "resource.getrlimit(resource.RLIMIT_CPU)") == "(5, 6)"


def test_python_can_be_read_and_homes_cannot():
    places = readable_places()
    assert os.path.realpath(os.path.dirname(os.__file__)) in places
    assert not any(os.path.expanduser("~") == place or place in ("/", "/home", "/tmp") for place in places)
