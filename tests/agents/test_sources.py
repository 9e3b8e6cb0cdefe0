import json

import pytest

from interlat.agents.sources import PromptOptions
from interlat.engine.checkpoint import load_tokenizer
from interlat.engine.prompt import Text
from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.sources import HINT, TaskSource


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [
        {"id": f"q{n}", "question": f"what is {n}?", "answer": str(n), "topic": "odd" if n % 2 else "even"}
        for n in range(6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_kind_is_asked_for_what_suits_it(questions):
    assert PromptOptions().resolved_ask("gsm8k") == "solve"
    assert PromptOptions().resolved_ask("math") == "plan"
    assert PromptOptions().resolved_ask("records") == "text"
    assert PromptOptions().resolved_template(TaskSource("math")) == HINT
    assert r"\boxed{}" in PromptOptions().resolved_template(TaskSource("gsm8k"))
    assert PromptOptions().resolved_template(TaskSource("records", str(questions))) == "{text}"
    with pytest.raises(InputError, match="list"):
        PromptOptions(ask="list").resolved_ask("gsm8k")


def test_templates_of_one_s_own_may_hold_braces(questions, tmp_path, make_tokenizer):
    file = tmp_path / "template.txt"
    file.write_text("Given {x: {text}} answer as {json}.")
    source = TaskSource("records", str(questions))
    template = PromptOptions(template_file=str(file)).resolved_template(source)
    made = PromptOptions(chat=False).maker(template, make_tokenizer("chatml"))(source.load("text").tasks[1].text)
    assert made == [Text("Given {x: "), Text("what is 1?", literal=True), Text("} answer as {json}.")]


def test_bad_templates_are_refused(questions, tmp_path):
    source = TaskSource("records", str(questions))
    with pytest.raises(InputError, match=r"has no \{text\}"):
        PromptOptions(template="no place")
    with pytest.raises(InputError, match="not both"):
        PromptOptions(template="{text}", template_file="x")
    with pytest.raises(InputError, match="no template file"):
        PromptOptions(template_file=str(tmp_path / "x")).resolved_template(source)
    (tmp_path / "empty").write_text("nothing")
    with pytest.raises(InputError, match=r"has no \{text\}"):
        PromptOptions(template_file=str(tmp_path / "empty")).resolved_template(source)
    with pytest.raises(InputError, match="chat template"):
        PromptOptions(chat=False, system="be brief").maker("{text}", None)


def test_chat_prompts_have_the_turns_asked_for(pipeline):
    tokenizer = load_tokenizer(str(pipeline.scout))
    task = Task("a", "find the kettle")
    plain = PromptOptions().maker("{text}", tokenizer)(task.text)
    system = PromptOptions(system="be brief").maker("{text}!", tokenizer)(task.text)
    assert "find the kettle" in plain[0].text and "system" not in plain[0].text
    assert system[0].text.index("be brief") < system[0].text.index("find the kettle!")
