import dataclasses
import json

import pytest

from interlat.agents.inspection import inspect
from interlat.errors import InputError
from interlat.evaluation.evaluate import evaluate
from interlat.evaluation.inspections import INSPECTIONS_FILE, read_inspections
from interlat.evaluation.settings import Evaluate

QUESTIONS = [{"id": f"q{n}", "question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(6)]


@pytest.fixture
def config(pair, tmp_path):
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return Evaluate(
        sender=str(pair["sender"]),
        receiver=str(pair["reader"]),
        environment="records",
        data=(str(data),),
        output=str(tmp_path / "run"),
        channels=("none", "text", "hidden", "thought:2"),
        controls=("zeros",),
        max_plan_tokens=6,
        max_new_tokens=5,
        message_dtype="model",
        dtype="float32",
        batch_size=4,
        inspected=3,
    )


def test_items_say_what_was_asked_and_some_show_their_latents_at_both_ends(config, agents):
    evaluate(config)
    items = read_inspections(config.output)["items"]
    assert {item: (one["task"], one["answer"]) for item, one in items.items()} == {
        row["id"]: (row["question"], row["answer"]) for row in QUESTIONS
    }
    shown = {item: one["messages"] for item, one in items.items() if "messages" in one}
    assert list(shown) == ["q0", "q2", "q4"], "evenly taken"
    for item, messages in shown.items():
        assert list(messages) == ["hidden", "thought:2"]
        assert len(messages["thought:2"]["rows"]) == 2
        question = items[item]["task"]
        expected = inspect(agents["sender"].write(question, max_new_tokens=6), agents["sender"], top_k=5)
        rows = messages["hidden"]["rows"]
        assert [row["top"][0][0] for row in rows] == [row.candidates[0].text for row in expected.rows]
        assert [row["norm"] for row in rows] == pytest.approx([row.norm for row in expected.rows], abs=2e-3)
        assert all(len(row["read"]["near"]) == 5 and 0 < row["read"]["attention"] < 1 for row in rows)


def test_they_are_made_once_and_again_where_more_is_asked(config, tmp_path):
    evaluate(config)
    path = tmp_path / "run" / INSPECTIONS_FILE
    before, made = path.read_bytes(), path.stat().st_mtime_ns
    evaluate(config)
    assert path.stat().st_mtime_ns == made
    evaluate(dataclasses.replace(config, inspected=0))
    assert not any("messages" in one for one in read_inspections(config.output)["items"].values())
    evaluate(config)
    assert path.read_bytes() == before


def test_a_message_that_does_not_fit_is_shown_at_the_sender_alone(config, tmp_path):
    long = [{"id": "long", "question": "kettle " * 60, "answer": "1"}, *QUESTIONS]
    data = tmp_path / "long.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in long))
    found = evaluate(dataclasses.replace(config, data=(str(data),), channels=("thought:2",), controls=(), inspected=7))
    failed = {line["item"] for line in found.records if line["failure"]}
    items = read_inspections(config.output)["items"]
    for item, one in items.items():
        rows = one.get("messages", {}).get("thought:2", {}).get("rows", [])
        assert all(("read" in row) == (item not in failed) for row in rows)
        assert bool(rows) or item in failed


def test_a_negative_number_is_refused(config):
    with pytest.raises(InputError, match="inspected is -1, expected 0 or more"):
        dataclasses.replace(config, inspected=-1)
