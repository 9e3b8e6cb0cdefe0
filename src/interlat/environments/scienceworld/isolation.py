"""Games that share one Java machine, each as if it had the machine to itself.

The simulator keeps four things once for all games of a machine: the random numbers, the counter that numbers objects,
which simplifications are in force, and the search paths that gold paths have used. So a game would depend on what was
played beside it and before it. Here each game has the first three for its own, and starts without paths.

Sets of objects are the fifth: their order follows the identity hash codes of Java, which depend on all that the machine
did before. `ONE_HASH_CODE` makes these codes equal, and then the order is that in which a game has added the objects.
"""

import functools
from dataclasses import dataclass
from typing import Any, Protocol, cast

from interlat.environments.scienceworld.simulator import Simulator

ONE_HASH_CODE = ("-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2")
"""Options of Java: every object without a hash code of its own has the same one."""

_MULTIPLIER, _INCREMENT, _BITS = 0x5DEECE66D, 0xB, 48
"""Of the documented generator of `java.util.Random`: state * multiplier + increment, of which 48 bits are kept."""
_STATES = 1 << _BITS
_UNSEEN = 16
"""Low bits of a state that the number drawn from it does not show."""

_CHANGE = frozenset({"load", "step"})
"""Methods that play on."""
_LOOK = frozenset({"freeActionLook", "freeActionInventory", "getPossibleActions", "getValidActionObjectCombinations"})
"""Methods that may draw random numbers and number objects, after which a game goes on as if nobody had asked."""


@dataclass(frozen=True)
class SharedState:
    """What the games of a machine share, as one game left it."""

    random: int = 0
    """State of the random numbers."""
    objects: int = 0
    """Objects numbered so far."""
    simplifications: str = ""
    """Those in force, with commas between them."""


class Sharing(Protocol):
    """Reads and writes what the games of a machine share."""

    def read(self) -> SharedState: ...
    def write(self, state: SharedState) -> None: ...
    def forget_paths(self) -> None: ...


class JavaSharing:
    """What the games of a Java machine share.

    Args:
        jvm: the view of the machine's packages that py4j gives.
    """

    def __init__(self, jvm: Any) -> None:
        self._random = _only(jvm.scala.util, "Random")
        self._counter = _only(jvm.util, "UniqueIdentifier")
        self._simplifier = _only(jvm.main.scala.scienceworld.runtime, "SimplifierProcessor")
        self._paths = _only(jvm.scienceworld.goldagent, "PathFinder").precomputedExhaustivePaths()
        self._in_force = ""

    def read(self) -> SharedState:
        """The state; the random numbers have been drawn from, so write it before play goes on."""
        self._in_force = self._simplifier.getSimplificationsUsed()
        drawn = self._random.nextLong(), self._random.nextInt()
        return SharedState(state_before(*drawn), self._counter.count(), self._in_force)

    def write(self, state: SharedState) -> None:
        # What is given as a seed is the state with some bits turned over.
        self._random.setSeed(state.random ^ _MULTIPLIER)
        getattr(self._counter, "count_$eq")(state.objects)
        if state.simplifications != self._in_force:
            self._simplifier.parseSimplificationStr(state.simplifications)
            self._in_force = state.simplifications

    def forget_paths(self) -> None:
        self._paths.clear()


class _IsolatedSimulator:
    """A simulator whose game goes on from what it left itself, not from what other games left.

    Args:
        simulator: the simulator itself.
        sharing: what it shares with others.
    """

    def __init__(self, simulator: Simulator, sharing: Sharing) -> None:
        self._simulator, self._sharing, self._left = simulator, sharing, SharedState()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._simulator, name)
        return functools.partial(self._called, name, method) if name in _CHANGE | _LOOK else method

    def _called(self, name: str, method: Any, *arguments: Any) -> Any:
        if name == "load":
            # As in a new machine.
            self._left = SharedState()
            self._sharing.forget_paths()
        self._sharing.write(self._left)
        answer = method(*arguments)
        if name in _CHANGE:
            self._left = self._sharing.read()
        return answer


def isolated(simulator: Simulator, sharing: Sharing) -> Simulator:
    """A simulator that plays as if it were the only one, and that nobody must use but through this."""
    return cast(Simulator, _IsolatedSimulator(simulator, sharing))


def state_before(drawn: int, next_drawn: int) -> int:
    """The state of a `java.util.Random` before it drew a ``nextLong()`` and then a ``nextInt()``.

    The first two numbers of 32 bits, which are that long, leave at most a few states, and the third tells which it was.

    Raises:
        ValueError: no state draws these.
    """
    # A long is a first number times 2^32 plus a second one that has a sign.
    second = _signed(drawn)
    high = ((drawn - second) >> 32 & 0xFFFFFFFF) << _UNSEEN
    wanted = (second & 0xFFFFFFFF) << _UNSEEN
    begin = _after(high)
    for wraps in range((_MULTIPLIER << _UNSEEN) // _STATES + 2):
        # The least low bits that reach the second number, when the product has gone past 2^48 so often.
        low = -((begin - wanted - wraps * _STATES) // _MULTIPLIER)
        if not 0 <= low < 1 << _UNSEEN:
            continue
        first = high + low
        if _number(_after(first)) == second and _number(_after(_after(first))) == next_drawn:
            return (first - _INCREMENT) * pow(_MULTIPLIER, -1, _STATES) % _STATES
    raise ValueError(f"no state of java.util.Random draws {drawn} and {next_drawn}")


def _after(state: int) -> int:
    return (state * _MULTIPLIER + _INCREMENT) % _STATES


def _number(state: int) -> int:
    return _signed(state >> _UNSEEN)


def _signed(number: int) -> int:
    """The lowest 32 bits as a number with a sign."""
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)


def _only(package: Any, name: str) -> Any:
    """The one object of a Scala name."""
    return getattr(getattr(package, f"{name}$"), "MODULE$")
