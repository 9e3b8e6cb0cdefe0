"""References to objects of the code: what tests may do with them, and what no answer can make of them."""

import contextlib
import os
import threading

import pytest

from interlat.tasks.sandbox.guest import serve
from interlat.tasks.sandbox.plain import receive, send
from interlat.tasks.sandbox.remote import Code, GuestError


@contextlib.contextmanager
def talking(guest):
    """A judge's view of ``guest(source, sink)``, which is in a thread."""
    reads, writes = os.pipe()
    back_reads, back_writes = os.pipe()
    guest_source, guest_sink = os.fdopen(reads, "rb"), os.fdopen(back_writes, "wb")
    source, sink = os.fdopen(back_reads, "rb"), os.fdopen(writes, "wb")

    def run():
        with guest_source, guest_sink, contextlib.suppress(EOFError, BrokenPipeError):
            guest(guest_source, guest_sink)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield Code(source, sink)
    finally:
        for stream in (source, sink):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        thread.join()


@contextlib.contextmanager
def code(program, *names):
    with talking(lambda source, sink: serve(source, sink, [])) as found:
        began = found.exchange({"program": program, "before": "", "names": list(names)})
        yield [found, *(found.value(began["names"][name]) for name in names)]


SQUARE = """
class Square:
    sides = 4
    def __init__(self, side): self.side = side
    def area(self): return self.side ** 2
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    def __gt__(self, other): return True
    def __le__(self, other): return True
    def __ge__(self, other): return True
    def __hash__(self): return 0
    def __sub__(self, other): return 0
    def __rsub__(self, other): return 0
    def __abs__(self): return 0
    def __float__(self): return 0.0
    def __index__(self): return 0
    def __round__(self, *_): return 0
    def __contains__(self, item): return True
    def __array__(self, *_, **__): return [0]
    def __instancecheck__(self, other): return True
    def __len__(self): return self.side
    def __getitem__(self, place): return place * 2
    def __setitem__(self, place, value): self.side = value
    def __delitem__(self, place): self.side = 0
    def __str__(self): return "square"
    def __iter__(self): return iter([1, 2])
"""


def test_an_object_does_what_it_can():
    with code(SQUARE, "Square") as (_, square):
        one = square(3)
        assert (one.side, one.area(), len(one), one[4], str(one), list(one), one.sides) == (
            3,
            9,
            3,
            8,
            "square",
            [1, 2],
            4,
        )
        one.side = 5
        assert one.area() == 25
        one[0] = 6
        assert one.side == 6 and bool(one)
        del one[0]
        assert one.side == 0 and not one
        assert isinstance(one, square) and not isinstance(3, square) and repr(one) == "<Square of the code>"
        with pytest.raises(AttributeError, match="other"):
            _ = one.other
        with pytest.raises(TypeError):
            square()


def test_no_object_says_to_what_it_is_equal():
    with code(SQUARE, "Square") as (_, square):
        one = square(3)
        assert one != 3 and not one == 3 and one != square(3) and one == one  # noqa: SIM201
        assert one not in [0, 3] and 3 not in one and hash(one) != 0
        for compare in (
            lambda: one < 4, lambda: one >= 4, lambda: one - 3, lambda: 3 - one, lambda: abs(one), lambda: float(one),
            lambda: [1][one], lambda: round(one), lambda: int(one), lambda: max(one, 3), lambda: sorted([one, 3]),
            lambda: sum([one]),
        ):  # fmt: skip
            with pytest.raises(TypeError):
                compare()
        # numpy has to read its items, like everybody.
        with pytest.raises(AttributeError):
            _ = one.__array__


def test_one_object_has_one_reference():
    with code("kept = object()\ndef f(): return kept\ndef g(one): return one is kept", "f", "g") as (_, f, g):
        assert f() is f() and g(f()) and not g(3)


def test_what_the_tests_pass_is_called_there():
    program = "def f(g, *values): return g(*values)\ndef same(g): return g"
    with code(program, "f", "same") as (_, f, same):
        called = []

        def own(value):
            called.append(value)
            return [value]

        assert f(own, 3) == [3] and called == [3] and same(own) is own
        assert f(len, "abc") == 3 and f(int, "5") == 5 and same(int) is int
        # Back and forth and back.
        assert f(lambda n: f(lambda m: m + 1, n) * 2, 4) == 10
        with pytest.raises(KeyError) as found:
            f({}.__getitem__, "x")
        assert found.value.args == ("x",)


def test_iterators_are_read_as_far_as_they_are_needed():
    program = (
        "made = []\n"
        "def f():\n    n = 0\n    while True:\n        made.append(n)\n        yield n\n        n += 1\n"
        "def count(): return len(made)\n"
        "def two(it): return [next(it), next(it)]"
    )
    with code(program, "f", "count", "two") as (_, f, count, two):
        items = f()
        assert [next(items) for _ in range(16)] == list(range(16)) and count() == 16
        assert [next(items) for _ in range(400)] == list(range(16, 416)) and 416 <= count() <= 416 * 17 / 16
        given = iter(range(9))
        assert two(given) == [0, 1] and next(given) == 2


def test_exceptions_of_the_code_s_own_can_be_caught():
    program = (
        "class Broken(ValueError): pass\n"
        "class Torn(Broken): pass\n"
        "def f(kind): raise kind('so')\n"
        "def stop(): raise StopIteration"
    )
    with code(program, "Broken", "Torn", "f", "stop") as (_, broken, torn, f, stop):
        with pytest.raises(broken, match="so"):
            f(torn)
        with pytest.raises(ValueError, match="so") as found:
            f(broken)
        assert not isinstance(found.value, torn)
        with pytest.raises(RuntimeError, match="the code raised StopIteration"):
            stop()
        with pytest.raises(RuntimeError, match="the code raised StopIteration"):
            list(map(f, [StopIteration]))


@pytest.mark.parametrize(
    "program",
    [
        "def f(): raise KeyboardInterrupt",
        "def f(): raise GeneratorExit",
        "def f(): raise SystemExit(0)",
        "def f(): raise MemoryError",
        "def f(): raise PermissionError(13, 'no')",
        'def f(): raise RuntimeError("can\'t start new thread")',
        "def f(): raise type('Own', (BaseException,), {})",
        "def f():\n    x = []\n    x.append(x)\n    return x",
    ],
)
def test_what_no_test_expects_ends_the_job(program):
    with code(program, "f") as (found, f):
        with pytest.raises(GuestError):
            f()
        assert found.fault
        with pytest.raises(GuestError):
            f()


def test_errors_that_code_may_raise_are_errors():
    program = "def f(n): raise [PermissionError('no'), OSError(2, 'x'), RuntimeError('y')][n]"
    with code(program, "f") as (found, f):
        for number, kind in enumerate((PermissionError, FileNotFoundError, RuntimeError)):
            with pytest.raises(kind):
                f(number)
        assert not found.fault


def test_lists_that_a_function_without_result_changes_are_changed():
    program = (
        "def f(one): one[0].append(1); one.append([2])\n"
        "def g(one): one.clear(); return []\n"
        "def h(one): one['a'] = {1}\n"
        "def k(one): one.add(2)"
    )
    with code(program, "f", "g", "h", "k") as (_, f, g, h, k):
        inner = []
        outer = [inner]
        f(outer)
        assert outer == [[1], [2]] and outer[0] is inner
        assert g(outer) == [] and len(outer) == 2
        table, numbers = {"b": 1}, {1}
        h(table)
        k(numbers)
        assert table == {"b": 1, "a": {1}} and numbers == {1, 2}


def lies(*answers):
    def guest(source, sink):
        for answer in answers:
            receive(source)
            send(sink, answer)
        while True:
            receive(source)

    return guest


F = {"names": {"f": ["mine", [0, ["call", "len", "bool", "next", "await"], "f"]]}}
LIST = ["list", [1]]


@pytest.mark.parametrize(
    "answer",
    [
        {"result": ["yours", 99]}, {"result": ["yours", -1]}, {"result": ["yours", "0"]}, {"result": ["builtin",
        "eval"]},
        {"result": ["builtin", ["int"]]}, {"result": ["mine", 5]}, {"result": ["mine", ["0", [], "x"]]},
        {"result": ["mine", [1, "call", "x"]]}, {"result": ["mine", [1, [[]], "x"]]}, {"result": ["exception", [1, 2,
        3]]},
        {"result": ["exception", [1, ["builtin", "int"], "x"]]}, {"result": ["exception", [1, ["builtin", "KeyError"],
        "\0"]]},
        {"result": None, "changed": [[9, LIST]]}, {"result": None, "changed": [[0, LIST]]}, {"result": None,
        "changed": 5},
        {"result": None, "changed": [["x", LIST]]}, {"result": None, "changed": [[1, 5]]}, {"result": None,
        "changed": [[1]]},
        {"error": "KeyError", "class": ["exception", [1, ["mine", [2, [], "x"]], "x"]], "values": {}, "reason": 0,
        "result": {}},
        {"ask": "call", "of": 7}, {"ask": "call", "of": None}, {"ask": "next", "of": "x"}, [], 5, None, {"result": {}},
        {"result": ["dict", [[["list", []]], [1]]]}, {"result": ["numpy", ["V9999999999", [1], [0]]]},
        {"result": ["memoryview", ["?" * 9, ""]]}, {"result": ["array", ["w", "QQ=="]]}, {"result": ["namedtuple",
        ["x", ["a b"], [1]]]},
        {"result": ["namedtuple", ["import os", ["a"], [1]]]}, {"result": ["defaultdict", [[], [], 5]]},
        {"result": ["datetime", 5]},
        {"result": ["Decimal", "x"]}, {"result": ["Fraction", [1, 0]]}, {"result": ["timedelta", [10**30, 0, 0]]},
    ],
    ids=str,
)  # fmt: skip
def test_no_lie_looks_like_an_error_of_the_code(answer):
    """Otherwise a test that expects an exception would pass."""
    with talking(lies(F, answer)) as found:
        f = found.value(["mine", [0, ["call"], "f"]])
        found.exchange({})
        with pytest.raises(GuestError):
            f([3], lambda: 1)
        assert found.fault


@pytest.mark.parametrize(
    "answer", [5, ["list", [1]], ["tuple", [["list", [1]]]], ["tuple", [["list", [1]], 1]], ["tuple", [1, True]]]
)
def test_no_lie_looks_like_the_end_of_an_iteration(answer):
    with talking(lies(F, {"result": answer})) as found:
        items = found.value(["mine", [0, ["next"], "f"]])
        found.exchange({})
        with pytest.raises(GuestError):
            list(items)


def test_a_class_in_a_class_without_end_is_refused():
    base = ["builtin", "KeyError"]
    for number in range(100):
        base = ["exception", [number, base, "x"]]
    with talking(lies(F, {"result": base})) as found:
        f = found.value(["mine", [0, ["call"], "f"]])
        found.exchange({})
        with pytest.raises(GuestError):
            f()


def test_what_tests_cannot_pass_is_said():
    with code("def f(one): return 1", "f") as (found, f):
        with pytest.raises(GuestError, match="the tests pass a value of type object"):
            f([object()])
        assert found.fault
