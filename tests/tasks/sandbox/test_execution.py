"""Generated code that cheats, breaks out or runs wild gets no pass, leaves nothing behind and disturbs nobody."""

import gzip
import json
import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from interlat.errors import InputError
from interlat.tasks.parallel import map_in_order
from interlat.tasks.sandbox.execution import Job, Limits, execute

TESTS = "for n in (2, 3, 5):\n    assert f(n) == n * n"
RIGHT = "def f(n):\n    return n * n"
SHORT = Limits(seconds=1.0, wall_seconds=30.0)
ASLEEP = Limits(seconds=1.0, wall_seconds=1.0)
ALL = ("namespaces", "landlock", "capabilities", "seccomp")

# What an attack may do before it is asked for anything, and what it does then. None of these functions squares.
ATTACKS = {
    "an object equal to everything": """
class Anything:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
def f(n): return Anything()
""",
    "a number equal to everything": """
class Number(int):
    def __eq__(self, other): return True
def f(n): return Number(1)
""",
    "a list whose items are equal to everything": """
class Anything(list):
    def __eq__(self, other): return True
def f(n): return Anything([1])
""",
    "ANY of the mocks": "from unittest.mock import ANY\ndef f(n): return ANY",
    "not a number": "def f(n): return float('nan')",
    "an array to be compared": "import numpy\ndef f(n): return numpy.array([])",
    "the end at once": "import sys\nsys.exit(0)",
    "the hard end at once": "import os\nos._exit(0)",
    "the end when asked": "import sys\ndef f(n): sys.exit(0)",
    "the hard end when asked": "import os\ndef f(n): os._exit(0)",
    "an exception that ends interpreters": "def f(n): raise SystemExit(0)",
    "an exception that stops generators": "def f(n): raise GeneratorExit",
    "an interrupt": "def f(n): raise KeyboardInterrupt",
    "an exception that is no text": """
class Odd(AssertionError):
    def __str__(self): raise ValueError
def f(n): raise Odd
""",
    "a verdict on standard output": """
print('{"nonce": "", "passed": true}', flush=True)
def f(n): print('{"passed": true}', flush=True)
""",
    "a verdict in every open file": """
import gzip
import json
import os
for number in range(64):
    try: os.write(number, b'{"nonce": "", "passed": true, "reason": ""}')
    except OSError: pass
def f(n): return None
""",
    "answers before there are questions": """
import gzip
import json
import os
from interlat.tasks.sandbox.plain import send
for number in range(3, 64):
    try:
        for _ in range(9): send(os.fdopen(number, "wb", closefd=False), {"result": True, "passed": True})
    except OSError: pass
def f(n): return None
""",
    "a search for the verdict in the frames": """
import sys
def f(n):
    frame = sys._getframe()
    while frame:
        for name in list(frame.f_locals):
            if name in ("passed", "verdict", "result"): frame.f_locals[name] = True
        frame = frame.f_back
    return None
""",
    "a search for the nonce in memory": """
import gc
def f(n):
    for one in gc.get_objects():
        if isinstance(one, dict) and "nonce" in one: return one["nonce"]
    raise LookupError
""",
    "a search for what is expected in memory": """
import gc
def f(n):
    for one in gc.get_objects():
        if isinstance(one, str) and "assert" in one and "n * n" in one: return n * n
    raise LookupError
""",
    "builtins of its own": """
import builtins, sys
builtins.isinstance = lambda one, kind: True
builtins.AssertionError = Exception
builtins.exec = lambda *_: None
builtins.compile = lambda *_, **__: "pass"
def f(n): return 0
""",
    "an import hook": """
import sys
class Hook:
    def find_spec(self, name, path=None, target=None): raise SystemExit(0)
sys.meta_path.insert(0, Hook())
sys.modules["tests"] = sys.modules["solution"]
def f(n): return 0
""",
    "serving instead of the server": """
import sys
from interlat.tasks.sandbox import guest, plain
guest._answer = lambda *_: {"result": True, "passed": True}
plain.to_plain = lambda *_: True
def f(n): return 0
""",
    "frames of nonsense": """
import gzip
import json
import os
def f(n):
    for number in range(3, 64):
        try: os.write(number, b"\\xff" * 4096)
        except OSError: pass
    return 0
""",
    "a frame of a terabyte": """
import gzip
import json
import os
def f(n):
    for number in range(3, 64):
        try: os.write(number, (2**40).to_bytes(8, "little") + b"[")
        except OSError: pass
    return 0
""",
    "a value inside itself": "def f(n):\n    one = []\n    one.append(one)\n    return one",
    "a number without end": "def f(n): return 10 ** 10 ** 8",
    "an iterator without end": "import itertools\ndef f(n): return itertools.count()",
    "no end": "def f(n):\n    while True: pass",
    "no end and no ear": """
import signal
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU, signal.SIGALRM):
    signal.signal(number, signal.SIG_IGN)
def f(n):
    while True: pass
""",
    "a long sleep": "import time\ntime.sleep(1000)\ndef f(n): return 0",
    "recursion": "def f(n): return f(n)",
    "recursion without a limit": "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n)",
    "a crash": "import ctypes\ndef f(n): return ctypes.string_at(0)",
    "much memory": "def f(n): return len(bytearray(2**34))",
    "memory bit by bit": "def f(n):\n    kept = []\n    while True: kept.append(bytearray(2**20))",
    "higher limits": """
import resource
def f(n):
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return n * n
""",
    "a fork": "import os\nos.fork()\ndef f(n): return n * n",
    "a fork bomb": "import os\nwhile True: os.fork()",
    "a fork bomb of threads": """
import threading, time
def more():
    while True:
        threading.Thread(target=more).start()
def f(n): more()
""",
    "a program": "import subprocess\nsubprocess.run(['sleep', '1000'])\ndef f(n): return n * n",
    "a shell": "import os\ndef f(n):\n    if os.system('true') == 0: return n * n",
    "another program in its place": "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', ''])",
    "a session of its own": "import os\nos.setsid()\ndef f(n): return n * n",
    "an own process by multiprocessing": """
import multiprocessing
def f(n):
    multiprocessing.Process(target=print).start()
    return n * n
""",
    "the death of its parent": "import os\nos.kill(os.getppid(), 9)\ndef f(n): return n * n",
    "the death of everybody": "import os\nos.kill(-1, 9)\ndef f(n): return n * n",
    "the memory of others": """
import gzip
import json
import os
def f(n):
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid(): return open(f"/proc/{name}/mem", "rb").read(1)
""",
    "the command lines of others": "def f(n): return open('/proc/1/cmdline').read() or n * n",
    "tracing": """
import ctypes, os
def f(n):
    if ctypes.CDLL(None, use_errno=True).ptrace(16, os.getppid(), 0, 0) == 0: return n * n
""",
    "a file of the machine": "def f(n):\n    open('/etc/passwd').read()\n    return n * n",
    "a file in its folder": "def f(n):\n    open('kept', 'w').write('x')\n    return n * n",
    "a file outside": "def f(n):\n    open('{outside}', 'w').write('x')\n    return n * n",
    "a flood of files": """
import gzip
import json
import os
def f(n):
    while True:
        with open(os.urandom(8).hex(), "wb") as file: file.write(bytes(2**20))
""",
    "a folder": "import os\ndef f(n):\n    os.mkdir('folder')\n    return n * n",
    "a link": "import os\ndef f(n):\n    os.symlink('/etc/passwd', 'link')\n    return n * n",
    "the removal of its judge": """
import gzip
import json
import os
from interlat.tasks.sandbox import guest
def f(n):
    os.remove(guest.__file__)
    return n * n
""",
    "shared memory": """
from multiprocessing import shared_memory
def f(n):
    shared_memory.SharedMemory(create=True, size=2**20)
    return n * n
""",
    "a flood of output": """
import sys
def f(n):
    while True: sys.stdout.write("x" * 2**20)
""",
    "a socket": "import socket\nsocket.create_connection(('127.0.0.1', {port}))\ndef f(n): return n * n",
    "a server": "import socket\nsocket.socket().bind(('127.0.0.1', 0))\ndef f(n): return n * n",
    "a local socket": "import socket\nsocket.socket(socket.AF_UNIX)\ndef f(n): return n * n",
    "a pair of sockets": "import socket\nsocket.socketpair()\ndef f(n): return n * n",
    "a signal through a pipe": """
import fcntl, os
reads, writes = os.pipe()
fcntl.fcntl(reads, fcntl.F_SETOWN, os.getppid())
fcntl.fcntl(reads, 10, 9)
fcntl.fcntl(reads, fcntl.F_SETFL, os.O_ASYNC)
os.write(writes, b"x")
def f(n): return n * n
""",
    "a signal through an ioctl": """
import fcntl, os, struct
reads, writes = os.pipe()
fcntl.ioctl(reads, 0x8901, struct.pack("i", os.getppid()))
fcntl.ioctl(reads, 0x5452, struct.pack("i", 1))
os.write(writes, b"x")
def f(n): return n * n
""",
    "a stop of the iteration": "def f(n): raise StopIteration",
    "an attribute for everything": """
class Anything:
    def __getattr__(self, name): return lambda *_: True
    def __eq__(self, other): return True
def f(n): return Anything()
""",
    "a function in place of a number": "def f(n): return lambda *_: n * n",
    "an iterator that says what it is asked": """
class Anything:
    def __iter__(self): return self
    def __next__(self): return self
    def __eq__(self, other): return True
def f(n): return Anything()
""",
    "an awaitable": "async def f(n): return n * n",
    "an error as a value": "def f(n): return AssertionError()",
    "answers in place of the answerer": """
from interlat.tasks.sandbox import guest
def f(n): return None
guest.Peer._answer = lambda *_: {"result": None, "changed": [[0, ["list", [4]]]], "passed": True}
""",
    "calls of what was never passed": """
from interlat.tasks.sandbox import guest
guest.Peer._answer = lambda *_: {"ask": "call", "of": 0, "values": ["list", [4]], "named": ["dict", [[], []]]}
def f(n): return n
""",
    "questions without end": """
from interlat.tasks.sandbox import guest
def f(n):
    guest.Peer._answer = lambda *_: {"ask": "next", "of": -1}
""",
    "secrets of the environment": "import os\ndef f(n): return n * n if 'SECRET_OF_THE_TEST' in os.environ else 0",
}  # fmt: skip


def processes():
    """Those of the sandbox that are children of this process, or that nobody waits for any more."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                line = Path(f"/proc/{name}/cmdline").read_bytes()
                parent = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if b"-m\0interlat.tasks.sandbox." in line and parent in (1, os.getpid()):
                found.append(line)
    return found


@pytest.fixture
def listening():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


DISTURBING = ("fork", "death", "memory", "flood", "signal", "no end", "process", "tracing", "open file", "session")
"""What may reach a neighbour."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can confine a process by itself")


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_passes_or_leaves_anything(name, tmp_path, listening, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_TEST", "1")
    outside = tmp_path / "outside"
    program = ATTACKS[name].replace("{outside}", str(outside)).replace("{port}", str(listening))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    limits = ASLEEP if "sleep" in name else SHORT
    jobs = [Job(program, TESTS, ("f",))]
    if any(word in name for word in DISTURBING):
        # A neighbour that works all the while is not disturbed.
        jobs.append(Job(RIGHT, TESTS, ("f",)))
    attack, *neighbours = map_in_order(lambda job: execute(job, limits), jobs)
    assert not attack.passed and attack.reason
    assert all(neighbour.passed for neighbour in neighbours)
    assert not processes() and not list(temporary.iterdir()) and not outside.exists()


EXPECTS_AN_ERROR = "try:\n    f(-2)\nexcept {}:\n    pass\nelse:\n    raise AssertionError"
NO_ERRORS = {
    "an object": "def f(n): return object()",
    "the hard end": "import os\ndef f(n): os._exit(0)",
    "no end": "def f(n):\n    while True: pass",
    "another name": "def g(n): return n",
    "an interrupt": "def f(n): raise KeyboardInterrupt",
    "the end of a generator": "def f(n): raise GeneratorExit",
    "the end": "import sys\ndef f(n): sys.exit(1)",
    "much memory": "def f(n): return len(bytearray(2**34))",
    "a refusal": "def f(n): open('kept', 'w')",
    "a process": "import os\ndef f(n): os.fork()",
    "a socket": "import socket\ndef f(n): socket.socket()",
    "too large": "def f(n): return 'x' * 2**26",
    "a value inside itself": "def f(n):\n    one = []\n    one.append(one)\n    return one",
    "a lie about a class": "class Lie:\n    __class__ = int\ndef f(n): return Lie()",
    "nonsense": "from interlat.tasks.sandbox import guest\nguest.Peer._answer = lambda *_: 5\ndef f(n): pass",
    "a lie": "from interlat.tasks.sandbox import guest\nguest.Peer._answer = lambda *_: {'result': {}}\ndef f(n): pass",
    "a crash": "import ctypes\ndef f(n): return ctypes.string_at(0)",
}


@pytest.mark.parametrize("name", NO_ERRORS)
def test_what_the_sandbox_does_is_no_error_that_tests_expect(name):
    found = execute(Job(NO_ERRORS[name], EXPECTS_AN_ERROR.format("BaseException"), ("f",)), SHORT)
    assert not found.passed and found.reason


def test_an_error_that_tests_expect_passes():
    for program in ("def f(n): raise ValueError", "def f(n): return [][0]", "def f(n): return f(n)"):
        assert execute(Job(program, EXPECTS_AN_ERROR.format("Exception"), ("f",))).passed
    exits = Job("import sys\ndef f(n): sys.exit(3)", EXPECTS_AN_ERROR.format("SystemExit"), ("f",))
    assert execute(exits).passed


@pytest.mark.parametrize(
    "tests",
    [
        "for got, want in zip(map(f, [1, 2]), [1, 4]):\n    assert got == want",
        "assert all(map(lambda n: f(n) == n, [1, 2]))",
        "assert all(f(n) == n for n in [1, 2])",
        "assert list(map(f, [1, 2])) != [1, 4]",
    ],
)
def test_no_code_ends_the_iterations_of_the_tests(tests):
    assert not execute(Job("def f(n): raise StopIteration", tests, ("f",))).passed


def test_nothing_is_close_to_a_number():
    tests = "import numpy as np\ndef close(a, b):\n    assert a == b or np.allclose(a, b)\nclose(f(1), 1.5)"
    verdicts = [execute(Job(f"def f(n): return {value}", tests, ("f",))).passed for value in ("[]", "1.5", "1.6")]
    assert verdicts == [False, True, False]


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        (RIGHT, TESTS),
        (f"{RIGHT}\nif __name__ == '__main__':\n    raise ValueError", TESTS),
        ("import math, re, collections, itertools, functools, heapq, random, json, datetime, decimal\n" + RIGHT, TESTS),
        ("import numpy\ndef f(n):\n    return numpy.int64(n) ** 2", TESTS),
        ("def f(n):\n    return {n: [(n, {n}, None, 1.5, 'é\\ud800', b'x', 1j, range(n))]}",
         "assert f(2) == {2: [(2, {2}, None, 1.5, 'é\\ud800', b'x', 1j, range(2))]}"),
        ("def f(n):\n    yield from range(n)", "assert list(f(3)) == [0, 1, 2]\nassert f(3) != [0, 1, 2]"),
        ("import collections\ndef f(w):\n    return collections.Counter(w)", "assert f('aab') == {'a': 2, 'b': 1}"),
        ("def f(n):\n    raise ValueError('no')",
         "try:\n    f(1)\n    assert False\nexcept ValueError as e:\n    assert 'no' in str(e)"),
        ("import re\ndef f(s):\n    return re.match('a(b+)', s)",
        "assert f('abb') and f('abb').group(1) == 'bb'\nassert not f('b')"),
        ("import itertools\ndef f(n):\n    return itertools.count(n)",
         "import itertools\nassert list(itertools.islice(f(2), 3)) == [2, 3, 4]"),
        ("import asyncio\nasync def g(n):\n    await asyncio.sleep(0)\n    return n\ndef f(n):\n"
        "    return asyncio.run(g(n))",
         "import asyncio\nassert f(3) == 3 == asyncio.run(g(3))"),
        ("from __future__ import annotations\ndef f(n: Missing) -> Missing:\n    return n * n", TESTS),
        ("def f(s):\n    return tuple(s)", "one = {'b', 'a', 'zz', 'q', 'c'}\nassert f(one) == tuple(one)"),
        ("def f(one):\n    one.sort()", "one = [3, 1]\nassert f(one) is None and one == [1, 3]"),
        ("def f(n):\n    return helper(n) + 1", "assert f(1) == helper(1) + 1"),
        ("def g(n):\n    return n\ndef f(n):\n    return g(n) * 2", "assert f(2) == g(2) * 2"),
        ("import threading\ndef f(n):\n    kept = []\n    one = threading.Thread(target=kept.append, args=(n * n,))\n"
         "    one.start(); one.join()\n    return kept[0]", TESTS),
        ("import sys\ndef f(n):\n    print('working', file=sys.stderr)\n    print(n)\n    return n * n", TESTS),
        ("def f(n):\n    return 7 ** 40_000 % 10 ** 30_000", "assert f(1) == 7 ** 40_000 % 10 ** 30_000"),
    ],
)  # fmt: skip
def test_right_code_passes(program, tests):
    before = "def helper(n):\n    return 10 * n\n"
    found = execute(Job(program, tests, ("f", "g"), before))
    assert found.passed, found
    assert found.reason == ""


DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "HumanEval.jsonl.gz"


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="the real data are not here")
def test_the_reference_solutions_of_humaneval_pass_and_broken_ones_do_not():
    with gzip.open(DATA, "rt") as file:
        rows = [json.loads(line) for line in file]

    def job(row, body):
        tests = f"{row['test']}\ncheck({row['entry_point']})"
        return Job(row["prompt"] + body, tests, (row["entry_point"],), row["prompt"])

    assert len(rows) == 164
    whole = map_in_order(execute, (job(row, row["canonical_solution"]) for row in rows))
    assert [row["task_id"] for row, found in zip(rows, whole, strict=True) if not found.passed] == []
    broken = map_in_order(execute, (job(row, "    return 'nothing of the kind'\n") for row in rows))
    assert [row["task_id"] for row, found in zip(rows, broken, strict=True) if found.passed] == []


def test_wrong_code_fails_and_says_why():
    cases = {
        "def f(n): return n": "AssertionError",
        "def f(n) return n": "SyntaxError",
        "x = 1": "NameError: the code does not define it",
        "def f(n): return 1 / 0": "ZeroDivisionError: division by zero",
        "import nothing_of_this_name\n": "ModuleNotFoundError: No module named 'nothing_of_this_name'",
        "def f(n): return object()": "AssertionError",
        "def f(n): return 'x' * 2**26": "the code gave a value of 67108878 bytes, which is more than 67108864",
        "def f(n): return bytearray(2**40)": "(a limit of the sandbox)",
        "def f(n): return open('kept', 'w')": "(refused by the sandbox)",
    }
    for program, reason in cases.items():
        found = execute(Job(program, TESTS, ("f",)))
        assert not found.passed and reason in found.reason, found


def test_arguments_are_the_code_s_own():
    """Whoever empties a list cannot make the test compare with an empty list."""
    job = Job("def f(one):\n    one.clear()\n    return []", "one = [3, 1]\nassert f(one) == sorted(one)", ("f",))
    assert "AssertionError" in execute(job).reason


def test_the_record_says_how_the_code_was_confined(monkeypatch):
    found = execute(Job(RIGHT, TESTS, ("f",)))
    assert set(found.isolation) <= set(ALL) and "seccomp" in found.isolation
    assert execute(Job("import os\nos._exit(1)", TESTS, ("f",))).isolation == ()


def test_nonsense_is_refused(monkeypatch):
    with pytest.raises(InputError, match="limits of 0 seconds"):
        Limits(seconds=0)
    with pytest.raises(InputError, match="which Python itself needs"):
        Limits(memory=1000)
    monkeypatch.setattr(os, "name", "nt")
    with pytest.raises(InputError, match="only run on Linux and macOS"):
        execute(Job(RIGHT, TESTS, ("f",)))


@pytest.mark.parametrize("verdict", [{"passed": True}, {"passed": True, "nonce": ""}, {"passed": 1, "nonce": "0" * 32}])
def test_a_verdict_without_the_nonce_is_no_pass(monkeypatch, verdict):
    monkeypatch.setattr("interlat.tasks.sandbox.execution._verdict", lambda *_: verdict)
    found = execute(Job(RIGHT, TESTS, ("f",)))
    assert not found.passed and found.reason == "no verdict was given" and found.isolation == ()


def test_the_clock_ends_a_wait_and_tests_that_do_not_let_go(monkeypatch):
    monkeypatch.setattr("interlat.tasks.sandbox.execution.GRACE_SECONDS", 0.5)
    short = Limits(wall_seconds=0.5)
    asleep = Job("import time\ndef f(n):\n    time.sleep(60)", "f(1)", ("f",))
    assert execute(asleep, short).reason == "0.5 seconds of wall time are over"
    stubborn = Job(
        "def f(n): return n",
        "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except BaseException: pass",
        (),
    )
    assert execute(stubborn, short).reason == "0.5 seconds of wall time are over"


def test_processor_time_is_limited_and_time_on_the_clock_is_not():
    """Code that waits for a busy machine is not ended, code that computes is, also in the tests."""
    waits = Job("import time\ndef f(n):\n    time.sleep(1.5)\n    return n", "assert f(1) == 1", ("f",))
    assert execute(waits, Limits(seconds=1.0)).passed
    for program, tests in (
        ("def f(n):\n    while True: pass", "f(1)"),
        ("def f(n): return n", "while True: pass"),
    ):
        assert execute(Job(program, tests, ("f",)), SHORT).reason == "1 seconds of processor time are over"
