"""What vLLM computes is what the reference engine computes."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from interlat.agents.agent import Agent
from interlat.engine.cache import KVCache
from interlat.engine.cache_message import cache_of_message, message_of_cache
from interlat.engine.hf import HFEngine
from interlat.engine.prompt import Latents, Text, Tokens
from interlat.engine.protocol import load_model
from interlat.engine.recorder import LayerSelection
from interlat.engine.sampling import Sampling
from interlat.engine.streaming import Request
from interlat.errors import CheckpointError, InputError, MessageError, PromptError
from model_fixtures import make_longrope

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
TEXTS = ["put the kettle on the stove", "the", " ".join(["the kettle is in the drawer"] * 12), "kettle?"]
"""Of lengths that need one page of vLLM's cache, and several."""


def latents_of(engine, count, seed=0):
    rows = torch.randn(count, engine.hidden_size, generator=torch.Generator().manual_seed(seed))
    return Latents(rows * engine.input_embeddings.norm(dim=-1).mean() / rows.norm(dim=-1, keepdim=True))


def prompts_of(engine):
    return [
        *TEXTS,
        [Text("put"), latents_of(engine, 40), Text(" on the stove")],
        [latents_of(engine, 3, 1), Tokens((9,))],
    ]


def scaled(engine):
    length = engine.input_embeddings.norm(dim=-1).mean()
    return lambda states: states * length / states.norm(dim=-1, keepdim=True)


def test_it_is_the_same_model(engines):
    ours, reference = engines
    for name in ("weights_fingerprint", "tokenizer_fingerprint", "stop_ids", "vocabulary_size", "hidden_size", "layers",
                 "ties_embeddings", "dtype", "scales_embeddings"):  # fmt: skip
        assert getattr(ours, name) == getattr(reference, name), name
    assert torch.equal(ours.input_embeddings, reference.input_embeddings)
    assert torch.equal(ours.output_embeddings, reference.output_embeddings)
    states = torch.randn(2, 3, ours.hidden_size)
    torch.testing.assert_close(ours.logits(states), reference.logits(states), **CLOSE)
    assert ours.context_length == reference.context_length - 1


def test_prompts_are_read_alike(engines):
    ours, reference = engines
    found, expected = ours.prefill(prompts_of(ours)), reference.prefill(prompts_of(reference))
    torch.testing.assert_close(found.hidden_states, expected.hidden_states, **CLOSE)
    assert found.next_position.tolist() == expected.next_position.tolist()
    further = [" now", [latents_of(ours, 2, 5)], " and", " on the stove", "?", [Tokens((3, 4))]]
    found, states = ours.prefill_hidden(further, found)
    expected, wanted = reference.prefill_hidden(further, expected)
    torch.testing.assert_close(found.hidden_states, expected.hidden_states, **CLOSE)
    for mine, theirs in zip(states, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)
    assert found.segment_names == expected.segment_names


@pytest.mark.parametrize("state_at", ["before_token", "after_token"])
@pytest.mark.parametrize("stop", [frozenset(), None, frozenset(range(0, 320, 5))], ids=["never", "default", "soon"])
def test_replies_are_written_alike(engines, state_at, stop):
    limit = Sampling(max_new_tokens=9)
    outputs = []
    for engine in engines:
        memory = engine.prefill(prompts_of(engine))
        written = engine.decode(memory, limit, stop_ids=stop, keep_hidden_states=True, state_at=state_at)
        again = engine.decode(engine.prefill([" so"] * 6, written.cache), limit, stop_ids=stop)
        outputs.append((written, again))
    (found, more), (expected, wanted) = outputs
    for mine, theirs in ((found, expected), (more, wanted)):
        for name in ("token_ids", "texts", "stopped"):
            assert getattr(mine, name) == getattr(theirs, name), name
        torch.testing.assert_close(mine.cache.hidden_states, theirs.cache.hidden_states, **CLOSE)
        assert mine.cache.next_position.tolist() == theirs.cache.next_position.tolist()
    for mine, theirs in zip(found.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)
    assert any(expected.stopped) == (stop == frozenset(range(0, 320, 5)))


@pytest.mark.parametrize("options", [{}, {"top_k": 7}, {"top_p": 0.8, "top_k": 50}], ids=str)
def test_samples_are_those_of_the_reference(engines, options):
    ours, reference = engines
    limit, seeds = Sampling(temperature=1.3, max_new_tokens=12, **options), [5, 6, 7, 8, 9, 10]
    found = ours.decode(ours.prefill(prompts_of(ours)), limit, seeds)
    expected = reference.decode(reference.prefill(prompts_of(reference)), limit, seeds)
    assert found.token_ids == expected.token_ids
    greedy = ours.decode(ours.prefill(prompts_of(ours)), Sampling(max_new_tokens=12))
    assert found.token_ids != greedy.token_ids


@pytest.mark.parametrize("tolerance", [0.0, 0.9])
@pytest.mark.parametrize("ends", [(), tuple(range(0, 320, 3))], ids=["never", "ends"])
def test_latent_steps_are_taken_alike(engines, tolerance, ends):
    ours, reference = engines
    found, expected = (
        engine.think(engine.prefill(prompts_of(engine)), 5, scaled(engine), tolerance=tolerance, stop_ids=ends)
        for engine in engines
    )
    torch.testing.assert_close(found[1], expected[1], **CLOSE)
    torch.testing.assert_close(found[0].hidden_states, expected[0].hidden_states, **CLOSE)
    assert found[0].next_position.tolist() == expected[0].next_position.tolist()
    if ends:
        assert len(set((expected[0].next_position - reference.prefill(prompts_of(ours)).next_position).tolist())) > 1
    limit = Sampling(max_new_tokens=6)
    assert ours.decode(found[0], limit).token_ids == reference.decode(expected[0], limit).token_ids


def test_no_step_leaves_a_memory_as_it_is(engines):
    ours, _ = engines
    memory = ours.prefill(TEXTS)
    same, thoughts = ours.think(memory, 0, scaled(ours))
    assert same is memory and thoughts.shape == (4, 0, ours.hidden_size)


@pytest.mark.parametrize("temperature", [0.0, 1.2])
@pytest.mark.parametrize("state_at", ["before_token", "after_token"])
def test_streams_are_alike(engines, temperature, state_at):
    limit = Sampling(temperature=temperature, max_new_tokens=7)
    answers = []
    for engine in engines:
        prompts = prompts_of(engine) * 3
        requests = [Request(str(number), prompt, seed=number) for number, prompt in enumerate(prompts)]
        made = engine.stream(
            requests, limit, batch_size=4, state_at=state_at, prompt_states=True, stop_ids=range(0, 320, 7)
        )
        answers.append({one.key: one for one in made})
    found, expected = answers
    assert set(found) == set(expected) and len(found) == 18
    for key, one in expected.items():
        for name in ("token_ids", "text", "stopped", "prompt_tokens", "sound"):
            assert getattr(found[key], name) == getattr(one, name), (key, name)
        torch.testing.assert_close(found[key].hidden_states, one.hidden_states, **CLOSE)
        torch.testing.assert_close(found[key].prompt_states, one.prompt_states, **CLOSE)
    assert {one.stopped for one in expected.values()} == {True, False}


def test_streams_go_on_from_memories(engines):
    limit, answers = Sampling(max_new_tokens=5), []
    for engine in engines:
        memory = engine.think(engine.prefill(TEXTS), 3, scaled(engine))[0]
        requests = [Request(str(row), [Text(" now?")], cache=memory.select([row])) for row in range(4)]
        answers.append({one.key: (one.token_ids, one.prompt_tokens) for one in engine.stream(requests, limit)})
    assert answers[0] == answers[1]


def test_a_sequence_does_not_depend_on_its_neighbours(engines):
    ours, _ = engines
    together = ours.prefill(prompts_of(ours))
    limit = Sampling(max_new_tokens=8)
    written = ours.decode(together, limit)
    for row, prompt in enumerate(prompts_of(ours)):
        alone = ours.prefill([prompt])
        torch.testing.assert_close(alone.hidden_states[0], together.hidden_states[row], atol=1e-5, rtol=1e-5)
        assert ours.decode(alone, limit).token_ids == [written.token_ids[row]]


def test_latents_are_never_taken_for_other_latents_or_tokens(engines):
    """vLLM finds pages again by what was read; a latent of zeros looks there like the token in its place."""
    ours, reference = engines
    zeros = Latents(torch.zeros(70, ours.hidden_size))
    prompts = [
        [Tokens((0,) * 70)], [zeros], [latents_of(ours, 70, 1)], [latents_of(ours, 70, 2)], [Tokens((0,) * 35), zeros],
    ]  # fmt: skip
    for prompt in (*prompts, *reversed(prompts)):
        found, expected = ours.prefill([prompt]), reference.prefill([prompt])
        torch.testing.assert_close(found.hidden_states, expected.hidden_states, **CLOSE)


def test_memories_are_values(engines):
    """Two continuations of one memory do not disturb each other, also where there is room behind it."""
    ours, _ = engines
    memory = ours.prefill(TEXTS, spare=20)
    first = ours.prefill([" now"] * 4, memory)
    second = ours.prefill([" then"] * 4, memory)
    limit = Sampling(max_new_tokens=5)
    assert (
        ours.decode(first, limit).token_ids
        == ours.decode(ours.prefill([" now"] * 4, ours.prefill(TEXTS)), limit).token_ids
    )
    assert ours.decode(second, limit).token_ids != ours.decode(first, limit).token_ids
    joined = KVCache.concat([first.select([2]), second.select([0, 1])])
    torch.testing.assert_close(
        ours.prefill(["?"] * 3, joined).hidden_states[1:], ours.prefill(["?"] * 4, second).hidden_states[:2], **CLOSE
    )


def test_the_context_ends_in_time(engines):
    ours, _ = engines
    length = ours.context_length
    memory = ours.prefill([[Tokens((5,) * (length - 3))], [Tokens((5,) * length)]])
    written = ours.decode(memory, Sampling(max_new_tokens=10), stop_ids=())
    assert [len(ids) for ids in written.token_ids] == [3, 0] and written.stopped == [False, False]
    for too_long in (
        lambda: ours.prefill([[Tokens((5,) * (length + 1))]]),
        lambda: ours.prefill(["the"] * 2, memory),
        lambda: ours.think(memory, 4, scaled(ours)),
    ):
        with pytest.raises(PromptError, match=f"holds {length}"):
            too_long()


def test_what_is_not_finite_is_said(tmp_path, wide):
    model = HFEngine.load(wide, dtype=torch.float32).model
    with torch.no_grad():
        model.get_input_embeddings().weight[313] = torch.nan
    model.save_pretrained(tmp_path)
    HFEngine.load(wide, dtype=torch.float32).tokenizer.save_pretrained(tmp_path)
    for name in ("vllm", "hf"):
        requests = [Request("spoilt", [Text("the"), Tokens((313,))]), Request("fine", "the kettle")]
        engine = load_model(str(tmp_path), name, dtype="float32")
        found = {one.key: one for one in engine.stream(requests, Sampling(max_new_tokens=3))}
        assert not found["spoilt"].sound and found["spoilt"].token_ids == [] and found["fine"].sound, name


def test_a_stream_may_be_left(engines):
    ours, _ = engines
    requests = [Request(str(number), TEXTS[0]) for number in range(6)]
    made = ours.stream(requests, Sampling(max_new_tokens=4), batch_size=2, stop_ids=())
    first = next(made)
    made.close()
    assert ours._rows.jobs == {}
    after = ours.decode(ours.prefill(TEXTS[:1]), Sampling(max_new_tokens=4), stop_ids=())
    assert after.token_ids == [first.token_ids]


def test_streams_feed_each_other(engines):
    """A team's members: what one reads another one writes meanwhile, in the same vLLM, and all end when they like."""
    limit, ends, answers = Sampling(max_new_tokens=12), frozenset(range(0, 320, 9)), []
    for engine in engines:

        def written(engine=engine):
            for one in engine.stream(
                [Request(str(number), f"{text} {number}") for number, text in enumerate(TEXTS * 4)],
                limit,
                batch_size=3,
                stop_ids=ends,
            ):
                memory = engine.think(engine.prefill([one.text + " so"]), 2, scaled(engine))[0]
                yield Request(one.key, [Text(" now?")], cache=memory)

        made = engine.stream(written(), limit, batch_size=3, stop_ids=ends)
        answers.append({one.key: (one.token_ids, one.stopped) for one in made})
    assert answers[0] == answers[1] and len(answers[0]) == 16
    assert len({len(ids) for ids, _ in answers[1].values()}) > 2, "they end at different times"
    assert not engines[0]._finished and not engines[0]._rows.jobs


def test_the_context_is_the_models_where_rotation_is_scaled(save_wide):
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    place = save_wide("llama", rope_parameters=rope, max_position_embeddings=256)
    engine = load_model(place, "vllm", dtype="float32")
    assert engine.context_length in (255, 256)
    with pytest.raises(PromptError, match="holds 25"):
        engine.prefill([[Tokens((5,) * 257)]])


def test_end_tokens_come_from_the_configuration_where_nothing_else_says_them(save_wide):
    place = Path(save_wide("qwen2", eos_token_id=[7, 9]))
    (place / "generation_config.json").unlink(missing_ok=True)
    ours, reference = load_model(str(place), "vllm", dtype="float32"), HFEngine.load(str(place), dtype="float32")
    assert ours.stop_ids == reference.stop_ids and {7, 9} <= ours.stop_ids


@pytest.mark.parametrize(("variable", "value", "why"), [("INTERLAT_VLLM_MEMORY", "much", "share of the GPU's memory")])
def test_wrong_settings_are_one_line(variable, value, why, wide, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=why):
        load_model(wide, "vllm", dtype="float32")


def test_what_it_cannot_do_is_refused_by_name(engines):
    ours, reference = engines
    memory = ours.think(ours.prefill(TEXTS), 2, scaled(ours))[0]
    with pytest.raises(MessageError, match="whole memories only"):
        ours.prefill(["?"] * 4, memory.trim(memory.segment("latents")))
    with pytest.raises(MessageError, match="whole memories only"):
        ours.prefill(["?"] * 4, memory.only_layers([1]))
    with pytest.raises(MessageError, match="gives and takes no caches"):
        message_of_cache(ours, memory)
    with pytest.raises(MessageError, match="gives and takes no caches"):
        cache_of_message(ours, message_of_cache(reference, reference.prefill(["the"])))
    with pytest.raises(InputError, match="use the engine that made it"):
        ours.prefill(["?"], reference.prefill(["the"]))
    with pytest.raises(InputError, match="only the states of the last layer"):
        ours.prefill_hidden(["the"], kept=LayerSelection((1, 2)))
    with pytest.raises(InputError, match="only the states of the last layer"):
        list(ours.stream([Request("a", "the")], kept=LayerSelection((-1,), "pre")))
    with pytest.raises(PromptError, match="token id 320"):
        ours.prefill([[Tokens((320,))]])
    with pytest.raises(InputError, match="needs 4 seeds"):
        ours.decode(memory, Sampling(temperature=1.0))


def test_agents_send_and_read_hidden_states(engines):
    messages = [
        Agent(engine).write("put the kettle on the stove", sampling=Sampling(max_new_tokens=6)) for engine in engines
    ]
    assert messages[0].text == messages[1].text
    torch.testing.assert_close(messages[0].hidden_states, messages[1].hidden_states, **CLOSE)
    thoughts = [Agent(engine).think("put the kettle on the stove", 4) for engine in engines]
    torch.testing.assert_close(thoughts[0].hidden_states, thoughts[1].hidden_states, **CLOSE)


def test_rotary_factors_that_change_with_the_length_are_refused(tmp_path, make_tokenizer):
    make_longrope().save_pretrained(tmp_path)
    make_tokenizer("chatml").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="LongRoPE"):
        load_model(str(tmp_path), "vllm", dtype="float32")


def test_what_vllm_cannot_run_is_one_line(save_wide, tmp_path):
    """In a process of its own: an engine of vLLM that fails takes others in its process with it."""
    place = save_wide("qwen2", hidden_size=32, head_dim=8)
    command = [sys.executable, "-m", "interlat.cli", "evaluate", "--sender", place, "--receiver", place]
    command += ["--environment", "secret", "--output", str(tmp_path / "run"), "--engine", "vllm", "--dtype", "float32"]
    done = subprocess.run(command, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert done.returncode == 2 and len(said) == 1 and "cannot run" in said[0] and "engine hf" in said[0], done.stderr


def test_adapters_are_merged_first(tmp_path, wide):
    from peft import LoraConfig, get_peft_model

    model = HFEngine.load(wide, dtype=torch.float32).model
    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj", "down_proj"], init_lora_weights=False))
    adapted.peft_config["default"].base_model_name_or_path = wide
    adapted.save_pretrained(tmp_path)
    ours, reference = load_model(str(tmp_path), "vllm", dtype="float32"), HFEngine.load(str(tmp_path), dtype="float32")
    torch.testing.assert_close(ours.prefill(TEXTS).hidden_states, reference.prefill(TEXTS).hidden_states, **CLOSE)
    assert ours.weights_fingerprint == reference.weights_fingerprint
    assert not list(Path(tempfile.gettempdir()).glob("interlat-vllm-*")), "nothing is left behind"
