"""Exceptions that pass between generated code and its judge: a class of Python's own, its arguments and its words."""

import builtins
import contextlib
from typing import Any

from interlat.tasks.sandbox.plain import NotPlain, Refer, Resolve, from_plain, to_plain

LONGEST_REASON = 500


def described(error: BaseException, refer: Refer) -> dict[str, Any]:
    """An exception in JSON."""
    try:
        reason = str(error)[:LONGEST_REASON]
    except BaseException:
        reason = ""
    try:
        # The name of a file is no argument, but belongs to the words.
        if isinstance(error, OSError) and error.filename is not None:
            values = to_plain([error.errno, error.strerror, error.filename], refer)
        else:
            values = to_plain(list(error.args), refer)
    except BaseException:
        values = ["list", []]
    return {"error": nearest_builtin(type(error)).__name__, "class": refer(type(error)), "values": values,
            "reason": reason}  # fmt: skip


def nearest_builtin(kind: type[BaseException]) -> type[BaseException]:
    """The first of the classes of an exception that is Python's own."""
    return next((one for one in kind.__mro__ if vars(builtins).get(one.__name__) is one), BaseException)


def rebuilt(message: dict[str, Any], resolve: Resolve) -> BaseException:
    """The exception that `described` described, with the same words."""
    reason = str(message.get("reason", ""))[:LONGEST_REASON]
    known = vars(builtins).get(str(message.get("error")))
    kinds: list[Any] = [known] if isinstance(known, type) and issubclass(known, BaseException) else [BaseException]
    values: Any = []
    with contextlib.suppress(NotPlain):
        kinds.insert(0, from_plain(message.get("class"), resolve))
    with contextlib.suppress(NotPlain):
        values = from_plain(message.get("values"), resolve)
    for kind in kinds:
        for arguments in (values, [reason]):
            found = _built(kind, arguments)
            if found is not None and str(found) == reason:
                return found
    return next(found for found in (_built(kind, [reason]) for kind in kinds[-1].__mro__) if found is not None)


def _built(kind: Any, arguments: Any) -> BaseException | None:
    if not isinstance(kind, type) or not issubclass(kind, BaseException) or not isinstance(arguments, list):
        return None
    try:
        return kind(*arguments)
    except (TypeError, ValueError):
        return None
