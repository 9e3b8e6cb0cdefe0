"""The checks of a pair, on made-up receivers whose behaviour is known."""

import pytest

from interlat.report.qualification import checks_of, is_sound

ITEMS = 24


def lines(variant, given, *, donor=False):
    """Results of one arm whose receiver answers ``given(own, donor's)``."""
    channel, _, control = variant.partition("/")
    made = []
    for number in range(ITEMS):
        own, other = f"word{number}", f"word{(number + 5) % ITEMS}"
        answer = given(own, other)
        line = {"item": f"item {number}", "variant": variant, "channel": channel, "control": control, "answer": own}
        line |= {"given": answer, "success": answer == own, "failure": "", "seed": 0}
        line["message_kind"] = "none" if variant == "none" else "hidden"
        made.append({**line, "donor": f"item {(number + 5) % ITEMS}", "donor_answer": other} if donor else line)
    return made


def own(own, other):
    return own


def donors(own, other):
    return other


def nothing(own, other):
    return "no idea"


def alone(**changes):
    said = {"none": nothing, "text": own, "embeddings": own, "cache": own, "hidden": own}
    said |= {"embeddings/zeros": nothing, "embeddings/random_rotation": nothing, "hidden/cross_task": donors}
    said |= {name.replace("__", "/"): given for name, given in changes.items()}
    return [line for name, given in said.items() for line in lines(name, given, donor=name.endswith("cross_task"))]


def pair(text=own, hidden=own, swapped=donors):
    return lines("text", text) + lines("hidden", hidden) + lines("hidden/cross_task", swapped, donor=True)


def found(checks):
    return [check.found for check in checks]


def test_a_pair_that_works_says_yes_to_everything():
    checks = checks_of(alone(), pair())
    assert found(checks) == ["yes"] * 8 and is_sound(checks) and not any(check.advice for check in checks)


@pytest.mark.parametrize(
    ("broken", "place", "advice"),
    [
        ({"text": nothing, "embeddings": nothing}, 0, "larger"),
        ({"embeddings": nothing}, 1, "no training mends this"),
        ({"embeddings__zeros": own}, 2, "prompts"),
        ({"embeddings__random_rotation": own}, 3, "prompts"),
        ({"cache": nothing}, 4, "cache"),
    ],
)
def test_what_is_broken_is_named(broken, place, advice):
    checks = checks_of(alone(**broken), pair())
    assert [number for number, check in enumerate(checks) if check.found == "no"] == [place]
    assert advice in checks[place].advice and not is_sound(checks)


def test_a_sender_that_does_not_say_it_is_named():
    checks = checks_of(alone(), pair(text=nothing))
    assert checks[6].found == "no" and "sender" in checks[6].advice and not is_sound(checks)


def test_states_that_need_a_training_are_no_fault_of_the_delivery():
    checks = checks_of(alone(hidden=nothing, hidden__cross_task=nothing), pair(hidden=nothing, swapped=nothing))
    assert found(checks)[5] == found(checks)[7] == "no" and is_sound(checks)
    assert "interlat train actor" in checks[7].advice


def test_what_was_not_tried_is_untold_and_not_sound():
    checks = checks_of([], [])
    assert found(checks) == ["untold"] * 8 and not is_sound(checks)


def test_a_sender_without_a_plan_is_not_called_deaf():
    """Its episodes fail, or its message stays empty because a thought was cut."""
    for empty in ({"failure": "an empty plan"}, {"message_kind": "none"}):
        records = [
            {**line, **empty, "given": "", "success": False} if line["variant"] in ("text", "embeddings") else line
            for line in alone()
        ]
        checks = checks_of(records, pair())
        assert found(checks)[:2] == ["no", "untold"] and not is_sound(checks)
        assert "24 without a message" in checks[0].numbers and "wrote no plan" in checks[0].advice
