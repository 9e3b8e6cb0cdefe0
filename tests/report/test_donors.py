"""The donor table, on made-up receivers whose behaviour is known."""

import random

import pytest

from interlat.environments.question import QuestionEnvironment
from interlat.evaluation.statistics import wilson_interval
from interlat.report.donors import donor_rows
from interlat.report.evaluation import json_lines, markdown_report, notes
from interlat.report.summary import summarise
from interlat.report.teams import summarise_teams
from interlat.tasks.secret import secret_tasks


def records(receiver, items=40, channel="cache", answers=97, **fields):
    """Of a receiver ``(own right answer, right answer of the message, item) -> answer``."""
    right = [str(random.Random(number).randrange(answers)) for number in range(items)]
    made = []
    for number in range(items):
        donor = (number + 7) % items
        for variant, about in ((channel, number), (f"{channel}/cross_task", donor)):
            given = receiver(right[number], right[about], number)
            record = {
                "item": f"item {number}",
                "variant": variant,
                "channel": channel,
                "control": variant.partition("/")[2],
                "message_kind": "cache",
                "answer": right[number],
                "given": given,
                "success": given == right[number],
                **fields,
            }
            if about != number:
                record |= {"donor": f"item {donor}", "donor_answer": right[donor]}
            made.append(record)
    return made


def listens(own, message, item):
    return message


def is_deaf(own, message, item):
    return own if item % 3 else "12"


def is_confused(own, message, item):
    """Right with its own message, and something that is nobody's with another's."""
    return own if own == message else f"no idea {item}"


def half_listens(own, message, item):
    return message if item % 2 else own


def test_a_receiver_that_reads_its_message_follows_the_donor():
    (row,) = donor_rows(records(listens))
    assert (row.channel, row.control, row.items, row.verdict) == ("cache", "cache/cross_task", 40, "alive")
    assert row.changed.estimate > 0.9 and row.right.matches == row.right.pairs == row.own.matches > 35
    assert 0 < row.right.chance < 0.1 and row.p_value < 0.001


def test_a_receiver_that_ignores_it_is_dead():
    (row,) = donor_rows(records(is_deaf))
    assert (row.verdict, row.changed.estimate, row.own.matches, row.p_value) == ("dead", 0.0, 0, 1.0)


def test_a_receiver_that_only_breaks_reacts():
    (row,) = donor_rows(records(is_confused))
    assert row.verdict == "reacts" and row.changed.estimate > 0.9 and not row.right.matches and not row.own.matches


def test_guessing_among_few_answers_is_no_following():
    """Wrong under another's message, it hits the donor's answer no more often than anyone's."""

    def guesses(own, message, item):
        return own if own == message else str(random.Random(f"guess {item}").randrange(4))

    (row,) = donor_rows(records(guesses, items=120, answers=4))
    assert row.verdict == "reacts" and row.right.matches > 15 and abs(row.right.matches / row.right.pairs - 0.25) < 0.15


def test_a_part_that_follows_is_enough_and_few_items_are_not():
    assert donor_rows(records(half_listens))[0].verdict == "alive"
    assert donor_rows(records(listens, items=3))[0].verdict == "undecided"
    assert donor_rows(records(is_deaf, items=5))[0].verdict == "undecided"


def test_a_message_without_a_right_answer_is_followed_to_the_donors_own():
    lines = records(listens)
    for line in lines:
        if "donor" in line:
            line["donor_answer"] = ""
    (row,) = donor_rows(lines)
    assert (row.right.pairs, row.verdict) == (0, "alive") and row.own.matches == row.own.pairs > 0


def test_failed_and_older_records_are_left_out():
    lines = records(listens)
    failed = [{**line, "failure": "too long"} if line["item"] == "item 3" else line for line in lines]
    assert donor_rows(failed)[0].items == 39
    older = [{name: value for name, value in line.items() if not name.startswith("donor")} for line in lines]
    assert donor_rows(older) == () and donor_rows([line for line in lines if "donor" in line]) == ()


def test_a_game_answers_with_its_first_action_and_numbers_are_compared_as_numbers():
    lines = records(listens, channel="latent")
    for line in lines:
        given = line.pop("given")
        line["turns"] = [{"action": f"go to shelf {given}"}, {"action": "look"}]
        for name in ("answer", "donor_answer"):
            if name in line:
                line[name] = f"Go to  shelf {line[name]}"
        if line["control"]:
            line |= {"channel": "", "variant": "cross_task"}
    (row,) = donor_rows(lines)
    assert (row.channel, row.control, row.right.matches) == ("latent", "cross_task", row.right.pairs)
    spelled = records(listens)
    for line in spelled:
        if line["control"]:
            line["given"] += ".0"
    assert donor_rows(spelled)[0].right.matches == donor_rows(spelled)[0].right.pairs


def test_several_channels_are_corrected_together():
    one, two = donor_rows(records(listens))[0], records(listens, channel="hidden")
    both = donor_rows(records(listens) + two + records(is_deaf, channel="text"))
    assert [row.verdict for row in both] == ["alive", "alive", "dead"]
    assert both[0].p_value == pytest.approx(3 * one.p_value)


def test_every_report_has_the_table():
    summary = summarise(records(listens))
    assert summary.donors == donor_rows(records(listens))
    assert "| cache | 40 |" in markdown_report(summary) and any(note.startswith("alive: ") for note in notes(summary))
    assert '"kind": "donor"' in json_lines(summary)
    team = [{**line, "variant": "shuffled_memory" if line["control"] else "latent"} for line in records(listens)]
    for line in team:
        del line["channel"], line["control"]
    (row,) = summarise_teams(team).donors
    assert (row.channel, row.control, row.verdict) == ("latent", "shuffled_memory", "alive")
    alone = summarise([line for line in records(listens) if not line["control"]])
    assert not alone.donors and "alive" not in markdown_report(alone)


@pytest.mark.parametrize("seed", range(3))
def test_the_table_agrees_with_a_recount(seed):
    """Over records in any order, with answers that are often the same, and some that failed."""
    draw = random.Random(seed)
    lines = records(lambda own, message, item: draw.choice([own, message, "0", "1"]), items=30, answers=4)
    for line in draw.sample(lines, 6):
        line |= {"failure": "too long", "given": ""}
    draw.shuffle(lines)
    (row,) = donor_rows(lines)
    given = {(line["item"], line["control"]): line["given"] for line in lines if "failure" not in line}
    items = changed = right = right_of = own = own_of = 0
    for line in lines:
        before, after = given.get((line["item"], "")), given.get((line["item"], "cross_task"))
        if line["control"] != "cross_task" or before is None or after is None:
            continue
        items += 1
        changed += before != after
        if line["donor_answer"] != line["answer"]:
            right_of += 1
            right += after == line["donor_answer"]
        donors = given.get((line["donor"], ""))
        if donors is not None and donors != before:
            own_of += 1
            own += after == donors
    assert 18 <= items < 30 and 0 < right < right_of < items and 0 < own < own_of < items
    assert (row.items, row.changed) == (items, wilson_interval(changed, items))
    assert (row.right.matches, row.right.pairs, row.own.matches, row.own.pairs) == (right, right_of, own, own_of)


def test_an_older_run_has_a_report_without_the_table(make_records):
    """A run that an older version began and this one went on with has one of the items whose donor is known."""
    summary = summarise(make_records())
    assert not summary.donors and "donor" not in markdown_report(summary)
    lines = records(listens)
    for line in lines[:20]:
        line.pop("donor", None)
        line.pop("donor_answer", None)
    assert donor_rows(lines)[0].items == 30


def test_a_control_of_a_channel_is_not_compared_with_another_channel():
    lines = [line for line in records(listens) if line["control"]]
    lines += [{**line, "variant": "latent"} for line in records(listens, channel="latent") if not line["control"]]
    assert donor_rows(lines) == ()


def carries(notes, number):
    return f"The answer is {notes.removeprefix('On the card is written: ')}"


def is_empty(notes, number):
    return "The answer is a dog."


def garbles(notes, number):
    return f"The answer is {''.join(random.Random(number).sample('abcdefghij', 5))}."


@pytest.mark.parametrize(("channel", "verdict"), [(carries, "alive"), (is_empty, "dead"), (garbles, "reacts")])
def test_secrets_tell_a_channel_that_carries_from_a_dead_one(channel, verdict):
    """Replies are read by the grader of the task; each donor has a secret of another kind."""
    environment = QuestionEnvironment("secret", secret_tasks(30, "test"))
    items, lines = environment.items(), []
    for variant in ("cache", "cache/cross_task"):
        makers = items if variant == "cache" else [*items[1:], items[0]]
        replies = [channel(maker.notes, number + 30 * (maker != items[number])) for number, maker in enumerate(makers)]
        for item, maker, outcome in zip(items, makers, environment.step(items, replies), strict=True):
            line = {"item": item.id, "variant": variant, "channel": "cache", "success": outcome.success}
            lines.append(line | item.facts | outcome.facts)
            if maker != item:
                lines[-1] |= {"donor": maker.id, "donor_answer": maker.facts["answer"]}
    (row,) = donor_rows(lines)
    own = [line["success"] for line in lines if "donor" not in line]
    assert (row.items, row.verdict, all(own), any(own)) == (30, verdict, channel is carries, channel is carries)
    assert row.right.matches == (30 if channel is carries else 0)
