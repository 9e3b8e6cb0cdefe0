"""The law of batching and the equality with slow, obvious computations, on all architectures."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from interlat.connectors.bridge import Bridge, BridgeConfig, think_over
from interlat.engine import buffer
from interlat.engine.cache import KVCache
from interlat.engine.hf import Engine
from interlat.engine.llama_family import LlamaFamilyBackend
from interlat.engine.prompt import Latents, Text, Tokens
from interlat.engine.sampling import Sampling
from interlat.engine.streaming import Request
from interlat.errors import CheckpointError, InputError, PromptError

TOLERANCE = {"atol": 3e-5, "rtol": 1e-4}
# A state fed back as input carries its rounding along: 2e-5 at states of size 3.6 in float32, 0 in float64.
FED_BACK = {"atol": 1e-4, "rtol": 1e-4}
ragged = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
token_rows = st.lists(st.lists(st.integers(20, 300), min_size=1, max_size=14), min_size=2, max_size=4)


def align(states):
    return states * 0.5


def embeddings_of(engine, parts):
    rows = [engine.embed(torch.tensor(p.ids)) if isinstance(p, Tokens) else p.rows for p in parts]
    return torch.cat(rows)


def prompts_of(token_lists, engine, seed=0):
    """Prompts that hold latent rows in the middle where they have more than four tokens."""
    generator = torch.Generator().manual_seed(seed)
    prompts = []
    for ids in token_lists:
        if len(ids) > 4:
            latents = Latents(torch.randn(3, engine.hidden_size, generator=generator))
            prompts.append([Tokens(tuple(ids[:2])), latents, Tokens(tuple(ids[2:]))])
        else:
            prompts.append([Tokens(tuple(ids))])
    return prompts


@ragged
@given(token_lists=token_rows)
def test_prefill_equals_a_plain_forward_pass(engine, slow_states, token_lists):
    prompts = prompts_of(token_lists, engine)
    memory, states = engine.prefill_hidden(prompts)
    for row, prompt in enumerate(prompts):
        expected = slow_states(engine.model, embeddings_of(engine, prompt))
        torch.testing.assert_close(states[row], expected, **TOLERANCE)
        torch.testing.assert_close(memory.hidden_states[row], expected[-1], **TOLERANCE)
        assert int(memory.next_position[row]) == len(expected) == int(memory.lengths[row])


@ragged
@given(turns=st.lists(token_rows, min_size=2, max_size=4))
def test_many_ragged_turns_equal_one_pass_without_a_cache(engine, slow_states, turns):
    rows = min(len(turn) for turn in turns)
    turns = [prompts_of(turn[:rows], engine, seed) for seed, turn in enumerate(turns)]
    memory, states = None, []
    for turn in turns:
        memory, new = engine.prefill_hidden(turn, memory)
        states.append(new)
    for row in range(rows):
        expected = slow_states(engine.model, torch.cat([embeddings_of(engine, turn[row]) for turn in turns]))
        torch.testing.assert_close(torch.cat([new[row] for new in states]), expected, **TOLERANCE)


@ragged
@given(token_lists=token_rows, steps=st.integers(1, 5))
def test_latent_steps_equal_a_loop_without_a_cache(engine, slow_states, token_lists, steps):
    prompts = prompts_of(token_lists, engine)
    memory, thoughts = engine.think(engine.prefill(prompts), steps, align)
    assert thoughts.shape == (len(prompts), steps, engine.hidden_size)
    for row, prompt in enumerate(prompts):
        read = embeddings_of(engine, prompt)
        expected = []
        for _ in range(steps):
            read = torch.cat([read, align(slow_states(engine.model, read)[-1:])])
            expected.append(slow_states(engine.model, read)[-1])
        torch.testing.assert_close(thoughts[row], torch.stack(expected), **FED_BACK)
        torch.testing.assert_close(memory.hidden_states[row], expected[-1], **FED_BACK)


@ragged
@given(token_lists=token_rows)
def test_greedy_equals_generate_token_for_token(engine, token_lists):
    decoded = engine.decode(
        engine.prefill([[Tokens(tuple(ids))] for ids in token_lists]),
        Sampling(max_new_tokens=12),
        stop_ids=(),
    )
    for row, ids in enumerate(token_lists):
        reference = engine.model.generate(
            torch.tensor([ids]), max_new_tokens=12, min_new_tokens=12, do_sample=False, pad_token_id=0
        )
        assert decoded.token_ids[row] == reference[0, len(ids) :].tolist()


@ragged
@given(token_lists=token_rows, data=st.data())
def test_a_whole_conversation_is_the_same_alone_and_in_a_batch(engine, token_lists, data):
    """Prefill, think, decode with uneven stops, continue, decode: rows do not feel their neighbours."""
    follow = [data.draw(st.lists(st.integers(20, 300), min_size=1, max_size=9)) for _ in token_lists]
    # Some token of the first row's own reply, so that rows stop at different times.
    free = engine.decode(engine.prefill(prompts_of(token_lists, engine)), Sampling(max_new_tokens=8), stop_ids=())
    stop = {free.token_ids[0][data.draw(st.integers(0, 7))]}

    def converse(rows):
        prompts = prompts_of(token_lists, engine)
        memory = engine.prefill([prompts[row] for row in rows])
        memory, thoughts = engine.think(memory, 3, align)
        first = engine.decode(memory, Sampling(max_new_tokens=8), stop_ids=stop, keep_hidden_states=True)
        memory = engine.prefill([[Tokens(tuple(follow[row]))] for row in rows], first.cache)
        second = engine.decode(memory, Sampling(max_new_tokens=5), stop_ids=stop, keep_hidden_states=True)
        return thoughts, first, second

    thoughts, first, second = converse(range(len(token_lists)))
    for row in range(len(token_lists)):
        alone_thoughts, alone_first, alone_second = converse([row])
        torch.testing.assert_close(thoughts[row], alone_thoughts[0], **FED_BACK)
        for batch, alone in ((first, alone_first), (second, alone_second)):
            assert batch.token_ids[row] == alone.token_ids[0]
            assert batch.texts[row] == alone.texts[0]
            assert batch.stopped[row] == alone.stopped[0]
            torch.testing.assert_close(batch.hidden_states[row], alone.hidden_states[0], **FED_BACK)


@ragged
@given(token_lists=token_rows, quantile=st.floats(0.1, 0.9))
def test_a_row_stops_thinking_when_its_state_stands_still(engine, token_lists, quantile):
    """The tolerance is among the changes that occur, so rows stop at different steps; each is as if it were asked for
    just as many."""
    prompts, steps = prompts_of(token_lists, engine), 4
    # These random models enlarge a rounding error in every step.
    close = {"atol": 1e-4, "rtol": 1e-3}
    memory = engine.prefill(prompts)
    _, free = engine.think(memory, steps, align)
    states = torch.cat([memory.hidden_states[:, None], free], dim=1)
    changes = (states[:, 1:] - states[:, :-1]).norm(dim=-1) / states[:, :-1].norm(dim=-1)
    tolerance = float(changes.flatten().quantile(quantile)) * 1.001
    grown, thoughts = engine.think(memory, steps, align, tolerance=tolerance)
    hidden = ~grown.attention_mask
    assert not grown.position_ids[hidden].any() and (grown.segment_ids[hidden] == -1).all()
    after = engine.prefill([[Tokens((25, 26))]] * len(prompts), grown)
    for row, prompt in enumerate(prompts):
        below = (changes[row] < tolerance).nonzero().flatten()
        taken = int(below[0]) + 1 if len(below) else steps
        alone, expected = engine.think(engine.prefill([prompt]), taken, align)
        torch.testing.assert_close(thoughts[row, :taken], expected[0], **close)
        assert thoughts.shape[1] == steps and not thoughts[row, taken:].any()
        assert int(grown.next_position[row]) == int(alone.next_position) and int(grown.lengths[row]) == int(
            alone.lengths
        )
        torch.testing.assert_close(grown.hidden_states[row], alone.hidden_states[0], **close)
        again = engine.prefill([[Tokens((25, 26))]], alone)
        torch.testing.assert_close(after.hidden_states[row], again.hidden_states[0], **close)


@ragged
@given(token_lists=token_rows, data=st.data())
def test_a_row_stops_thinking_where_it_would_stop_writing(engine, token_lists, data):
    """The stop tokens are among those that some rows expect, at the beginning too; each row is as if it were asked for
    just the steps that it took."""
    prompts, steps = prompts_of(token_lists, engine), 4
    memory = engine.prefill(prompts)
    _, free = engine.think(memory, steps, align)
    likeliest = engine.logits(torch.cat([memory.hidden_states[:, None], free], dim=1)).argmax(dim=-1)
    stop_ids = set(data.draw(st.lists(st.sampled_from(likeliest.flatten().tolist()), min_size=1, max_size=2)))
    grown, thoughts = engine.think(memory, steps, align, stop_ids=stop_ids)
    hidden = ~grown.attention_mask
    assert thoughts.shape == (len(prompts), steps, engine.hidden_size)
    assert not grown.position_ids[hidden].any() and (grown.segment_ids[hidden] == -1).all()
    after = engine.prefill([[Tokens((25, 26))]] * len(prompts), grown)
    for row, prompt in enumerate(prompts):
        taken = next((n for n, token in enumerate(likeliest[row].tolist()) if token in stop_ids), steps)
        taken = min(taken, steps)
        alone, expected = engine.think(engine.prefill([prompt]), taken, align)
        torch.testing.assert_close(thoughts[row, :taken], expected[0], atol=1e-4, rtol=1e-3)
        assert not thoughts[row, taken:].any()
        assert int(grown.next_position[row]) == int(alone.next_position)
        assert int(grown.lengths[row]) == int(alone.lengths)
        torch.testing.assert_close(grown.hidden_states[row], alone.hidden_states[0], atol=1e-4, rtol=1e-3)
        again = engine.prefill([[Tokens((25, 26))]], alone)
        torch.testing.assert_close(after.hidden_states[row], again.hidden_states[0], atol=1e-4, rtol=1e-3)


@ragged
@given(token_lists=token_rows)
def test_sampled_rows_do_not_depend_on_their_neighbours(engine, token_lists):
    sampling = Sampling(temperature=1.0, top_p=0.95, top_k=50, max_new_tokens=10)
    prompts = prompts_of(token_lists, engine)
    seeds = list(range(100, 100 + len(prompts)))
    together = engine.decode(engine.prefill(prompts), sampling, seeds)
    for row, prompt in enumerate(prompts):
        alone = engine.decode(engine.prefill([prompt]), sampling, [seeds[row]])
        assert together.token_ids[row] == alone.token_ids[0]


@ragged
@given(token_lists=token_rows)
def test_states_of_decoded_tokens_are_those_of_a_full_forward_pass(engine, slow_states, token_lists):
    prompts = prompts_of(token_lists, engine)
    memory = engine.prefill(prompts)
    predicting = engine.decode(memory, Sampling(max_new_tokens=6), stop_ids=(), keep_hidden_states=True)
    consuming = engine.decode(
        memory, Sampling(max_new_tokens=6), stop_ids=(), keep_hidden_states=True, state_at="after_token"
    )
    for row, prompt in enumerate(prompts):
        ids = predicting.token_ids[row]
        read = torch.cat([embeddings_of(engine, prompt), engine.embed(torch.tensor(ids))])
        states = slow_states(engine.model, read)
        torch.testing.assert_close(predicting.hidden_states[row], states[-7:-1], **TOLERANCE)
        torch.testing.assert_close(consuming.hidden_states[row], states[-6:], **TOLERANCE)
        assert engine.logits(predicting.hidden_states[row]).argmax(-1).tolist() == ids
        torch.testing.assert_close(predicting.cache.hidden_states[row], states[-1], **TOLERANCE)


def test_select_concat_and_trim_keep_a_conversation_going(engine):
    prompts = [[Tokens((30, 31, 32, 33, 34, 35))], [Tokens((40, 41))], [Tokens((50, 51, 52))]]
    follow = [[Tokens((60, 61))], [Tokens((70, 71, 72, 73))], [Tokens((80,))]]
    memory = engine.prefill(prompts)
    expected = engine.prefill(follow, memory).hidden_states
    dropped = engine.prefill([follow[2], follow[1]], memory.select([2, 1])).hidden_states
    torch.testing.assert_close(dropped, expected[[2, 1]], **TOLERANCE)
    rebuilt = KVCache.concat([engine.prefill([prompt]) for prompt in prompts])
    torch.testing.assert_close(engine.prefill(follow, rebuilt).hidden_states, expected, **TOLERANCE)
    # Without its first column, a row still counts on from its true position, alone or in a batch.
    trimmed = memory.trim(memory.position_ids > 0)
    assert trimmed.next_position.tolist() == [6, 2, 3]
    together = engine.prefill(follow, trimmed)
    assert together.next_position.tolist() == [8, 6, 4]
    for row in range(3):
        alone = engine.prefill([follow[row]], trimmed.select([row]))
        torch.testing.assert_close(together.hidden_states[row], alone.hidden_states[0], **TOLERANCE)


def test_a_memory_is_a_value(engine):
    memory = engine.prefill([[Tokens((30, 31, 32))], [Tokens((40,))]])
    before = [k.clone() for k in memory.keys]
    first = engine.decode(memory, Sampling(max_new_tokens=4), stop_ids=())
    engine.think(memory, 3, align)
    engine.prefill([[Tokens((1,))], [Tokens((2, 3))]], memory)
    again = engine.decode(memory, Sampling(max_new_tokens=4), stop_ids=())
    assert first.token_ids == again.token_ids
    assert all(torch.equal(a, b) for a, b in zip(before, memory.keys, strict=True))


def test_room_saves_the_copy_and_changes_nothing(engine, monkeypatch):
    """Thoughts and prompts behind a memory with room equal those behind one without, whoever comes first."""
    prompts = [[Tokens((30, 31, 32))], [Tokens((40,))]]
    follow = [[Tokens((1, 2))], [Tokens((3,))]]
    plain = engine.prefill(prompts)
    wanted = engine.think(plain, 2, align)
    wanted_after = engine.prefill(follow, wanted[0])
    copies = []
    allocated = buffer.allocated
    monkeypatch.setattr(buffer, "allocated", lambda *given: copies.append(1) or allocated(*given))
    memory = engine.prefill(prompts, spare=4)
    before = [layer.clone() for layer in (*memory.keys, *memory.values)]
    copies.clear()
    thought, states = engine.think(memory, 2, align)
    after = engine.prefill(follow, thought)
    assert not copies
    again, states_again = engine.think(memory, 2, align)
    other = engine.prefill(follow, memory)
    engine.think(after, 1, align)
    assert copies
    assert torch.equal(states, wanted[1]) and torch.equal(states_again, wanted[1])
    assert torch.equal(after.hidden_states, wanted_after.hidden_states)
    assert torch.equal(other.hidden_states, engine.prefill(follow, plain).hidden_states)
    for found, expected in ((memory, before), (again, (*thought.keys, *thought.values))):
        for ours, theirs in zip((*found.keys, *found.values), expected, strict=True):
            assert torch.equal(ours, theirs)
    with pytest.raises(InputError, match="spare is -1"):
        engine.prefill(prompts, spare=-1)


def test_segments_say_what_each_column_is(qwen):
    memory = qwen.prefill([[Tokens((30, 31, 32))], [Tokens((40,))]])
    memory, _ = qwen.think(memory, 2, align)
    memory = qwen.decode(memory, Sampling(max_new_tokens=3), stop_ids=()).cache
    memory = qwen.prefill(["a", "the kettle"], memory)
    assert memory.segment_names == ("prompt", "latents", "reply")
    assert memory.segment("latents").sum(1).tolist() == [2, 2]
    assert memory.segment("reply").sum(1).tolist() == [3, 3]
    latents = memory.trim(memory.segment("latents"))
    assert latents.position_ids.tolist() == [[3, 4], [1, 2]]


def test_a_string_of_its_own_begins_as_the_tokenizer_wants_it(build_model, begins_texts):
    engine = Engine.wrap(build_model("llama"), begins_texts)
    bos = begins_texts.bos_token_id
    kettle = begins_texts("the kettle", add_special_tokens=False)["input_ids"]
    expected = engine.prefill([[Tokens((bos, *kettle))]])
    for prompt in ("the kettle", "<s>the kettle"):
        torch.testing.assert_close(engine.prefill([prompt]).hidden_states, expected.hidden_states)
    assert engine.prefill([[Text("the kettle")]]).next_position.tolist() == [len(kettle)]
    continued = engine.prefill(["the kettle"], expected)
    assert continued.next_position.tolist() == [1 + 2 * len(kettle)]
    (written,) = engine.stream([Request("x", "the kettle")], Sampling(max_new_tokens=1))
    assert written.prompt_tokens == 1 + len(kettle)
    bridge = Bridge(BridgeConfig(engine.hidden_size, engine.hidden_size))
    assert think_over(engine, bridge, ["the kettle"], 2)[0].next_position.tolist() == [1 + len(kettle) + 2]


def test_prefill_and_think_never_run_the_head(qwen, monkeypatch):
    """D12 of the released LatentMAS: there every latent step runs it, and a prefill at all positions."""

    def refuse(*_):
        raise AssertionError("the LM head ran")

    monkeypatch.setattr(qwen.model.lm_head, "forward", refuse)
    qwen.think(qwen.prefill(["the kettle", "a"]), 2, align)


def test_zero_latent_steps_change_nothing(qwen):
    memory = qwen.prefill(["the kettle"])
    same, thoughts = qwen.think(memory, 0, align)
    assert same is memory and thoughts.shape == (1, 0, qwen.hidden_size)


def test_results_are_usable_in_training(qwen):
    _, states = qwen.prefill_hidden(["the kettle"])
    weight = torch.ones(qwen.hidden_size, requires_grad=True)
    (states[0] * weight).sum().backward()
    assert weight.grad is not None


def test_embeddings_and_their_size(qwen):
    table = qwen.model.get_input_embeddings().weight
    assert torch.equal(qwen.embed(torch.tensor([[3, 4]])), table[[3, 4]][None])


@pytest.mark.parametrize(
    ("architecture", "attention"),
    [("gpt2", "sdpa"), ("gpt2", "eager"), ("gemma3_text", "sdpa"), ("gemma2", "eager"), ("granite", "sdpa")],
)
def test_other_architectures_run_through_their_own_forward(architecture, attention, make_tokenizer, slow_states):
    """Learned positions (GPT-2), mixed windows and capped logits (Gemma), scaled logits (Granite)."""
    from transformers import AutoConfig, AutoModelForCausalLM

    if architecture == "gpt2":
        shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
    else:
        shape = {
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        }
        shape |= {"intermediate_size": 48, "head_dim": 8, "max_position_embeddings": 128}
    if architecture.startswith("gemma"):
        shape |= {"sliding_window": 4}
    if architecture == "granite":
        shape |= {"logits_scaling": 3.0}
    config = AutoConfig.for_model(architecture, vocab_size=320, bos_token_id=0, eos_token_id=0, **shape)
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    engine = Engine.wrap(model, make_tokenizer("chatml"))
    prompts = [[Tokens(tuple(range(30, 40)))], [Tokens((50, 51))]]
    decoded = engine.decode(engine.prefill(prompts), Sampling(max_new_tokens=10), stop_ids=())
    for row, prompt in enumerate(prompts):
        alone = engine.decode(engine.prefill([prompt]), Sampling(max_new_tokens=10), stop_ids=())
        reference = model.generate(
            torch.tensor([prompt[0].ids]),
            max_new_tokens=10,
            min_new_tokens=10,
            do_sample=False,
            pad_token_id=0,
        )
        assert decoded.token_ids[row] == alone.token_ids[0] == reference[0, len(prompt[0].ids) :].tolist()


def test_architectures_that_cannot_be_right_are_refused(make_tokenizer):
    from transformers import BloomConfig, BloomForCausalLM, MambaConfig, MambaForCausalLM

    tokenizer = make_tokenizer("chatml")
    bloom = BloomForCausalLM(BloomConfig(vocab_size=320, hidden_size=32, n_layer=1, n_head=2))
    with pytest.raises(CheckpointError, match="does not take position_ids"):
        Engine.wrap(bloom, tokenizer)
    mamba = MambaForCausalLM(MambaConfig(vocab_size=320, hidden_size=32, num_hidden_layers=1, state_size=4))
    with pytest.raises(CheckpointError, match="linear_attention"):
        Engine.wrap(mamba, tokenizer)


def test_weights_that_are_not_finite_are_refused(build_model, make_tokenizer):
    model = build_model("qwen2")
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        Engine.wrap(model, make_tokenizer("chatml"))


class TestErrors:
    def test_empty_prompt(self, qwen):
        with pytest.raises(PromptError, match="prompt 1 is empty"):
            qwen.prefill(["the", ""])
        with pytest.raises(PromptError, match="no prompts"):
            qwen.prefill([])

    def test_a_text_is_no_list_of_prompts(self, qwen):
        with pytest.raises(PromptError, match="prompts is the text 'the kettle'"):
            qwen.prefill("the kettle")

    def test_prompt_longer_than_the_context(self, qwen):
        with pytest.raises(PromptError, match=r"prompt 0 is 300 positions long, but .* holds 256; shorten"):
            qwen.prefill([[Tokens((30,) * 300)]])
        memory = qwen.prefill([[Tokens((30,) * 250)]])
        with pytest.raises(PromptError, match="7 positions long after 250 positions already read"):
            qwen.prefill([[Tokens((30,) * 7)]], memory)
        with pytest.raises(PromptError, match="latent thought of sequence 0 takes 7 positions"):
            qwen.think(memory, 7, align)

    def test_latents_that_do_not_fit(self, qwen):
        with pytest.raises(PromptError, match="reads latents of width 32"):
            qwen.prefill([[Latents(torch.zeros(2, 8))]])
        with pytest.raises(PromptError, match="NaN"):
            qwen.prefill([[Latents(torch.full((2, 32), float("nan")))]])

    def test_unknown_token_id(self, qwen):
        with pytest.raises(PromptError, match="token id 999, but qwen2 knows ids 0 to 319"):
            qwen.prefill([[Tokens((1, 999))]])

    def test_rows_do_not_match(self, qwen):
        memory = qwen.prefill(["a", "b"])
        with pytest.raises(InputError, match="1 prompts for a cache of 2 sequences"):
            qwen.prefill(["a"], memory)

    def test_memory_of_another_model(self, qwen, build_model, make_tokenizer):
        other = Engine.wrap(build_model("qwen2", num_hidden_layers=3), make_tokenizer("chatml"))
        with pytest.raises(InputError, match=r"has 3 layers .* qwen2 has 2"):
            qwen.decode(other.prefill(["a"]))

    def test_seeds(self, qwen):
        memory = qwen.prefill(["a", "b"])
        with pytest.raises(InputError, match="needs 2 seeds, got none"):
            qwen.decode(memory, Sampling(temperature=1.0))
        with pytest.raises(InputError, match="needs 2 seeds, got 1"):
            qwen.decode(memory, Sampling(temperature=1.0), [1])

    def test_negative_steps(self, qwen):
        with pytest.raises(InputError, match="latent_steps is -1"):
            qwen.think(qwen.prefill(["a"]), -1, align)

    def test_training_mode(self, build_model, make_tokenizer):
        engine = Engine.wrap(build_model("qwen2"), make_tokenizer("chatml"))
        engine.model.train()
        with pytest.raises(InputError, match="training mode"):
            engine.prefill(["a"])


class PlainReader:
    """One row read by `transformers`, a column at a time, so that no mask is needed: a layer sees all that it holds."""

    def __init__(self, engine, memory, row, layers):
        self.engine, self.position = engine, int(memory.next_position[row])
        self.cache = DynamicCache(config=engine.model.config)
        held = memory.attention_mask[row]
        for layer, pair in enumerate(zip(memory.keys, memory.values, strict=True)):
            columns = held if layer + 1 in layers else torch.zeros_like(held)
            self.cache.update(*(tensor[row : row + 1, :, columns] for tensor in pair), layer)

    def read(self, embedding):
        decoder = self.engine.model.get_decoder()
        handles = [
            layer.register_forward_pre_hook(
                lambda _, x, named: (x, {**named, "attention_mask": None}), with_kwargs=True
            )
            for layer in decoder.layers
        ]
        output = decoder(
            inputs_embeds=embedding[None, None],
            position_ids=torch.tensor([[self.position]]),
            past_key_values=self.cache,
            use_cache=True,
        )
        for handle in handles:
            handle.remove()
        self.position += 1
        return output.last_hidden_state[0, 0]

    def read_text(self, text):
        for token in self.engine.tokenizer(text, add_special_tokens=False)["input_ids"]:
            state = self.read(self.engine.embed(torch.tensor(token)))
        return state

    def write(self, state, count):
        tokens = []
        for _ in range(count):
            tokens.append(int(self.engine.logits(state).argmax()))
            state = self.read(self.engine.embed(torch.tensor(tokens[-1])))
        return tokens


@pytest.mark.parametrize("lean", [True, False], ids=["lean", "generic"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama", "mistral"])
def test_a_layer_without_a_memory_reads_as_if_there_were_none(
    build_model, make_tokenizer, monkeypatch, architecture, attention, lean
):
    """Against `transformers` with caches of different lengths: the hidden columns are not there at all."""
    if not lean:
        monkeypatch.setattr("interlat.engine.hf.is_llama_family", lambda model: False)
    model = build_model(architecture, attention=attention, sliding_window=None)
    engine = Engine.wrap(model, make_tokenizer("chatml"), name=architecture)
    assert isinstance(engine.backend, LlamaFamilyBackend) == lean
    memory = engine.prefill(["put the kettle on the stove", "stove"])
    memory, _ = engine.think(memory, 2, lambda states: states)
    half, prompts, sampling = memory.only_layers([2]), ["so what?", "is it in the drawer?"], Sampling(max_new_tokens=3)
    found = engine.prefill(prompts, half)
    thought, states = engine.think(found, 2, lambda states: states)
    written = engine.decode(thought, sampling, stop_ids=[])
    assert written.cache.layer_mask.shape[2] == written.cache.width
    requests = [Request(str(row), prompts[row], cache=half.select([row])) for row in range(2)]
    streamed = {one.key: one.token_ids for one in engine.stream(requests, sampling, batch_size=2, stop_ids=[])}
    for row, prompt in enumerate(prompts):
        reader = PlainReader(engine, memory, row, layers=[2])
        state = reader.read_text(prompt)
        torch.testing.assert_close(found.hidden_states[row], state, **TOLERANCE)
        for step in range(2):
            state = reader.read(state)
            torch.testing.assert_close(states[row, step], state, **TOLERANCE)
        assert written.token_ids[row] == reader.write(state, 3)
        other = PlainReader(engine, memory, row, layers=[2])
        assert streamed[str(row)] == other.write(other.read_text(prompt), 3)
