"""Controls on messages of any kind: hidden states, text, KV caches.

A control keeps some property of a message (length, scale, moments) and destroys another (content, item, order). It
does not depend on the environment. `controlled` applies a control by name to one message. ``cross_task`` does not alter
a message: `cross_task_partners` chooses the other item whose message an item gets.
"""

import dataclasses
import random
from collections.abc import Callable, Mapping

from interlat.controls import caches
from interlat.controls.cross_task import CROSS_TASK
from interlat.controls.latents import base_of, control_message, control_names, is_control, parse_control
from interlat.engine.sampling import row_seed
from interlat.errors import InputError
from interlat.messages import CacheMessage, HiddenMessage, Kind, Message, TextMessage
from interlat.registry import Registry

OnMessage = Callable[[Message, str, int], Message]
"""Function from a message, the id of its item and the seed of the run to the message under the control."""


@dataclasses.dataclass(frozen=True)
class MessageControl:
    """A control for some kinds of message."""

    kinds: tuple[Kind, ...]
    """Kinds of message that it can be applied to."""
    apply: OnMessage
    """Makes a message of the same kind. The result depends only on the message, its item and the seed."""
    shortens: bool = False
    """It keeps part of the message's content in fewer bytes. It is a baseline to compare with, and no evidence that the
    message matters."""


CONTROLS: Registry[MessageControl] = Registry("controls")
"""Controls of other packages, by name. `control_named` finds these and ours."""


def control_named(name: str, kind: Kind) -> MessageControl:
    """The control ``name`` or ``name:value`` for messages of a kind.

    Raises:
        InputError: there is no such control, it does not apply to this kind, or its value is not valid.
    """
    base = base_of(name)
    if base in CONTROLS:
        control = CONTROLS[base]
    elif base == CROSS_TASK:
        control = MessageControl(_kinds_of(base), lambda message, item, seed: message)
    elif base in _ON_TEXT:
        control = MessageControl(_kinds_of(base), _ON_TEXT[base])
    else:
        shortening = parse_control(name)[0].shortens
        apply = _on_caches(name) if kind == "cache" else _on_latents(name)
        control = MessageControl(_kinds_of(base), apply, shortening)
    if kind == "cache" and base in caches.REFUSED and base not in CONTROLS:
        raise InputError(f"the control {name!r} is not for cache messages: {caches.REFUSED[base]}")
    if kind not in control.kinds:
        raise InputError(
            f"the control {name!r} is for {' and '.join(control.kinds)} messages, not for {kind} ones; for these "
            f"there are {', '.join(controls_of(kind))}"
        )
    return control


def fits(name: str, kind: Kind) -> bool:
    """Whether the control ``name`` or ``name:value`` applies to messages of a kind. False for an unknown control."""
    return kind in _kinds_of(base_of(name))


def _kinds_of(base: str) -> tuple[Kind, ...]:
    """The kinds of message that a control applies to, by its name without a value."""
    if base in CONTROLS:
        return CONTROLS[base].kinds
    if base == CROSS_TASK:
        return ("text", "hidden", "cache")
    if base in _ON_TEXT:
        return ("text",)
    if not is_control(base):
        return ()
    return ("hidden", "cache") if base in caches.names() else ("hidden",)


def controls_of(kind: Kind) -> tuple[str, ...]:
    """The names of all controls for a kind of message, except those that only shorten it."""
    ours: Mapping[Kind, tuple[str, ...]] = {
        "hidden": tuple(name for name in control_names() if name != CROSS_TASK and not parse_control(name)[0].shortens),
        "text": tuple(_ON_TEXT),
        "cache": tuple(name for name in caches.names() if not parse_control(name)[0].shortens),
    }
    theirs = [name for name in CONTROLS.names() if kind in CONTROLS[name].kinds and not CONTROLS[name].shortens]
    return (CROSS_TASK, *ours[kind], *theirs)


def controlled(name: str, message: Message, item: str, *, run_seed: int) -> Message:
    """Apply a control to one message. `CROSS_TASK` leaves the message as it is: there the caller swaps messages.

    Args:
        name: ``name`` or ``name:value``.
        message: a message of any kind. It is not changed.
        item: id of the item that the message belongs to.
        run_seed: seed of the run. The same message, item and seed give the same result, whatever else is in the batch.

    Raises:
        InputError: the control or its value is unknown, it applies to other kinds, or the message is too short for it.
        MessageError: the message is not finite.
    """
    changed = control_named(name, message.kind).apply(message, item, run_seed)
    assert isinstance(changed, TextMessage | HiddenMessage | CacheMessage), "there are no others"
    said = {**changed.header.provenance, "control": name}
    return dataclasses.replace(changed, header=dataclasses.replace(changed.header, provenance=said, sha256=""))


def _on_latents(name: str) -> OnMessage:
    def apply(message: Message, item: str, seed: int) -> Message:
        assert isinstance(message, HiddenMessage), "checked by its kind"
        states = control_message(name, message.hidden_states, item, run_seed=seed)
        header = message.header
        if len(states) != len(message.hidden_states):
            header = dataclasses.replace(header, positions=())
        # Its words and tokens belong to the true message; a receiver reads neither.
        return HiddenMessage(states, header=header)

    return apply


def _shuffled_words(message: Message, item: str, seed: int) -> Message:
    """The same words in another order, separated by single spaces. A single word stays as it is."""
    assert isinstance(message, TextMessage), "checked by its kind"
    words = message.text.split()
    shuffled = list(words)
    generator = random.Random(row_seed(seed, item, "shuffled_words"))
    while len(set(words)) > 1 and shuffled == words:
        generator.shuffle(shuffled)
    return dataclasses.replace(message, text=" ".join(shuffled))


_ON_TEXT: Mapping[str, OnMessage] = {"shuffled_words": _shuffled_words}


def _on_caches(name: str) -> OnMessage:
    def apply(message: Message, item: str, seed: int) -> Message:
        assert isinstance(message, CacheMessage), "checked by its kind"
        return caches.controlled(name, message, item, run_seed=seed)

    return apply
