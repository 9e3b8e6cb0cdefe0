import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hub_rows import HUB_ROWS
from interlat.cli.main import main, parse
from interlat.cli.team import RunTeam
from interlat.config import read_config, write_config
from interlat.engine.hf import Engine
from interlat.errors import InputError
from interlat.messages import CacheMessage
from interlat.tasks.benchmarks import benchmark_named
from interlat.teams.runner import Teamwork
from interlat.teams.topologies import TeamOptions
from interlat.teams.transfer import saved_messages
from interlat.teams.turns import TeamRun, Turn

MEMBERS = """
  - {name: thinker, prompt: "{question}", output: latents, latent_steps: 2}
  - {name: last, prompt: "{question}", inputs: [thinker], sampling: {max_new_tokens: 4}}
"""


@pytest.fixture
def config(tmp_path, build_model, make_tokenizer):
    build_model("qwen3", max_position_embeddings=512).save_pretrained(tmp_path / "model")
    make_tokenizer("chatml").save_pretrained(tmp_path / "model")
    path = tmp_path / "team.yaml"
    path.write_text(
        f"model: {tmp_path / 'model'}\noutput: {tmp_path / 'run'}\ntask: {{kind: arithmetic, count: 3}}\n"
        f"variants: [team, steps_0]\nthreads: 1\nmembers:{MEMBERS}"
    )
    return path


def test_a_team_of_a_file_answers_prints_and_goes_on(config, capsys):
    assert main(["team", "--config", str(config), "--json"]) == 0
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert [line["variant"] for line in lines] == ["team"] * 3 + ["steps_0"] * 3
    assert list(lines[0]["agents"]) == ["thinker", "last"] and lines[0]["latent_steps"] == 2
    assert "team - steps_0" in shown.err and "answers in" in shown.err
    results = Path(config).parent / "run" / "results.jsonl"
    before = results.read_text()
    assert main(["team", "--config", str(config)]) == 0 and results.read_text() == before
    assert (results.parent / "config.yaml").is_file()


def test_what_does_not_fit_is_counted_and_the_exit_code_says_so(config, capsys):
    config.write_text(config.read_text().replace('"{question}", output', '"' + "{question} " * 40 + '", output'))
    assert main(["team", "--config", str(config)]) == 1
    assert "6 of 6 could not be answered" in capsys.readouterr().err


ROPE = {"rope_type": "default", "rope_theta": 1e6}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
THETA = "rope_parameters.rope_theta"
LONG = {"max_position_embeddings": 512}
FOREIGN = {
    "theta": (
        ("qwen3", LONG | {"rope_parameters": ROPE}),
        "chatml",
        "rope_parameters.rope_theta 10000.0 against 1000000.0",
    ),
    "yarn": (("qwen3", LONG | {"rope_parameters": YARN}), "chatml", "rope_parameters.rope_type default against yarn"),
    "llama": (("llama", LONG | {"head_dim": 16}), "chatml", "architecture qwen3 against llama"),
    "tokenizer": (("qwen3", LONG), "llama3", "another tokenizer or chat template"),
    "weights": (("qwen3", LONG | {"tied": False}), "chatml", "weights "),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_the_memory_of_another_model_needs_to_be_asked_for(
    config, build_model, make_tokenizer, capsys, monkeypatch, kind
):
    (architecture, changes), template, expected = FOREIGN[kind]
    place = config.parent / "other"
    build_model(architecture, **changes).save_pretrained(place)
    make_tokenizer(template).save_pretrained(place)
    text = config.read_text().replace("{name: thinker,", "{name: thinker, model: other,")
    config.write_text(f"{text}models: {{other: {place}}}\n")
    loaded = []
    load = Engine.load.__func__
    monkeypatch.setattr(Engine, "load", classmethod(lambda cls, *a, **k: loaded.append(a) or load(cls, *a, **k)))
    monkeypatch.setattr(Teamwork, "run", lambda *_: pytest.fail("a model ran"))
    assert main(["team", "--config", str(config)]) == 2
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith("error: last cannot read the cache of thinker: ") and f"model: {expected}" in shown
    assert shown.endswith("allow a foreign cache (--allow-foreign-cache)")
    assert len(loaded) == (2 if kind == "weights" else 0), "weights are compared once they are there"
    assert not (config.parent / "run" / "results.jsonl").exists()
    monkeypatch.undo()
    assert main(["team", "--config", str(config), "--allow-foreign-cache", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 6
    for line in lines:
        (pair,) = line["foreign_caches"]
        assert (pair["from"], pair["to"]) == ("thinker", "last") and expected in pair["differs"]
        assert pair["model"].startswith(f"{place} [") and not line["failure"]


def test_one_model_in_two_folders_is_no_foreign_one(config, capsys):
    before = config.parent / "model"
    shutil.copytree(before, config.parent / "copy")
    assert main(["team", "--config", str(config), "--json"]) == 0
    own = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    text = config.read_text().replace("{name: thinker,", "{name: thinker, model: other,")
    config.write_text(f"{text}models: {{other: {config.parent / 'copy'}}}\n")
    assert main(["team", "--config", str(config), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["reply"] for line in lines] == [line["reply"] for line in own]
    assert not any("foreign_caches" in line for line in (*lines, *own))


def test_messages_are_saved_and_older_names_of_fields_are_read(config, capsys):
    """With `reads` and `speaks` in the file, the same results are continued, and each message is one file."""
    folder = config.parent / "messages"
    assert main(["team", "--config", str(config), "--save-messages", str(folder), "--json"]) == 0
    before = capsys.readouterr().out
    text = config.read_text().replace("output: latents", "speaks: latents").replace("inputs: [", "reads: [")
    config.write_text(text)
    assert main(["team", "--config", str(config), "--json"]) == 0 and capsys.readouterr().out == before
    items = [json.loads(line)["item"] for line in before.splitlines() if json.loads(line)["variant"] == "team"]
    for item in items:
        (message,) = saved_messages(folder / "team", item).values()
        assert isinstance(message, CacheMessage)
        assert (message.header.provenance["member"], message.header.provenance["item"]) == ("thinker", item)
    assert len(list(folder.glob("*/*/*.safetensors"))) == 6


def parsed(*words):
    return parse(RunTeam, [*words], "team")


def test_an_arrangement_fills_up_what_is_not_given(tmp_path):
    words = ["--model", "m", "--output", str(tmp_path / "run"), "--task.kind", "arithmetic"]
    published = parsed(*words, "--arrangement", "published")
    assert (published.connector, published.team) == ("identity", TeamOptions())
    default = parsed(*words)
    assert default.arrangement == "conversation" and default.team.layout == "conversation"
    assert default == parsed(*words, "--arrangement", "conversation") and default.team != published.team
    alone = default.team_of("single").final_agent.prompt
    for variant in ("latent", "text", "text_cache", "no_transfer", "steps_0", "shuffled_memory"):
        assert default.team_of(variant).final_agent.prompt == alone, "the last one is asked as one agent is"
    own = parsed(*words, "--team.latent-steps", "3", "--connector", "topk:k=2")
    assert own.connector == "topk:k=2" and own.team == dataclasses.replace(default.team, latent_steps=3)
    with pytest.raises(InputError, match="arrangement is 'round'"):
        parsed(*words, "--arrangement", "round")


def test_files_and_runs_from_before_there_were_arrangements_are_published_ones(tmp_path):
    fields = f"model: m\noutput: {tmp_path / 'run'}\ntask: {{kind: arithmetic}}\n"
    path = tmp_path / "old.yaml"
    path.write_text(fields)
    old = parsed("--config", str(path))
    assert old.arrangement == "published" and old.team == TeamOptions() and old.connector == "identity"
    assert parsed("--config", str(path), "--arrangement", "conversation").team.layout == "conversation"
    path.write_text(fields + "arrangement: conversation\nteam: {latent_steps: 5}\n")
    new = parsed("--config", str(path))
    assert (new.team.layout, new.team.latent_steps) == ("conversation", 5)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(fields)
    words = ["--model", "m", "--output", str(tmp_path / "run"), "--task.kind", "arithmetic"]
    assert parsed(*words) == old
    write_config(new, tmp_path / "run")
    assert parsed(*words).team.layout == "conversation"
    assert parsed("--config", str(tmp_path / "run" / "config.yaml")) == new


def test_bad_input_is_one_line(config, capsys):
    assert main(["team", "--config", str(config), "--variants", "text"]) == 2
    assert "variant 'text' is for the bundled teams, but members is set" in capsys.readouterr().err
    config.write_text(config.read_text().replace("inputs: [thinker]", "inputs: [nobody]"))
    assert main(["team", "--config", str(config)]) == 2
    assert "nobody, an input of last, is no earlier member" in capsys.readouterr().err


def test_teams_need_neither_vllm_nor_a_figure_library():
    """D4 of the released code, of which no part could be imported without vLLM."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['vllm', 'matplotlib', 'alfworld', 'peft']));"
        "import interlat.cli.team, interlat.evaluation.teams"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_lessons_are_written(tmp_path, capsys):
    path = tmp_path / "lessons.jsonl"
    assert main(["collect", "lessons", "--output", str(path), "--count", "4"]) == 0
    assert len(path.read_text().splitlines()) == 12 and "12 conversations in" in capsys.readouterr().err
    assert main(["collect", "lessons", "--output", str(path), "--wrong-plans", "2"]) == 2
    assert "wrong_plans is 2.0" in capsys.readouterr().err


FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "latentmas"
RECIPES = sorted(set(FOLDER.glob("*-[sh]*l.yaml")) - {FOLDER / "arithmetic-sequential.yaml"})
TOKENS = {
    "gsm8k": 2048,
    "arc": 2048,
    "medqa": 4096,
    "mbppplus": 4096,
    "humanevalplus": 4096,
    "gpqa": 8192,
    "aime": 20000,
}


@pytest.fixture(scope="module")
def long_model(tmp_path_factory, build_model, make_tokenizer):
    folder = tmp_path_factory.mktemp("long") / "model"
    build_model("qwen3", max_position_embeddings=8192).save_pretrained(folder)
    make_tokenizer("chatml").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_cell_of_the_published_tables_runs(recipe, long_model, tmp_path, capsys):
    """With a tiny model, short replies and questions of our own in the form of the hub."""
    name, _, topology = recipe.stem.rpartition("-")
    config = read_config(RunTeam, recipe)
    benchmark = benchmark_named(name)
    assert config.task.kind == benchmark.name and config.team.topology == topology
    sampling = config.team.sampling
    assert (sampling.temperature, sampling.top_p, config.batch_size) == (0.6, 0.95, 20)
    assert sampling.max_new_tokens == next(count for start, count in TOKENS.items() if name.startswith(start))
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in HUB_ROWS[benchmark.name]))
    words = ["--model", str(long_model), "--output", str(tmp_path / "run"), "--task.data", str(data), "--threads", "1"]
    words += ["--team.latent-steps", "2", "--team.sampling.max-new-tokens", "4", "--json"]
    variants = ["single", "text", "latent", "no_transfer"]
    assert main(["team", "--config", str(recipe), *words, "--variants", *variants]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["variant"] for record in records] == ["single"] * 2 + ["text"] * 2 + ["latent"] * 2 + [
        "no_transfer"
    ] * 2
    assert all(not record["failure"] and len(record["data"]["sha256"]) == 64 for record in records)


def test_programs_are_run_and_the_record_says_in_which_confinement(long_model, tmp_path, capsys, monkeypatch):
    """D7 of the released code grades programs with the reader of numbers."""
    replies = ["```python\ndef quarter(n):\n    return n // 4\n```", "```python\ndef total(n):\n    return 0\n```"]

    def run(teamwork, questions):
        for question, reply in zip(questions, replies, strict=True):
            yield TeamRun(question, {teamwork.team.final_agent.name: Turn(text=reply)})

    monkeypatch.setattr("interlat.teams.runner.Teamwork.run", run)
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in HUB_ROWS["humaneval"]))
    words = ["--task.kind", "humaneval", "--task.data", str(data), "--variants", "single", "--json"]
    assert main(["team", "--model", str(long_model), "--output", str(tmp_path / "run"), *words]) == 0
    right, wrong = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (right["success"], right["how"], right["reason"]) == (True, "executed", "")
    assert "seccomp" in right["isolation"] and right["reply"] == replies[0]
    assert not wrong["success"] and "AssertionError" in wrong["reason"]


def test_answers_to_other_data_are_not_mixed_in(long_model, tmp_path, capsys):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in HUB_ROWS["gsm8k"]))
    words = ["team", "--model", str(long_model), "--output", str(tmp_path / "run"), "--variants", "single"]
    words += ["--task.kind", "gsm8k", "--task.data", str(data), "--team.sampling.max-new-tokens", "2"]
    assert main(words) == 0 and main(words) == 0
    data.write_text(json.dumps(HUB_ROWS["gsm8k"][1]) + "\n")
    assert main(words) == 2
    assert "has results on other data" in capsys.readouterr().err
