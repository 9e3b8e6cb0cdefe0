import pytest

from chat_templates import FORMS
from interlat.engine.chat import ChatFormat
from interlat.engine.prompt import Text, tokenize
from interlat.environments.actions import action_in
from interlat.experiments.household.evidence import Belief
from interlat.experiments.household.examples import actor_example, scout_example
from interlat.experiments.household.prompts import BEGIN_MESSAGE, END_MESSAGE, actor_prompt, scout_prompt
from interlat.experiments.tokenizer import train_tokenizer
from interlat.training.examples import IGNORED, ids_of

OPENING = "-= Welcome =-\n\nYou see a drawer 1, and a shelf 2.\n\nYour task is to: put a mug in shelf."
TURNS = [("go to drawer 1", "You arrive at drawer 1. You see a mug 1.", True), ("take mug 1", "You won.", True)]
TEXTS = [OPENING, *[text for turn in TURNS for text in turn[:2]]]
CHAT = ChatFormat(train_tokenizer(TEXTS * 10, 400, ("<bop>", "<eop>")))
EXAMPLE = actor_example({"item": "a", "opening": OPENING}, {"draw": 0, "turns": TURNS}, CHAT)


def text_of(ids):
    return CHAT.tokenizer.decode(ids)


def test_learned_are_the_commands_and_their_end_of_turn_only():
    learned = [token for token in EXAMPLE.labels if token != IGNORED]
    assert text_of(learned) == "go to drawer 1<|im_end|>take mug 1<|im_end|>"


@pytest.mark.parametrize(
    ("advice", "learned"),
    [
        ("go to drawer 1", [("go", 1), (" to", 1), (" drawer 1", 3), ("<|im_end|>", 1)]),
        # The first token in which they differ, and nothing of what only follows the command that was given.
        ("go to shelf 2", [("go", 1), (" to", 1), (" shelf 2", 3), ("<|im_end|>", 0)]),
        ("take mug 1", [("take", 1), (" to", 0), (" drawer 1", 0), ("<|im_end|>", 0)]),
        # One that ends sooner, and one that ends later.
        ("go to", [("go", 1), (" to", 1), ("<|im_end|>", 1), ("<|im_end|>", 0)]),
        ("go to drawer 1 1", [("go", 1), (" to", 1), (" drawer 1", 3), (" 1", 3)]),
        (None, [("go", 0), (" to", 0), (" drawer 1", 0), ("<|im_end|>", 0)]),
    ],
)
def test_a_better_command_is_learned_up_to_where_it_differs(advice, learned):
    given = actor_example({"item": "a", "opening": OPENING}, {"draw": 0, "turns": TURNS}, CHAT, 3.0)
    advised = [advice, TURNS[1][0]]
    example = actor_example({"item": "a", "opening": OPENING}, {"draw": 0, "turns": TURNS}, CHAT, 3.0, advised)
    said = [
        (text_of([label]), weight)
        for label, weight in zip(example.labels, example.weights, strict=True)
        if label != IGNORED
    ]
    assert said[:4] == learned
    assert said[4:] == [("take", 1), (" mug 1", 1), ("<|im_end|>", 1)]
    assert (example.before, example.after) == (given.before, given.after)


def test_ids_equal_the_prompts_at_play():
    """Opening, reply and continuation as the player builds them give the ids of training, one for one."""
    parts = CHAT.opening([("user", [Text(actor_prompt(OPENING) + BEGIN_MESSAGE), Text(END_MESSAGE)])])
    played = list(tokenize(parts, CHAT.tokenizer)[0].ids)
    played += [*ids_of(TURNS[0][0], CHAT), *tokenize(CHAT.continuation(TURNS[0][1]), CHAT.tokenizer)[0].ids]
    played += [*ids_of(TURNS[1][0], CHAT), CHAT.end_of_turn]
    assert list(EXAMPLE.before + EXAMPLE.after) == played


def test_scout_learns_its_plan_with_weight_on_the_place():
    belief = Belief("mug", (("today", "drawer 1"),), ("drawer 1", "shelf 2"), (0.75, 0.25), "drawer 1")
    example = scout_example(OPENING, "mug: today drawer 1.", "find mug at drawer 1.", "plan", [belief], 4.0, CHAT)
    assert text_of(example.labels) == "find mug at drawer 1.<|im_end|>"
    heavy = [token for token, weight in zip(example.after, example.weights, strict=True) if weight == 4.0]
    assert text_of(heavy) == " drawer 1"
    assert "drawer 1" in text_of(example.before)
    index, chances = example.soft[0]
    assert text_of([example.after[index]]) == " drawer 1"
    assert {text_of([token]): chance for token, chance in chances} == {" drawer 1": 0.75, " shelf 2": 0.25}


def test_a_name_of_several_tokens_has_the_posterior_at_each_of_them():
    """Target after a prefix: the places that begin so, each by its probability, counted one by one."""
    places = {"drawer 1": 0.4, "drawer 2": 0.1, "shelf 2": 0.3, "shelf 20": 0.2}
    # Single characters: no place is one token.
    chat = ChatFormat(train_tokenizer(["x"], 261, ("<bop>", "<eop>")))
    for true in places:
        belief = Belief("mug", (("today", true),), tuple(places), tuple(places.values()), true)
        plan = f"find mug at {true}."
        example = scout_example(OPENING, "a note.", plan, "plan", [belief], 4.0, chat)
        begin = len(chat.tokenizer.encode("find mug at"))
        soft = dict(example.soft)
        for offset in range(len(f" {true}")):
            written = f" {true}"[:offset]
            alike = {p: c for p, c in places.items() if f" {p}".startswith(written) and len(f" {p}") > offset}
            expected = {}
            for place, chance in alike.items():
                token = chat.tokenizer.encode(f" {place}"[offset])[0]
                expected[token] = expected.get(token, 0.0) + chance / sum(alike.values())
            if offset and len(expected) == 1:
                assert begin + offset not in soft and example.weights[begin + offset] == 1.0
                continue
            assert dict(soft[begin + offset]) == pytest.approx(expected)
            assert example.weights[begin + offset] == 4.0
        assert {begin, begin + 1} <= set(soft) and max(soft) < begin + len(f" {true}")


def test_commands_not_to_be_imitated_are_read_and_not_learned():
    turns = [(TURNS[0][0], TURNS[0][1], False), TURNS[1]]
    example = actor_example({"item": "a", "opening": OPENING}, {"draw": 0, "turns": turns}, CHAT, 3.0)
    assert example.before + example.after == EXAMPLE.before + EXAMPLE.after
    assert text_of([token for token in example.labels if token != IGNORED]) == "take mug 1<|im_end|>"


def test_where_to_go_weighs_more():
    example = actor_example({"item": "a", "opening": OPENING}, {"draw": 0, "turns": TURNS}, CHAT, 3.0)
    pairs = zip(example.after, example.weights, strict=True)
    assert text_of([token for token, weight in pairs if weight == 3.0]) == " drawer 1"


@pytest.mark.parametrize("name", [name for name in FORMS if FORMS[name].alone])
def test_episodes_and_plans_read_what_play_reads_whatever_the_template(name):
    chat = ChatFormat(FORMS[name].tokenizer(), FORMS[name].options)

    def ids(parts):
        return [token for part in tokenize(parts, chat.tokenizer) for token in part.ids]

    example = actor_example({"item": "a", "opening": OPENING}, {"draw": 0, "turns": TURNS}, chat)
    prompt = [Text(actor_prompt(OPENING), literal=True), Text(f"{BEGIN_MESSAGE}{END_MESSAGE}")]
    played = ids(chat.opening([("user", prompt)]))
    lead = ids([Text(chat.end_of_thought)])
    replies = [[*lead, *ids_of(command, chat)] for command, *_ in TURNS]
    played += [*replies[0], *ids(chat.continuation(TURNS[0][1])), *replies[1]]
    assert [*example.before, *example.after][: len(played)] == played
    learned = [label for label in example.labels if label != IGNORED]
    assert learned == [*replies[0], chat.end_of_turn, *replies[1], chat.end_of_turn]
    assert action_in(chat.tokenizer.decode(replies[0])) == TURNS[0][0]
    plan = scout_example(OPENING, "a note", "go to shelf 2", "plan", [], 2.0, chat)
    assert list(plan.before) == ids(chat.opening([("user", scout_prompt(OPENING, "a note", "plan"))]))
    assert list(plan.labels) == [*lead, *ids_of("go to shelf 2", chat), chat.end_of_turn]
