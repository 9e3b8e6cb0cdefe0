"""What is stored of a task depends on the task alone: not on order, batch size, ranks or a death in the middle."""

import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from chat_templates import FORMS
from interlat.agents.prompting import PromptMaker
from interlat.agents.settings import AgentSettings
from interlat.agents.sources import PromptOptions
from interlat.cli.collect import Collect
from interlat.cli.main import execute
from interlat.collect.settings import Filters
from interlat.collect.thoughts import CollectThoughts, collect_thoughts
from interlat.config import write_config
from interlat.engine.hf import Engine
from interlat.engine.prompt import token_ids_of, tokenize
from interlat.engine.sampling import Sampling, row_seed
from interlat.engine.template import TemplateOptions
from interlat.errors import InputError, PromptError, StorageError
from interlat.experiments.household.checkpoints import bundled
from interlat.files import read_lines
from interlat.store.index import SEAL_FILE
from interlat.store.reading import LatentStore
from interlat.tasks.records import RecordFields
from interlat.tasks.sources import TaskSource
from kill_rounds import kill_rounds

REAL_MODELS = os.environ.get("INTERLAT_TEST_MODELS", "")
ROOMS = ["a cabinet 1", "a fridge 1, a shelf 2", "a drawer 3, a drawer 4 and a desk 1", "a garbagecan 1"]
COUNT = 13


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    path = tmp_path_factory.mktemp("tasks") / "tasks.jsonl"
    rows = [
        {"id": f"t{n}", "question": f"You see {ROOMS[n % 4]}. " * (1 + n % 3) + f"put some apple {n}", "answer": f"{n}"}
        for n in range(COUNT)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def config(pipeline, tasks, tmp_path):
    return CollectThoughts(
        str(pipeline.scout),
        TaskSource("records", str(tasks)),
        str(tmp_path / "store"),
        sampling=Sampling(max_new_tokens=10),
        batch_size=4,
        dtype="float32",
    )


SAMPLED = Sampling(temperature=1.3, top_p=0.95, max_new_tokens=10)


def collect(config):
    list(collect_thoughts(config))
    return LatentStore.open(config.output)


def check_same(one, other):
    assert one.ids == other.ids
    for first, second in zip(one, other, strict=True):
        assert first.entry == second.entry
        assert first.hidden_states.shape == second.hidden_states.shape
        assert torch.allclose(first.hidden_states, second.hidden_states, atol=1e-5)


@pytest.mark.parametrize("state_at", ["before_token", "after_token"])
def test_stored_rows_equal_one_plain_forward_pass(config, state_at):
    store = collect(dataclasses.replace(config, state_at=state_at, prompt_states=True))
    assert len(store) == COUNT and store.ids == [f"t{n}" for n in range(COUNT)]
    engine = Engine.load(config.model, dtype="float32")
    for number in range(COUNT):
        thought = store[number]
        prompt = engine.chat.opening([("user", thought.entry.task)])[0].text
        ids = engine.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        written = list(thought.entry.token_ids)
        with torch.no_grad():
            output = engine.model(torch.tensor([ids + written]), output_hidden_states=True)
        states = output.hidden_states[-1][0]
        first = len(ids) - (state_at == "before_token")
        assert torch.allclose(thought.hidden_states, states[first : first + len(written)], atol=1e-5)
        assert torch.allclose(store.prompt_states(number), states[: len(ids)], atol=1e-5)
        greedy = output.logits[0, len(ids) - 1 : len(ids) - 1 + len(written)].argmax(-1).tolist()
        assert greedy == written
        assert engine.tokenizer.decode(written, skip_special_tokens=True) == thought.entry.plan


@pytest.mark.parametrize("sampling, samples", [(Sampling(max_new_tokens=10), 1), (SAMPLED, 3)])
def test_batch_size_and_an_interruption_change_nothing(config, tmp_path, sampling, samples):
    config = dataclasses.replace(config, sampling=sampling, samples=samples, batch_size=1)
    plain = collect(config)
    assert len(plain) == COUNT * samples
    other = dataclasses.replace(config, output=str(tmp_path / "other"), batch_size=5)
    for progress in collect_thoughts(other):
        if progress.done == 7:
            break
    assert LatentStore.open(other.output).unfinished
    first = next(iter(collect_thoughts(other)))
    assert first.done >= 7 and first.total == COUNT * samples
    check_same(plain, collect(other))


@pytest.mark.parametrize("method", ["full", "compressed"])
def test_exact_rows_are_the_same_bit_for_bit_in_any_batch_and_after_an_interruption(config, tmp_path, method):
    """In bfloat16, where a row depends on the rows beside it."""
    changes = {"method": "compressed"} if method == "compressed" else {"sampling": SAMPLED, "samples": 3}
    config = dataclasses.replace(config, dtype="bfloat16", exact=True, **changes)
    plain = collect(config)
    assert plain.manifest.settings["exact"] is True
    other = dataclasses.replace(config, output=str(tmp_path / "other"), batch_size=9)
    for progress in collect_thoughts(other):
        if progress.done == 7:
            break
    again = collect(other)
    assert plain.ids == again.ids
    for first, second in zip(plain, again, strict=True):
        assert first.entry == second.entry and torch.equal(first.hidden_states, second.hidden_states)
    with pytest.raises(StorageError, match=r"settings\.exact"):
        collect(dataclasses.replace(other, exact=False))


def test_samples_of_a_task_differ_and_follow_their_seeds(config, tmp_path):
    several = dataclasses.replace(config, sampling=SAMPLED, samples=4)
    store = collect(several)
    plans = {}
    for entry in (store.entry(number) for number in range(len(store))):
        plans.setdefault(entry.task_id, []).append(entry.plan)
    assert all(len(group) == 4 for group in plans.values())
    assert sum(len(set(group)) for group in plans.values()) > 2 * COUNT
    engine = Engine.load(config.model, dtype="float32")
    prompt = engine.chat.opening([("user", store.entry("t3#2").task)])
    alone = engine.decode(engine.prefill([prompt]), SAMPLED, [row_seed(0, "t3#2", "sender")])
    assert alone.texts[0] == store.entry("t3#2").plan
    again = dataclasses.replace(several, output=str(tmp_path / "seeded"), seed=1)
    assert [e.entry.plan for e in collect(again)] != [e.entry.plan for e in store]


def command(config, *flags):
    source = ["--source.kind", "records", "--source.data", config.source.data]
    return [
        "--model", config.model, *source, "--output", config.output, "--sampling.max-new-tokens", "10",
        "--dtype", "float32", "--threads", "1", *flags,
    ]  # fmt: skip


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
def test_two_ranks_under_torchrun_store_the_same(config, tmp_path, sampled):
    if sampled:
        config = dataclasses.replace(config, sampling=dataclasses.replace(SAMPLED, top_p=1.0), samples=2)
    one = collect(config)
    two = dataclasses.replace(config, output=str(tmp_path / "two"))
    flags = ["--sampling.temperature", "1.3", "--samples", "2"] if sampled else []
    launched = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "interlat.cli", "collect", *command(two, "--batch-size", "3", *flags)],
        env=environment(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    # A sample may happen to be empty, which is a failed item and exit code 1.
    assert launched.returncode == int(bool(one.excluded)), launched.stderr
    store = LatentStore.open(two.output)
    assert store.excluded == one.excluded
    shards = set(store.table.column("shard").to_pylist())
    assert {name[:5] for name in shards} == {"00000", "00001"} and not store.unfinished
    check_same(one, store)


def test_kill_9_loses_and_doubles_nothing(config, tmp_path):
    whole = collect(config)
    killed = dataclasses.replace(config, output=str(tmp_path / "killed"))
    process = subprocess.Popen(
        [sys.executable, "-m", "interlat.cli", "collect", *command(killed, "--batch-size", "1")],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    journal = tmp_path / "killed" / "journals" / "00000.jsonl"
    deadline = time.monotonic() + 120
    while not (journal.exists() and len(read_lines(journal)) >= 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    there = LatentStore.open(killed.output)
    assert 3 <= len(there) < COUNT and there.unfinished
    kept = {thought.entry.id: thought.hidden_states for thought in there}
    store = collect(killed)
    check_same(whole, store)
    assert all(torch.equal(store.hidden_states(key), rows) for key, rows in kept.items())


def poisoned_scout(pipeline, folder, word):
    """The scout with a NaN in the embedding of a word; its head is its own and sound."""
    engine = Engine.load(str(pipeline.scout), dtype="float32")
    token = engine.tokenizer(word, add_special_tokens=False)["input_ids"][0]
    model = engine.model
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = float("nan")
    model.save_pretrained(folder)
    engine.tokenizer.save_pretrained(folder)
    return str(folder)


def test_bad_items_are_named_and_the_rest_goes_on(pipeline, config, tmp_path, capsys):
    """An empty task, a prompt that is too long, a NaN: each is recorded, exit code 1, the others are stored."""
    engine = Engine.load(str(pipeline.scout))
    word = " kettle"
    token = engine.tokenizer(word, add_special_tokens=False)["input_ids"][0]
    rows = read_lines(config.source.data)
    bad = {
        "empty": "  ",
        "long": "a shelf 1 " * engine.context_length,
        "nan": f"You see a{word}.",
    }
    clean = [row for row in rows if token not in engine.tokenizer(row["question"])["input_ids"]]
    mixed = tmp_path / "mixed.jsonl"
    extra = [{"id": key, "question": text, "answer": ""} for key, text in bad.items()]
    mixed.write_text("".join(json.dumps(row) + "\n" for row in [*extra, *clean]))
    run = Collect(
        poisoned_scout(pipeline, tmp_path / "poisoned", word),
        TaskSource("records", str(mixed)),
        config.output,
        sampling=config.sampling,
        batch_size=2,
        dtype="float32",
        json=True,
    )
    assert execute(run) == 1
    store = LatentStore.open(config.output)
    reasons = {key: one.reason for key, one in store.excluded.items()}
    assert reasons.keys() >= bad.keys()
    assert reasons["empty"] == "the task is empty"
    assert reasons["long"].startswith("prompt too long")
    assert "NaN" in reasons["nan"], reasons
    assert all(store.hidden_states(number).isfinite().all() for number in range(len(store)))
    assert len(store) + len(store.excluded) == len(clean) + len(bad)
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["failed"] == len(store.excluded)
    assert "prompt too long" in captured.err and "failed" in captured.err
    assert execute(run) == 1, "what failed is not tried again by itself, and still counts"


def test_an_empty_plan_is_a_failure_that_can_be_tried_again(config, monkeypatch):
    engine = Engine.load(config.model)
    everything = frozenset(range(engine.model.get_input_embeddings().weight.shape[0]))
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "stop_ids", everything)
        store = collect(config)
    assert len(store) == 0
    assert {one.reason for one in store.excluded.values()} == {"empty plan"}
    assert len(collect(config)) == 0
    again = collect(dataclasses.replace(config, retry_failed=True))
    assert len(again) == COUNT and again.excluded == {}


def test_filters_leave_out_and_say_why(config):
    store = collect(dataclasses.replace(config, filters=Filters(finished=True)))
    kept = [store.entry(number).finished for number in range(len(store))]
    assert all(kept) and len(kept) + len(store.excluded) == COUNT
    assert {one.status for one in store.excluded.values()} <= {"filtered"}


def test_only_right_answers_are_kept(config, monkeypatch, tmp_path):
    answers = {f"t{n}": str(n) for n in range(COUNT)}
    everything = collect(dataclasses.replace(config, grade=True))
    verdicts = [everything.entry(number).metadata["verdict"]["correct"] for number in range(COUNT)]
    assert {e.entry.metadata["answer"] for e in everything} == set(answers.values())
    right = [number for number, verdict in enumerate(verdicts) if verdict]
    filtered = dataclasses.replace(config, output=str(tmp_path / "right"), filters=Filters(correct=True))
    store = collect(filtered)
    assert store.ids == [f"t{number}" for number in right]
    assert len(store.excluded) == COUNT - len(right)


@pytest.mark.parametrize(("end", "opened"), [("<think>\n", "<think>\n"), ("<think></think>", "")])
def test_a_thought_that_the_prompt_opens_and_nobody_closes_has_no_answer(config, tmp_path, end, opened):
    path = tmp_path / "ones.jsonl"
    path.write_text("".join(json.dumps({"question": f"Is it 1? {n}", "answer": "1"}) + "\n" for n in range(3)))
    prompt = PromptOptions(chat=False, template=f"{{text}} {end}")
    store = collect(dataclasses.replace(config, source=TaskSource("records", str(path)), prompt=prompt, grade=True))
    assert len(store) == 3
    for thought in store:
        entry = thought.entry
        assert entry.plan and entry.metadata.get("opened_thought", "") == opened
        assert entry.said == ("" if opened else entry.plan)
        assert entry.metadata["verdict"]["how"] == "unparsed" if opened else entry.metadata["verdict"]


def test_the_sender_is_told_the_notes_and_the_store_keeps_them(config, tmp_path):
    path = tmp_path / "noted.jsonl"
    path.write_text('{"question": "Where is it?", "facts": "It is on shelf 1."}\n{"question": "Where?"}\n')
    source = TaskSource("records", str(path), fields=RecordFields(notes="facts"))
    noted, bare = collect(dataclasses.replace(config, source=source))
    assert noted.entry.task == "It is on shelf 1.\n\nWhere is it?" and bare.entry.task == "Where?"
    assert noted.entry.metadata == {"sender_notes": "It is on shelf 1."} and bare.entry.metadata == {}


def test_right_answers_need_answers(config, tmp_path):
    path = tmp_path / "open.jsonl"
    path.write_text('{"question": "why?"}\n')
    with pytest.raises(InputError, match="no answer"):
        collect(dataclasses.replace(config, source=TaskSource("records", str(path)), grade=True))


def test_chosen_layers_and_no_others_are_stored(pipeline, config):
    """The middle of a deeper model, before the norm; an unnormed last layer is another tensor than the normed one."""
    deep = collect(dataclasses.replace(config, layers=(1,), norm="pre"))
    assert [(layer.layer, layer.norm) for layer in deep.manifest.layers] == [(-1, "pre")]
    engine = Engine.load(config.model, dtype="float32")
    with torch.no_grad():
        normed = engine.model.model.norm(deep.hidden_states(0))
        tokens = engine.logits(normed).argmax(dim=-1).tolist()
    assert tokens == list(deep.entry(0).token_ids)
    assert not torch.allclose(normed, deep.hidden_states(0), atol=1e-2)


def test_latent_steps_are_those_of_the_single_prompt(config):
    store = collect(dataclasses.replace(config, method="compressed", latent_steps=5))
    assert store.lengths == [5] * COUNT and store.entry(0).plan == ""
    assert store.manifest.method == "compressed" and store.manifest.settings["latent_steps"] == 5
    engine = Engine.load(config.model, dtype="float32")
    table = engine.model.get_input_embeddings().weight.detach()
    for number in (0, 7):
        prompt = engine.chat.opening([("user", store.entry(number).task)])[0].text
        ids = engine.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        inputs, rows = table[ids], []
        for _ in range(6):
            with torch.no_grad():
                state = engine.model(inputs_embeds=inputs[None], output_hidden_states=True).hidden_states[-1][0, -1]
            rows.append(state)
            inputs = torch.cat([inputs, (state / state.norm() * table.norm(dim=-1).mean())[None]])
        assert torch.allclose(store.hidden_states(number), torch.stack(rows[1:]), atol=1e-4)


def test_the_number_format_is_the_one_asked_for(config, tmp_path):
    plain = collect(config)
    half = collect(dataclasses.replace(config, output=str(tmp_path / "half"), store_dtype="bfloat16"))
    small = collect(dataclasses.replace(config, output=str(tmp_path / "small"), encoding="int8"))
    assert plain.manifest.dtype == "float32" and half.manifest.dtype == "bfloat16"
    for number in range(COUNT):
        rows = plain.hidden_states(number)
        assert torch.allclose(half.hidden_states(number), rows.bfloat16(), atol=1e-2)
        assert (small.hidden_states(number) - rows).norm() / rows.norm() < 0.02
    assert 0 < max(small.table.column("encoding_error").to_pylist()) < 0.02


def test_a_store_of_other_settings_is_left_alone(config, tmp_path, capsys):
    before = collect(config)
    other = Collect(
        **{field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        | {"state_at": "after_token"}
    )
    with pytest.raises(StorageError, match="another state_at"):
        execute(other)
    assert not (tmp_path / "store" / "config.yaml").exists()
    check_same(before, LatentStore.open(config.output))


def begun_by_an_older_version(config, **prompt):
    """Begin a store as commit 68a7b0d did: its manifest has these settings of the prompt and no others."""
    collect(config)
    path = Path(config.output) / "manifest.json"
    manifest = json.loads(path.read_text())
    # As that commit wrote it.
    manifest["settings"]["prompt"] = {
        "ask": "text",
        "template": "{text}",
        "system": "",
        "chat": True,
        "thinking": "default",
        **prompt,
    }
    path.write_text(json.dumps(manifest))
    (Path(config.output) / SEAL_FILE).unlink()  # It wrote none.


@pytest.mark.parametrize("method", ["full", "compressed"])
def test_a_store_that_an_older_version_began_goes_on(config, tmp_path, method):
    config = dataclasses.replace(config, method=method)
    whole = collect(dataclasses.replace(config, output=str(tmp_path / "whole")))
    begun_by_an_older_version(dataclasses.replace(config, limit=4))
    continued = collect(config)
    assert len(continued) == COUNT
    check_same(continued, whole)
    # It still says how it was begun, and other settings are still others.
    assert "allow_special_tokens" not in continued.manifest.settings["prompt"]
    with pytest.raises(StorageError, match=r"settings\.prompt"):
        collect(dataclasses.replace(config, prompt=PromptOptions(system="Be brief.")))


def test_a_store_of_an_older_version_is_left_alone_where_a_prompt_would_be_another(config, tmp_path):
    begun_by_an_older_version(dataclasses.replace(config, limit=4))
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps({"id": "x", "question": "a shelf 1<|im_end|>"}) + "\n")
    with pytest.raises(InputError, match="the prompt of x"):
        collect(dataclasses.replace(config, source=TaskSource("records", str(path))))
    assert len(LatentStore.open(config.output)) == 4


def test_a_store_of_an_older_version_is_left_alone_where_the_template_writes_a_date(config, tmp_path):
    model = Path(shutil.copytree(config.model, tmp_path / "dated"))
    template = model / "chat_template.jinja"
    template.write_text("{{ strftime_now('%d %b %Y') }} " + template.read_text())
    config = dataclasses.replace(config, model=str(model))
    begun_by_an_older_version(dataclasses.replace(config, limit=4))
    with pytest.raises(InputError, match="a date is fixed"):
        collect(config)


def test_more_tasks_can_be_added_later(config, tmp_path):
    few = collect(dataclasses.replace(config, limit=4))
    assert len(few) == 4
    everything = collect(config)
    check_same(everything, collect(dataclasses.replace(config, output=str(tmp_path / "at once"))))


def test_what_is_no_unicode_fails_alone(config, tmp_path):
    """Lone surrogates, which JSON can write: in a question, in an id, and where nothing has to read them."""
    rows = read_lines(config.source.data)[:3]
    rows.insert(1, {"id": "question", "question": "bad \ud83d", "answer": "1"})
    rows.insert(0, {"id": "id\ud800", "question": "fine", "answer": "1"})
    rows.append({"id": "rest", "question": "fine <|im_end|> \x00", "answer": "1\udfff", "note": "\\\ud800\\"})
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    mixed = dataclasses.replace(config, source=TaskSource("records", str(path)), batch_size=1)
    store = collect(mixed)
    assert store.ids == ["t0", "t1", "t2", "rest"]
    assert store.entry("rest").metadata == {"note": "\\\ud800\\", "answer": "1\udfff"}
    reasons = {key: one.reason for key, one in store.excluded.items()}
    assert reasons.keys() == {"question", "id\ud800"}
    assert "surrogate '\\ud83d' at character 4" in reasons["question"] and "the id holds" in reasons["id\ud800"]
    # The others are what they are without these rows, and a second run finds nothing to do.
    alone = collect(dataclasses.replace(config, output=str(tmp_path / "alone")))
    assert [store.entry(key).token_ids for key in ("t0", "t1")] == [alone.entry(key).token_ids for key in ("t0", "t1")]
    assert [(p.done, p.bytes_written) for p in collect_thoughts(mixed)] == [(6, 0)]


def test_what_no_task_makes_a_prompt_of_is_an_error_before_anything_is_written(config, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps({"id": "x", "question": "\ud83d"}) + "\n")
    with pytest.raises(PromptError, match="surrogate"):
        list(collect_thoughts(dataclasses.replace(config, source=TaskSource("records", str(path)))))
    assert not (tmp_path / "store").exists()


def test_control_tokens_of_a_task_are_words_and_the_manifest_says_so(config, tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps({"id": "x", "question": "a shelf 1<|im_end|>"}) + "\n")
    source = TaskSource("records", str(path))
    engine = Engine.load(config.model, dtype="float32")
    end = engine.tokenizer.convert_tokens_to_ids("<|im_end|>")
    for allowed in (False, True):
        options = PromptOptions(allow_special_tokens=allowed)
        output = str(tmp_path / f"store {allowed}")
        store = collect(dataclasses.replace(config, source=source, prompt=options, output=output, prompt_states=True))
        assert store.manifest.settings["prompt"]["allow_special_tokens"] is allowed
        # What it was collected with is what it is made with again.
        make = PromptMaker.as_collected(store.manifest.settings, engine.tokenizer)
        ids = token_ids_of(tokenize(make("a shelf 1<|im_end|>"), engine.tokenizer))
        assert ids.count(end) == 1 + allowed and len(ids) == len(store.prompt_states("x"))


def test_a_prompt_of_one_s_own_reaches_the_model(config):
    store = collect(dataclasses.replace(config, prompt=PromptOptions(template="Say {text}", chat=False), limit=1))
    engine = Engine.load(config.model, dtype="float32")
    entry = store.entry(0)
    decoded = engine.decode(engine.prefill([f"Say {entry.task}"]), config.sampling)
    assert tuple(decoded.token_ids[0]) == entry.token_ids
    assert store.manifest.settings["prompt"]["template"] == "Say {text}"


@pytest.fixture(scope="module")
def thinker(tmp_path_factory, build_model):
    """A model whose template has a switch for thoughts."""
    folder = tmp_path_factory.mktemp("thinker")
    build_model("qwen2", vocab_size=400).save_pretrained(folder)
    FORMS["qwen3"].tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("switch", ["template", "prompt", "agent.json"])
def test_template_arguments_reach_the_prompt_and_the_manifest(config, thinker, tmp_path, switch):
    folder = shutil.copytree(thinker, tmp_path / "thinker")
    changes = {
        "template": {"template": TemplateOptions(enable_thinking=False)},
        "prompt": {"prompt": PromptOptions(thinking="off")},
        "agent.json": {},
    }
    if switch == "agent.json":
        AgentSettings(template=TemplateOptions(enable_thinking=False)).save(folder)
    store = collect(dataclasses.replace(config, model=str(folder), limit=1, **changes[switch]))
    settings = store.manifest.settings
    assert settings.get("template") == (None if switch == "prompt" else {"enable_thinking": False})
    engine = Engine.load(str(folder), dtype="float32")
    prompt = PromptMaker.as_collected(settings, engine.tokenizer)(store.entry(0).task)
    assert prompt[-1].text.endswith("<think>\n\n</think>\n\n")
    decoded = engine.decode(engine.prefill([prompt]), config.sampling)
    assert tuple(decoded.token_ids[0]) == store.entry(0).token_ids
    other = PromptMaker.as_collected(settings, engine.tokenizer, TemplateOptions(enable_thinking=True))
    assert not other(store.entry(0).task)[-1].text.endswith("</think>\n\n")


def test_a_manifest_names_no_template_arguments_where_none_are_set(config):
    assert "template" not in collect(dataclasses.replace(config, limit=1)).manifest.settings


@pytest.mark.skipif(not REAL_MODELS, reason="INTERLAT_TEST_MODELS names no folder with gemma-3-270m")
def test_a_real_base_model_gets_its_beginning(config, tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps({"id": "france", "question": "The capital of France is"}) + "\n")
    base = dataclasses.replace(
        config, model=f"{REAL_MODELS}/gemma-3-270m", source=TaskSource("records", str(path)), prompt_states=True
    )
    engine = Engine.load(base.model, dtype="float32")
    ids = engine.tokenizer("The capital of France is")["input_ids"]
    assert ids[0] == engine.tokenizer.bos_token_id
    for template in ("{text}", "<bos>{text}"):
        options = PromptOptions(template=template, chat=False)
        store = collect(dataclasses.replace(base, prompt=options, output=str(tmp_path / template[1:4])))
        assert store.prompt_states("france").shape[0] == len(ids)
        with torch.no_grad():
            written = engine.model.generate(torch.tensor([ids]), max_new_tokens=10, do_sample=False)[0, len(ids) :]
        assert list(store.entry("france").token_ids) == written.tolist()
        assert " France of France of France" not in store.entry("france").plan


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_collection_that_was_killed_twenty_times_ends_as_if_it_had_not_been(tmp_path, dtype):
    """The bundled scout, sampled: texts are equal in float32, and with ``exact`` everything is bit for bit."""
    rows = [{"id": f"t{n}", "question": f"You see {ROOMS[n % 4]}. Put some apple {n} there."} for n in range(120)]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = CollectThoughts(
        str(bundled("alfworld-mini/scout")),
        TaskSource("records", str(tmp_path / "tasks.jsonl")),
        "",
        sampling=Sampling(temperature=1.0, max_new_tokens=30),
        samples=2,
        batch_size=4,
        dtype=dtype,
        exact=dtype == "bfloat16",
        threads=1,
    )
    write_config(config, tmp_path, "collect.yaml")

    def compare(whole, killed):
        one, other = LatentStore.open(whole), LatentStore.open(killed)
        if (one.ids, one.excluded, one.manifest) != (other.ids, other.excluded, other.manifest):
            return ["ids, exclusions or manifest"]
        found = []
        for first, second in zip(one, other, strict=True):
            near = torch.equal if config.exact else functools.partial(torch.allclose, atol=1e-3)
            if first.entry != second.entry or not near(first.hidden_states, second.hidden_states):
                found.append(first.entry.id)
        return found

    words = [
        sys.executable,
        "-m",
        "interlat.cli",
        "collect",
        "--config",
        str(tmp_path / "collect.yaml"),
        "--output",
    ]
    result = kill_rounds(lambda folder: [*words, str(folder)], tmp_path, 20, compare)
    assert result.kills == 20 and result.differences == [] and result.leftovers == []
