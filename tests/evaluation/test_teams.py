import dataclasses
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interlat import bundled
from interlat.config import write_config
from interlat.engine.distributed import Ranks
from interlat.engine.hf import Engine
from interlat.engine.sampling import Sampling
from interlat.engine.template import TemplateOptions
from interlat.errors import CheckpointError, InputError, MessageError, StorageError
from interlat.evaluation import teams as module
from interlat.evaluation.teams import CONTROLS, EvaluateTeams, evaluate_teams, results_of
from interlat.progress import drain
from interlat.tasks.sandbox.execution import Limits
from interlat.tasks.sources import TaskSource
from interlat.teams.team import Member
from interlat.teams.topologies import TeamOptions
from interlat.teams.turns import TeamRun, Turn

VARIANTS = ("single", "text", "latent", *CONTROLS)


@pytest.fixture(scope="module")
def model(tmp_path_factory, build_model, make_tokenizer):
    folder = tmp_path_factory.mktemp("model")
    build_model("qwen3", tied=False, max_position_embeddings=4096).save_pretrained(folder)
    make_tokenizer("chatml").save_pretrained(folder)
    return str(folder)


@pytest.fixture
def config(model, tmp_path, monkeypatch):
    monkeypatch.setenv("INTERLAT_CACHE", str(tmp_path / "cache"))
    return EvaluateTeams(
        model=model,
        output=str(tmp_path / "run"),
        task=TaskSource("arithmetic", count=6),
        variants=VARIANTS,
        team=TeamOptions(latent_steps=2, sampling=Sampling(max_new_tokens=5)),
        limit=4,
        batch_size=3,
        dtype="float32",
    )


def without_costs(record):
    timed = ("seconds", "peak_memory_bytes")
    agents = {name: {k: v for k, v in turn.items() if k != "seconds"} for name, turn in record["agents"].items()}
    return {k: v for k, v in record.items() if k not in timed} | {"agents": agents}


def records_of(config):
    return {(line["variant"], line["item"]): without_costs(line) for line in results_of(config).records}


def test_every_variant_answers_every_question_and_says_what_it_cost(config):
    """D15 of the released LatentMAS: there what is read and thought costs nothing."""
    steps = list(evaluate_teams(config))
    assert steps[0] == (0, 28) and steps[-1] == (28, 28)
    records = records_of(config)
    assert len(records) == 28 and {variant for variant, _ in records} == set(VARIANTS)
    for (variant, _), record in records.items():
        thinking = variant not in ("single", "text")
        assert record["latent_steps"] == (0 if variant in ("single", "text", "steps_0") else 6)
        names = ["solver"] if variant == "single" else ["planner", "critic", "refiner", "judger"]
        assert list(record["agents"]) == names and not record["failure"]
        assert record["forward_passes"] == sum(turn["forward_passes"] for turn in record["agents"].values())
        assert (record["message_bytes"] > 0) == (variant not in ("single", "no_transfer"))
        if thinking and variant != "steps_0":
            assert [len(row) for row in record["agents"]["critic"]["latents"]] == [3, 3]
        assert ("donor" in record) == (variant == "shuffled_memory")
        if variant == "shuffled_memory":
            # The donor may be a question that the limit leaves out.
            donor = next(task for task in config.task.load("solve").tasks if task.id == record["donor"])
            assert donor.id != record["item"] and donor.answer == record["donor_answer"]
        assert isinstance(record["given"], str)
        assert record["answer"].isdigit() and record["how"] in ("exact", "numeric", "symbolic", "unparsed")


def test_a_killed_run_goes_on_without_losing_or_doubling_an_answer(config):
    drain(evaluate_teams(config))
    whole, path = records_of(config), module.Path(config.output) / module.RESULTS_FILE
    lines = path.read_text().splitlines(keepends=True)
    for kept in (0, 1, 9, 17, 28):
        # A line that was being written when the process died is no line.
        torn = lines[kept][: len(lines[kept]) // 2] if kept < 28 else ""
        path.write_text("".join(lines[:kept]) + torn)
        assert next(evaluate_teams(config)) == (kept, 28)
        drain(evaluate_teams(config))
        again = results_of(config).records
        assert len(again) == 28 and records_of(config) == whole


def test_what_stands_there_twice_counts_once(config, monkeypatch):
    """As two processes in one folder left it: 80 lines for 40 answers, and a table that counts both."""
    few = dataclasses.replace(config, variants=("single",))
    drain(evaluate_teams(few))
    path, answers = module.Path(few.output) / module.RESULTS_FILE, results_of(few).records
    path.write_text(path.read_text() * 2)
    assert results_of(few).records == answers and results_of(few).repeated == len(answers) == 4
    monkeypatch.setattr(Engine, "load", None)
    drain(evaluate_teams(few))
    for line in ("5", "{}", json.dumps({**answers[0], "success": "yes"}), json.dumps({**answers[0], "data": 1})):
        path.write_text(line + "\n")
        with pytest.raises(StorageError, match=module.RESULTS_FILE):
            drain(evaluate_teams(few))


def test_models_that_do_not_fit_are_refused_before_they_are_loaded(config, tmp_path, monkeypatch, build_model):
    build_model("qwen2", tied=False, num_hidden_layers=1).config.save_pretrained(tmp_path / "other")
    monkeypatch.setattr(Engine, "load", None)
    thinks, writes = Member("a", "{question}", output="latents"), Member("b", "{question}", ("a",), model="other")
    own = dataclasses.replace(
        config, members=(thinks, writes), variants=("team",), models={"other": str(tmp_path / "other")}
    )
    with pytest.raises(MessageError, match="b cannot read the cache of a: it was made by another model"):
        drain(evaluate_teams(own))
    with pytest.raises(InputError, match="b needs the model 'other'"):
        drain(evaluate_teams(dataclasses.replace(own, models={})))
    with pytest.raises(CheckpointError, match="cannot load a model from"):
        drain(evaluate_teams(dataclasses.replace(own, models={"other": str(tmp_path / "none")})))
    assert not Path(own.output).exists()


def test_words_over_their_cache_are_answered_as_words_and_read_once(config):
    talking = dataclasses.replace(config.team, layout="conversation", topology="sequential")
    config = dataclasses.replace(config, team=talking, variants=("text", "text_cache", "latent", "no_transfer"))
    drain(evaluate_teams(config))
    records = records_of(config)
    for item in {item for _, item in records}:
        words, cache, latent, alone = (records[variant, item] for variant in config.variants)
        assert words["reply"] == cache["reply"] and words["decoded_tokens"] == cache["decoded_tokens"]
        assert [words["agents"][n]["text"] for n in words["agents"]] == [
            cache["agents"][n]["text"] for n in cache["agents"]
        ]
        assert cache["prompt_tokens"] * 2 < words["prompt_tokens"]
        assert (
            cache["prompt_tokens"]
            == latent["prompt_tokens"]
            == sum(turn["prompt_tokens"] for turn in cache["agents"].values())
        )
        assert cache["message_bytes"] > words["message_bytes"] and not alone["message_bytes"]


def test_a_connector_that_its_builder_refuses_is_refused_before_anything_is_loaded(config, monkeypatch):
    monkeypatch.setattr(Engine, "load", None)
    with pytest.raises(InputError, match="topk has the options k, temperature, not 'heat'"):
        drain(evaluate_teams(dataclasses.replace(config, connector="topk:heat=1")))
    assert not Path(config.output).exists()


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_the_batch_size_changes_no_answer(config, batch_size, tmp_path):
    drain(evaluate_teams(config))
    other = dataclasses.replace(config, batch_size=batch_size, output=str(tmp_path / "other"))
    drain(evaluate_teams(other))
    assert other.hash == config.hash and records_of(other) == records_of(config)


def test_exact_answers_are_the_same_in_bfloat16_too_and_records_say_so(config, tmp_path):
    config = dataclasses.replace(config, dtype="bfloat16", exact=True, limit=4)
    other = dataclasses.replace(config, output=str(tmp_path / "b"), batch_size=3)
    assert config.hash == other.hash != dataclasses.replace(config, exact=False).hash
    list(evaluate_teams(config)), list(evaluate_teams(other))
    assert records_of(config) == records_of(other)
    assert {(record["dtype"], record["exact"]) for record in results_of(config).records} == {("bfloat16", True)}


def test_processes_share_the_questions(config, tmp_path):
    drain(evaluate_teams(config))
    shared = dataclasses.replace(config, output=str(tmp_path / "shared"))
    for rank in range(3):
        drain(evaluate_teams(shared, Ranks(rank=rank, world_size=3)))
    assert len(list(module.Path(shared.output).glob("results-*.jsonl"))) == 3
    assert records_of(shared) == records_of(config)


def test_a_limit_keeps_answers_and_partners(config):
    drain(evaluate_teams(config))
    fewer = records_of(config)
    more = dataclasses.replace(config, limit=None)
    drain(evaluate_teams(more))
    everything = records_of(more)
    assert len(everything) == 42 and all(everything[key] == record for key, record in fewer.items())


def test_results_of_an_older_version_keep_their_hash(tmp_path):
    scout = bundled("alfworld-mini/scout")
    config = EvaluateTeams(model=scout, output=str(tmp_path), task=TaskSource("arithmetic"))
    assert config.hash == "380c33641490"  # What commit 68a7b0d computes.
    assert dataclasses.replace(config, limits=Limits(wall_seconds=30)).hash != config.hash


def test_other_settings_are_other_runs(config):
    changes = [
        {"seed": 1},
        {"connector": "ridge"},
        {"share_question": True},
        {"allow_foreign_cache": True},
        {"dtype": "bfloat16"},
        {"team": dataclasses.replace(config.team, latent_steps=3)},
        {"task": dataclasses.replace(config.task, split="train")},
    ]
    hashes = {config.hash} | {dataclasses.replace(config, **change).hash for change in changes}
    assert len(hashes) == 8
    assert dataclasses.replace(config, allow_special_tokens=True).hash not in hashes
    same = dataclasses.replace(config, variants=("single",), limit=None, output="elsewhere", traces=0)
    assert same.hash == config.hash


@pytest.mark.parametrize("align", ["ridge", "vocabulary:temperature=0.5", "topk:k=2"])
def test_thoughts_depend_on_the_alignment(config, align, tmp_path):
    config = dataclasses.replace(config, variants=("latent", "random_alignment"))
    drain(evaluate_teams(config))
    other = dataclasses.replace(config, connector=align, output=str(tmp_path / "other"))
    drain(evaluate_teams(other))

    def latents(config, variant):
        return [record["agents"]["planner"]["latents"] for (v, _), record in records_of(config).items() if v == variant]

    assert latents(config, "latent") != latents(other, "latent")
    assert latents(config, "random_alignment") == latents(other, "random_alignment") != latents(config, "latent")


def test_right_answers_count_and_what_could_not_be_finished_does_not(config, monkeypatch):
    tasks = config.task.load("solve").tasks
    replies = {tasks[0].id: f"so it is \\boxed{{{tasks[0].answer}}}", tasks[1].id: "so it is \\boxed{1000}"}

    def run(self, questions):
        for question in questions:
            work = TeamRun(question, {"solver": Turn(text=replies.get(question.key, ""))})
            if question.key == tasks[2].id:
                work = TeamRun(question, failure="too long")
            yield work

    monkeypatch.setattr(module.Teamwork, "run", run)
    drain(evaluate_teams(dataclasses.replace(config, variants=("single",), limit=None)))
    by_item = {line["item"]: line for line in results_of(config).records}
    assert [by_item[task.id]["success"] for task in tasks] == [True] + [False] * 5
    assert by_item[tasks[2].id]["failure"] == "too long" and by_item[tasks[1].id]["how"] == "numeric"


def test_a_team_of_ones_own(config):
    """D13 of the released LatentMAS: there all teams have four members with fixed prompts."""
    members = (
        Member("thinker", "{question}", output="latents", latent_steps=1),
        Member("writer", "{question} in short", sampling=Sampling(max_new_tokens=3)),
        Member("last", "{question} {messages}", ("thinker", "writer"), sampling=Sampling(max_new_tokens=3)),
    )
    own = dataclasses.replace(config, members=members, variants=("team", "no_transfer", "steps_0"))
    drain(evaluate_teams(own))
    assert {record["latent_steps"] for (v, _), record in records_of(own).items() if v == "team"} == {1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"variants": ("double",)},
            "there is no variant 'double'; take some of single, text, text_cache, latent, team",
        ),
        ({"variants": ()}, "no variant to run"),
        ({"variants": ("team",)}, "variant 'team' needs members"),
        ({"members": (Member("a", "{question}"),)}, "variant 'single' is for the bundled teams"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_settings_without_sense_are_refused(config, changes, reason):
    with pytest.raises(InputError, match=reason):
        dataclasses.replace(config, **changes)


def test_controls_of_nobody_who_thinks_are_refused(config):
    writers = dataclasses.replace(config, members=(Member("a", "{question}"),), variants=("team", "steps_0"))
    with pytest.raises(InputError, match="'steps_0' is a control of latent steps, but all members write"):
        list(evaluate_teams(writers))


def test_a_question_that_is_no_text_counts_as_wrong_and_the_rest_goes_on(config, tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [
        {"id": "bad", "question": "x \ud83d", "answer": "1"},
        {"id": "name\ud800", "question": "the kettle", "answer": "1\udfff"},
        {"id": "good", "question": "the stove", "answer": "1"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = dataclasses.replace(
        config, task=TaskSource("records", str(path)), variants=("single", "latent"), limit=None
    )
    drain(evaluate_teams(asked))
    records = records_of(asked)
    assert len(records) == 6
    for variant in asked.variants:
        assert "surrogate" in records[variant, "bad"]["failure"] and not records[variant, "bad"]["success"]
        assert not records[variant, "name\ud800"]["failure"] and not records[variant, "good"]["failure"]


def test_questions_without_answers_are_refused(config, tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"id": "1", "question": "why?", "answer": ""}) + "\n")
    asked = dataclasses.replace(config, task=TaskSource("records", str(path)))
    with pytest.raises(InputError, match="has no answer to grade against"):
        list(evaluate_teams(asked))


@pytest.mark.slow
def test_twenty_kills_lose_and_double_nothing(config, tmp_path):
    """The real command in a process of its own, killed with SIGKILL wherever it happens to be."""
    whole = dataclasses.replace(config, task=TaskSource("arithmetic", count=40), limit=None)
    drain(evaluate_teams(whole))
    killed = dataclasses.replace(whole, output=str(tmp_path / "killed"))
    write_config(killed, tmp_path, "killed.yaml")
    command = [
        sys.executable,
        "-m",
        "interlat.cli",
        "team",
        "--config",
        str(tmp_path / "killed.yaml"),
        "--threads",
        "1",
    ]
    path, total, rng = module.Path(killed.output) / module.RESULTS_FILE, 7 * 40, random.Random(0)

    def size():
        return path.stat().st_size if path.exists() else 0

    for number in range(20):
        before = size()
        # Somewhere in the next piece of the file, so that all twenty kills come before the end.
        enough = before + rng.random() * (path.stat().st_size / (number + 1) if before else 1000)
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while size() <= enough and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.wait()
        lines = results_of(killed).records
        assert len({(line["variant"], line["item"]) for line in lines}) == len(lines)
        assert len(lines) < total, "killed too late to say anything"
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    assert len(results_of(killed).records) == total and records_of(killed) == records_of(whole)


def test_template_arguments_change_the_hash_only_where_they_are_set(config):
    quiet = TemplateOptions(enable_thinking=False)
    member = Member("judger", "{question}")
    of_ones_own = dataclasses.replace(config, variants=("team",), members=(member,))
    plain = [config, of_ones_own]
    changed = [
        dataclasses.replace(config, template=quiet),
        dataclasses.replace(of_ones_own, members=(dataclasses.replace(member, template=quiet),)),
    ]
    assert len({one.hash for one in (*plain, *changed)}) == 4
    assert all(agent.engine.template == quiet for agent in module.load_agents(changed[0], "cpu", []).values())
