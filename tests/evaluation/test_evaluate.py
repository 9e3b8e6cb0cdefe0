import dataclasses
import json

import pytest

import interlat
from interlat.errors import CheckpointError, InputError
from interlat.evaluation.evaluate import arms_of, environment_of, evaluate, evaluate_steps, results_of, settings_hash
from interlat.evaluation.settings import Evaluate
from interlat.report.summary import summarise
from interlat.tasks.secret import SecretOptions

QUESTIONS = [
    {"id": f"q{n}", "question": f"What is {n} + {n}?", "answer": str(2 * n), "told": f"n is {n}"} for n in range(4)
]


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
        controls=("all",),
        max_plan_tokens=6,
        max_new_tokens=5,
        dtype="float32",
        batch_size=3,
    )


def uncontrolled(records):
    """The arms that the report says have no control."""
    return sorted({row.variant for row in summarise(records).rows if not row.controlled})


def test_one_call_from_names_to_results(config):
    results = evaluate(config)
    arms = arms_of(config.channels, config.controls)
    assert len(results.records) == 4 * len(arms) and uncontrolled(results.records) == []
    assert {(line["environment"], line["dtype"]) for line in results.records} == {("records", "float32")}
    named = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    assert interlat.evaluate(**named).records == results.records, "nothing is played again"
    fewer = dataclasses.replace(config, channels=("none", "text"), controls=())
    assert settings_hash(fewer) == settings_hash(config), "further channels are added to a run"
    assert {line["variant"] for line in results_of(fewer).records} == {"none", "text"}
    assert uncontrolled(results_of(fewer).records) == ["text"]


def test_draws_are_runs_under_seeds_of_their_own(config, tmp_path):
    sampled = dataclasses.replace(config, channels=("text", "hidden"), controls=("gaussian",), temperature=1.0, draws=3)
    progress = list(evaluate_steps(sampled))
    assert progress[-1] == (36, 36) and [count for count, _ in progress] == sorted(count for count, _ in progress)
    found = results_of(sampled).records
    assert {(line["item"], line["variant"], line["seed"]) for line in found} == {
        (f"q{item}", variant, seed)
        for item in range(4)
        for variant in ("text", "hidden", "hidden/gaussian")
        for seed in range(3)
    }
    assert len({line["plan"] for line in found if line["variant"] == "text" and line["item"] == "q0"}) > 1
    alone = dataclasses.replace(sampled, draws=1, seed=2, output=str(tmp_path / "alone"))
    same = ("item", "variant", "plan", "turns", "config_hash")
    assert [[line[name] for name in same] for line in evaluate(alone).records] == [
        [line[name] for name in same] for line in found if line["seed"] == 2
    ]
    (row,) = [row for row in summarise(found).rows if row.variant == "text"]
    assert (row.items, row.episodes, row.sampled.answers) == (4, 12, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"secrets": SecretOptions(length=5)},
        {"seed": 1},
        {"max_new_tokens": 6},
        {"sender_sees": "notes"},
        {"receiver": ""},
        {"ask": "solve"},
        {"exact": True},
        {"connector": "vocabulary"},
        {"options": {"steps": "50"}},
    ],
)
def test_what_decides_a_result_is_in_the_hash(config, changes):
    assert settings_hash(dataclasses.replace(config, **changes)) != settings_hash(config)


def test_what_decides_none_is_not(config, tmp_path):
    for changes in ({"output": "elsewhere"}, {"batch_size": 1}, {"limit": 2}, {"workers": 7}):
        assert settings_hash(dataclasses.replace(config, **changes)) == settings_hash(config)


def test_options_are_read_as_json_where_they_are_and_are_for_games_alone(config, agents):
    chosen = dataclasses.replace(config, options={"steps": "50", "prompt": "plan", "admissible": "true"})
    assert chosen.options == {"steps": 50, "prompt": "plan", "admissible": True}
    same = dataclasses.replace(config, options={"steps": 50, "prompt": "plan", "admissible": True})
    assert settings_hash(same) == settings_hash(chosen)
    with pytest.raises(InputError, match=r"options has steps, .*records takes none"):
        environment_of(dataclasses.replace(config, options={"steps": 3}), agents["reader"])
    with pytest.raises(InputError, match="textcraft has no options, but got steps"):
        environment_of(dataclasses.replace(config, environment="textcraft", options={"steps": 3}), agents["reader"])
    with pytest.raises(InputError, match=r"options is \[3\]"):
        dataclasses.replace(config, options=[3])


def test_controls_go_to_the_channels_that_they_are_for():
    names = [arm.name for arm in arms_of(("none", "text", "hidden", "cache"), ("cross_task", "zeros", "first_rows:4"))]
    assert names == [
        "none", "text", "text/cross_task", "hidden", "hidden/cross_task", "hidden/zeros", "hidden/first_rows:4",
        "cache", "cache/cross_task", "cache/zeros", "cache/first_rows:4",
    ]  # fmt: skip
    rows = [arm.name for arm in arms_of(("text", "hidden", "cache"), ("shuffled_rows",))]
    assert rows == ["text", "hidden", "hidden/shuffled_rows", "cache"]
    for channels, controls, named in (
        (("none",), ("zeros",), "zeros.*none of the channels"),
        (("text",), ("zeros",), "zeros"),
        (("text", "cache"), ("shuffled_rows",), "shuffled_rows.*in any order"),
        (("hidden",), ("gausian",), "gausian"),
    ):
        with pytest.raises(InputError, match=named):
            arms_of(channels, controls)


def test_a_control_may_be_for_one_channel_alone():
    names = [arm.name for arm in arms_of(("text", "hidden", "cache"), ("hidden/zeros", "cache/zeros", "cross_task"))]
    assert names == [
        "text", "text/cross_task", "hidden", "hidden/zeros", "hidden/cross_task",
        "cache", "cache/zeros", "cache/cross_task",
    ]  # fmt: skip
    for controls, named in (
        (("thought:2/zeros",), "none of the channels"),
        (("cache/shuffled_rows",), "shuffled_rows"),
        (("hidden/gausian",), "gausian"),
    ):
        with pytest.raises(InputError, match=named):
            arms_of(("hidden", "cache"), controls)


def test_a_pair_that_nobody_trained_reads_states_through_a_connector(config, pair):
    untrained = dataclasses.replace(
        config, receiver=str(pair["words"]), channels=("hidden", "thought:2"), controls=("hidden/zeros",)
    )
    with pytest.raises(CheckpointError, match="name a connector"):
        evaluate(untrained)
    records = evaluate(dataclasses.replace(untrained, connector="vocabulary")).records
    assert len(records) == 12 and not any(line["failure"] for line in records)
    with pytest.raises(InputError, match=r"connector is 'vocabulary'.*adapter of its own"):
        evaluate(dataclasses.replace(config, connector="vocabulary"))


def test_a_receiver_that_was_trained_with_messages_reads_the_question_alone(config, agents):
    environment = environment_of(config, agents["reader"])
    assert environment.start(environment.items()[:1])[0].text == "What is 0 + 0?"
    asked = environment_of(config, agents["sender"])
    assert "boxed" in asked.start(asked.items()[:1])[0].text
    assert len(environment_of(dataclasses.replace(config, limit=2), agents["reader"]).items()) == 2


def test_templates_are_those_that_are_given(config):
    plain = evaluate(dataclasses.replace(config, channels=("text",), controls=(), output=f"{config.output}-a")).records
    told = dataclasses.replace(config, channels=("text",), controls=(), sender_template="{text} Hurry.")
    assert [line["sender_tokens"] for line in evaluate(told).records] != [line["sender_tokens"] for line in plain]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"channels": ()}, "channels is empty"),
        ({"controls": ("all", "zeros")}, "give it alone"),
        ({"sender_template": "no place"}, "sender_template"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"limit": 0}, "limit is 0"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"environment": "gsm9k", "sender": "nowhere"}, "environment is 'gsm9k'"),
        ({"sender_sees": "notes"}, "q0 has none"),
        ({"data": ("a", "b")}, "data is"),
        ({"draws": 0}, "draws is 0"),
        ({"draws": 2, "controls": ()}, "all would be the same"),
    ],
)
def test_settings_that_make_no_sense_are_refused(config, changes, named):
    with pytest.raises(InputError, match=named):
        evaluate(dataclasses.replace(config, **changes))
