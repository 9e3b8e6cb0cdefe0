import pytest

from interlat.tasks.sandbox.failures import LONGEST_REASON, described, nearest_builtin, rebuilt
from interlat.tasks.sandbox.plain import NotPlain


class Own(KeyError):
    def __init__(self, code):
        self.code = code


class Silent(ValueError):
    def __str__(self):
        raise TypeError


class Chosen(ValueError):
    def __str__(self):
        return "other words"


def refer(value):
    return ["builtin", value.__name__]


def resolve(kind, content):
    found = {"Own": Own, "KeyError": KeyError, "UnicodeDecodeError": UnicodeDecodeError, "OSError": OSError}.get(
        content
    )
    if found is None:
        raise NotPlain
    return found


def unicode_error():
    with pytest.raises(UnicodeDecodeError) as found:
        b"\xff".decode("ascii")
    return found.value


@pytest.mark.parametrize(
    ("error", "kind", "args"),
    [
        (KeyError("x"), KeyError, ("x",)),
        (KeyError(("a", 1)), KeyError, (("a", 1),)),
        (ValueError("no"), ValueError, ("no",)),
        (ValueError(), ValueError, ()),
        (Own(3), Own, (3,)),
        (Chosen("words"), ValueError, ("other words",)),
        (Silent("words"), ValueError, ("",)),
        (OSError(2, "none"), FileNotFoundError, (2, "none")),
        (OSError(13, "no", "a file"), PermissionError, (13, "no")),
        (ZeroDivisionError("division by zero"), ZeroDivisionError, ("division by zero",)),
        (SystemExit(3), SystemExit, (3,)),
        (ExceptionGroup("two", [ValueError("x")]), Exception, ("two (1 sub-exception)",)),
        (unicode_error(), UnicodeDecodeError, unicode_error().args),
    ],
    ids=repr,
)
def test_an_exception_arrives_with_its_arguments_and_words(error, kind, args):
    found = rebuilt(described(error, refer), resolve)
    assert type(found) is kind and found.args == args


def test_long_words_are_cut():
    message = described(ValueError("x" * 9000), refer)
    assert len(message["reason"]) == LONGEST_REASON


def test_the_nearest_builtin():
    assert nearest_builtin(Own) is KeyError
    # Of that name, but not that class.
    assert nearest_builtin(type("ValueError", (BaseException,), {})) is BaseException


@pytest.mark.parametrize(
    "message",
    [
        {}, {"error": "eval"}, {"error": 5, "reason": None}, {"error": "KeyError", "class": ["list", []]},
        {"error": "UnicodeDecodeError", "reason": "x"}, {"error": "ValueError", "values": ["int", "z"]},
        {"error": "OSError", "class": ["builtin", "OSError"], "values": ["list", [{}]]},
    ],
    ids=str,
)  # fmt: skip
def test_whatever_comes_is_an_exception_of_its_words(message):
    found = rebuilt(message, resolve)
    assert isinstance(found, BaseException) and type(found) in (
        BaseException,
        KeyError,
        UnicodeError,
        ValueError,
        OSError,
    )
