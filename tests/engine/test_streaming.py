"""A stream of any order and batch size gives what `decode` gives each prompt alone."""

import weakref
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interlat.connectors.identity import NormMatchedIdentity
from interlat.engine import streaming
from interlat.engine.buffer import KeyValueBuffer
from interlat.engine.cache import CachedSequence, KVCache
from interlat.engine.hf import Engine
from interlat.engine.recorder import LayerSelection
from interlat.engine.sampling import Sampling, row_seed
from interlat.engine.streaming import Request
from interlat.errors import InputError, PromptError

WORDS = [
    "the kettle",
    "put",
    "the kettle is in the drawer",
    "stove stove the",
    "in",
    "is in the",
    "on the stove put the",
]
TOLERANCE = 3e-5


def requests(count=9):
    prompts = [" ".join(WORDS[(7 * i + j) % len(WORDS)] for j in range(1 + i % 4)) for i in range(count)]
    return [Request(f"item {i}", prompt, row_seed(3, f"item {i}", "")) for i, prompt in enumerate(prompts)]


def alone(engine, request, sampling, state_at="before_token"):
    memory = engine.prefill([request.prompt])
    return engine.decode(memory, sampling, [request.seed], None, True, state_at=state_at)


def check(engine, answers, wanted, sampling, state_at="before_token"):
    assert sorted(answer.key for answer in answers) == sorted(request.key for request in wanted)
    by_key = {answer.key: answer for answer in answers}
    for request in wanted:
        answer, expected = by_key[request.key], alone(engine, request, sampling, state_at)
        assert answer.token_ids == expected.token_ids[0]
        assert answer.text == expected.texts[0] and answer.stopped == expected.stopped[0]
        assert answer.hidden_states.shape == expected.hidden_states[0].shape
        assert torch.allclose(answer.hidden_states, expected.hidden_states[0], atol=TOLERANCE)


@pytest.mark.parametrize("state_at", ["before_token", "after_token"])
def test_greedy_and_sampled_streams_equal_single_rows(engine, state_at):
    for sampling in (
        Sampling(max_new_tokens=12),
        Sampling(temperature=1.5, top_p=0.95, top_k=200, max_new_tokens=12),
    ):
        wanted = requests()
        check(
            engine, list(engine.stream(wanted, sampling, batch_size=4, state_at=state_at)), wanted, sampling, state_at
        )


@settings(max_examples=15)
@given(
    order=st.permutations(range(9)),
    batch_size=st.integers(1, 10),
    room=st.integers(1, 9),
    share=st.sampled_from([0.01, 0.5, 1.0]),
)
def test_order_batch_size_and_moving_change_nothing(qwen, order, batch_size, room, share):
    sampling = Sampling(temperature=1.2, max_new_tokens=20)
    wanted = requests()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "SPARE", room)
        patch.setattr(streaming, "REFILL_SHARE", share)
        answers = list(qwen.stream([wanted[i] for i in order], sampling, batch_size=batch_size))
    check(qwen, answers, wanted, sampling)


def test_the_generic_backend_gives_the_same_layers(build_model, make_tokenizer, monkeypatch):
    model, tokenizer = build_model("qwen2"), make_tokenizer("chatml")
    lean = Engine.wrap(model, tokenizer)
    monkeypatch.setattr("interlat.engine.hf.is_llama_family", lambda model: False)
    generic = Engine.wrap(model, tokenizer)
    assert type(lean.backend) is not type(generic.backend)
    kept = LayerSelection((1, -1), "pre")
    one, other = (
        {a.key: a for a in engine.stream(requests(5), Sampling(max_new_tokens=6), batch_size=2, kept=kept)}
        for engine in (lean, generic)
    )
    for key, answer in one.items():
        assert answer.token_ids == other[key].token_ids
        assert torch.allclose(answer.hidden_states, other[key].hidden_states, atol=TOLERANCE)


@pytest.mark.parametrize("state_at", ["before_token", "after_token"])
@pytest.mark.parametrize("kept", [LayerSelection((1,)), LayerSelection((-1,), "pre"), LayerSelection((2, 1))], ids=str)
def test_kept_layers_are_those_of_a_plain_forward_pass(engine, kept, state_at):
    """One pass over prompt and answer; what transformers calls hidden_states[n] is the stream after layer n."""
    sampling = Sampling(max_new_tokens=8)
    wanted = requests(4)
    answers = engine.stream(
        wanted, sampling, batch_size=3, kept=kept, state_at=state_at, prompt_states=True, stop_ids=()
    )
    prompts = {request.key: request.prompt for request in wanted}
    for answer in answers:
        ids = engine.tokenizer(prompts[answer.key], add_special_tokens=False)["input_ids"]
        states = streams(engine, ids + answer.token_ids)
        last = engine.config.num_hidden_layers
        numbers = [last + 1 if n == last and kept.norm == "post" else n for n in kept.numbers(last)]
        rows = torch.stack([states[n] for n in numbers], dim=1) if len(numbers) > 1 else states[numbers[0]]
        first = len(ids) - (state_at == "before_token")
        assert answer.prompt_tokens == len(ids)
        assert torch.allclose(answer.prompt_states, rows[: len(ids)], atol=TOLERANCE)
        assert torch.allclose(answer.hidden_states, rows[first : first + 8], atol=TOLERANCE)


@torch.no_grad()
def streams(engine, ids):
    """The stream after each layer, by number; after the last one, that behind the final norm."""
    seen = {}

    def hook_of(number):
        def hook(module, inputs, output):
            seen[number] = (output[0] if isinstance(output, tuple) else output)[0]

        return hook

    layers = engine.model.model.layers
    handles = [layer.register_forward_hook(hook_of(number)) for number, layer in enumerate(layers, 1)]
    plain = engine.model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    for handle in handles:
        handle.remove()
    return {**seen, len(layers) + 1: plain.hidden_states[-1][0]}


def memories_of(engine, count):
    """Whole, trimmed (more positions than columns) and merged ones (more columns than positions), of many lengths."""
    align = NormMatchedIdentity.of_embeddings(engine.model.get_input_embeddings().weight)
    made = []
    for number in range(count):
        question = engine.prefill([" ".join(WORDS[: 1 + number % 5])], segment="question")
        experts = [
            engine.think(engine.prefill([word], question, segment=word), 1 + number % 3, align)[0] for word in WORDS[:3]
        ]
        whole = experts[0]
        made.append((whole, whole.trim(~whole.segment("question")), KVCache.merge(experts))[number % 3])
    return made


@settings(max_examples=8)
@given(order=st.permutations(range(9)), batch_size=st.integers(1, 6), room=st.integers(1, 5))
@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_a_memory_is_read_on_as_alone(qwen, temperature, order, batch_size, room):
    sampling = Sampling(temperature=temperature, max_new_tokens=12)
    memories = memories_of(qwen, 9)
    wanted = [replace(one, cache=memory) for one, memory in zip(requests(9), memories, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "SPARE", room)
        answers = {a.key: a for a in qwen.stream([wanted[i] for i in order], sampling, batch_size=batch_size)}
    for request in wanted:
        memory = qwen.prefill([request.prompt], request.cache)
        expected = qwen.decode(memory, sampling, [request.seed], None, True)
        answer = answers[request.key]
        assert answer.token_ids == expected.token_ids[0] and answer.stopped == expected.stopped[0]
        assert torch.allclose(answer.hidden_states, expected.hidden_states[0], atol=TOLERANCE)
        assert answer.prompt_tokens == len(qwen.tokenizer(request.prompt, add_special_tokens=False)["input_ids"])


@settings(max_examples=6)
@given(order=st.permutations(range(6)), batch_size=st.integers(1, 6))
def test_rows_of_a_batch_are_read_on_as_alone(qwen, order, batch_size):
    sampling = Sampling(max_new_tokens=8)
    memory = qwen.prefill([" ".join(WORDS[: 1 + number % 4]) for number in range(6)])
    wanted = [replace(one, cache=CachedSequence(memory, row)) for row, one in enumerate(requests(6))]
    answers = {a.key: a for a in qwen.stream([wanted[i] for i in order], sampling, batch_size=batch_size)}
    for row, request in enumerate(wanted):
        expected = qwen.decode(qwen.prefill([request.prompt], memory.select([row])), sampling, None, None, True)
        assert answers[request.key].token_ids == expected.token_ids[0]
        assert torch.allclose(answers[request.key].hidden_states, expected.hidden_states[0], atol=TOLERANCE)


def test_a_memory_that_only_its_requests_name_is_given_back_while_it_is_read(qwen, monkeypatch):
    layers, alive = [], []
    continuing = KeyValueBuffer.continuing

    def watched(moved, columns):
        try:
            return continuing(moved, columns)
        finally:
            alive.append(sum(layer() is not None for layer in layers))

    def source():
        for number in range(2):
            memory = qwen.prefill(["the kettle", "put the kettle in", "in"])
            layers[:] = [weakref.ref(layer) for layer in (*memory.keys, *memory.values)]
            rows = [CachedSequence(memory, row) for row in range(3)]
            del memory
            while rows:
                yield Request(f"{number} {len(rows)}", "put", 0, rows.pop(0))

    monkeypatch.setattr(KeyValueBuffer, "continuing", watched)
    assert len(list(qwen.stream(source(), Sampling(max_new_tokens=3), batch_size=3, stop_ids=()))) == 6
    # The calls between are those of the source itself, which continues nothing.
    assert alive[1::2] == [0, 0]


def test_the_room_of_what_has_ended_is_free_when_more_is_asked_for(qwen, monkeypatch):
    buffers, alive = [], []

    class Watched(KeyValueBuffer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            buffers.append(weakref.ref(self))

    def source():
        for number in range(4):
            if number == 2:
                alive.extend(buffer() for buffer in buffers if buffer() is not None and buffer().keys)
            yield Request(str(number), "the kettle")

    monkeypatch.setattr(streaming, "KeyValueBuffer", Watched)
    assert len(list(qwen.stream(source(), Sampling(max_new_tokens=3), batch_size=2, stop_ids=()))) == 4
    assert buffers and alive == []


@pytest.mark.parametrize("slots", [[0, 1, 2], [2], [0, 2, 3, 5], [4, 5]])
def test_rows_fill_their_slots_and_no_others(slots):
    room, rows = torch.full((6, 2, 7, 3), torch.nan), torch.randn(len(slots), 2, 4, 3)
    streaming._put_rows(room, slots, rows, 5)
    for place, slot in enumerate(slots):
        assert torch.equal(room[slot, :, 1:5], rows[place])
        assert not room[slot, :, :1].any() and not room[slot, :, 5:].any()
    assert room[[slot for slot in range(6) if slot not in slots]].isnan().all()


def test_all_requests_have_a_memory_or_none_has(qwen):
    memory = qwen.prefill(["the kettle", "put"])
    for memories in ([memory.select([0]), None], [memory]):
        wanted = [replace(one, cache=given) for one, given in zip(requests(2), memories, strict=False)]
        with pytest.raises(InputError, match="have a cache, of one sequence each, or none"):
            list(qwen.stream(wanted, Sampling(max_new_tokens=2), batch_size=2))


def test_a_row_of_nan_does_not_reach_the_one_that_takes_its_place(build_model, make_tokenizer):
    """A word with a NaN in its embedding: its own row says so, and the next row in its slot is untouched by it."""
    model, tokenizer = build_model("qwen2", tied=False), make_tokenizer("chatml")
    bad = tokenizer("put", add_special_tokens=False)["input_ids"][0]
    sampling = Sampling(max_new_tokens=5)
    wanted = [Request("sound 1", "the kettle is in"), Request("bad", "put put put put"), Request("sound 2", "in the")]
    engine = Engine.wrap(model, tokenizer)
    expected = {r.key: alone(engine, r, sampling) for r in wanted}
    assert bad not in expected["sound 1"].token_ids[0] + expected["sound 2"].token_ids[0]
    with torch.no_grad():
        model.get_input_embeddings().weight[bad] = float("nan")
    answers = {a.key: a for a in engine.stream(wanted, sampling, batch_size=1)}
    assert not answers["bad"].sound and answers["bad"].token_ids == []
    for key in ("sound 1", "sound 2"):
        assert answers[key].sound and answers[key].token_ids == expected[key].token_ids[0]
        assert torch.allclose(answers[key].hidden_states, expected[key].hidden_states[0], atol=TOLERANCE)


def test_a_nan_that_comes_up_while_writing_stays_in_its_row(build_model, make_tokenizer):
    """The word with the NaN is written, not read: its row has NaN states, and the row in its slot has none."""
    model, tokenizer = build_model("qwen2", tied=False), make_tokenizer("chatml")
    sampling = Sampling(max_new_tokens=6)
    wanted = [Request("writes it", "the kettle is in"), Request("next", "in the")]
    engine = Engine.wrap(model, tokenizer)
    expected = {
        r.key: engine.decode(engine.prefill([r.prompt]), sampling, stop_ids=(), keep_hidden_states=True) for r in wanted
    }
    only = [t for t in expected["writes it"].token_ids[0][:4] if t not in expected["next"].token_ids[0]]
    ids = tokenizer("the kettle is in the", add_special_tokens=False)["input_ids"]
    bad = next(token for token in only if token not in ids)
    with torch.no_grad():
        model.get_input_embeddings().weight[bad] = float("nan")
    answers = {a.key: a for a in engine.stream(wanted, sampling, batch_size=1, stop_ids=())}
    assert not answers["writes it"].hidden_states.isfinite().all()
    assert torch.allclose(answers["next"].hidden_states, expected["next"].hidden_states[0], atol=TOLERANCE)


def test_requests_are_taken_when_they_are_needed(qwen):
    taken = []

    def source():
        for request in requests(9):
            taken.append(request.key)
            yield request

    stream = qwen.stream(source(), Sampling(max_new_tokens=4), batch_size=2)
    next(stream)
    assert len(taken) <= 4
    assert len(list(stream)) == 8


def test_a_prompt_that_fills_the_context_gets_no_token(build_model, make_tokenizer):
    engine = Engine.wrap(build_model("qwen2", max_position_embeddings=12), make_tokenizer("chatml"))
    ids = tuple([5] * 12)
    from interlat.engine.prompt import Tokens

    wanted = [Request("full", [Tokens(ids)]), Request("short", [Tokens(ids[:10])])]
    answers = {a.key: a for a in engine.stream(wanted, Sampling(max_new_tokens=9), batch_size=2, stop_ids=())}
    assert (len(answers["full"].token_ids), len(answers["short"].token_ids)) == (0, 2)
    assert not answers["full"].stopped
    with pytest.raises(PromptError, match="context"):
        list(engine.stream([Request("long", [Tokens((*ids, 5))])]))


def test_nonsense_is_refused(qwen):
    with pytest.raises(InputError, match="batch_size"):
        list(qwen.stream(requests(1), batch_size=0))
    with pytest.raises(InputError, match="layers"):
        list(qwen.stream(requests(1), kept=LayerSelection((7,))))
    assert list(qwen.stream([])) == []
