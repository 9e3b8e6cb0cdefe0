"""What a batch does when its rows stop at different times."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from interlat.engine.hf import Engine
from interlat.engine.prompt import Text, Tokens
from interlat.engine.sampling import Sampling
from interlat.engine.streaming import Request

PROMPTS = [[Tokens((30 + 7 * row, 31 + row, 32))] for row in range(5)]


@pytest.fixture(scope="module")
def free(qwen):
    return qwen.decode(qwen.prefill(PROMPTS), Sampling(max_new_tokens=10), stop_ids=())


def test_without_stop_every_row_gets_all_its_tokens(qwen, free):
    assert [len(ids) for ids in free.token_ids] == [10] * 5
    assert free.stopped == [False] * 5
    assert free.forward_passes == 10
    assert free.hidden_states == []
    assert free.texts == [qwen.tokenizer.decode(ids, skip_special_tokens=True) for ids in free.token_ids]


def test_the_stop_token_is_nowhere(qwen, free):
    stop = free.token_ids[2][4]
    decoded = qwen.decode(qwen.prefill(PROMPTS), Sampling(max_new_tokens=10), stop_ids={stop}, keep_hidden_states=True)
    for row, ids in enumerate(free.token_ids):
        length = ids.index(stop) if stop in ids else 10
        assert decoded.token_ids[row] == ids[:length]
        assert decoded.stopped[row] == (stop in ids)
        assert decoded.hidden_states[row].shape == (length, qwen.hidden_size)
        assert int(decoded.cache.lengths[row]) == int(decoded.cache.next_position[row]) == 3 + length
        if decoded.stopped[row]:
            assert int(qwen.logits(decoded.cache.hidden_states[row]).argmax()) == stop


def test_a_memory_after_uneven_stops_is_the_one_of_reading_the_same_text(qwen, free):
    stop = free.token_ids[2][4]
    decoded = qwen.decode(qwen.prefill(PROMPTS), Sampling(max_new_tokens=10), stop_ids={stop})
    follow = [[Tokens((200 + row,) * (row + 1))] for row in range(5)]
    continued = qwen.prefill(follow, decoded.cache)
    for row in range(5):
        read = [*PROMPTS[row], Tokens(tuple(decoded.token_ids[row])), *follow[row]]
        once = qwen.prefill([read])
        torch.testing.assert_close(continued.hidden_states[row], once.hidden_states[0], atol=1e-5, rtol=1e-4)


def test_a_row_that_stops_at_once_has_nothing(qwen, free):
    stop = free.token_ids[0][0]
    decoded = qwen.decode(qwen.prefill(PROMPTS[:1]), stop_ids={stop}, keep_hidden_states=True)
    assert decoded.token_ids == [[]] and decoded.texts == [""] and decoded.stopped == [True]
    assert decoded.hidden_states[0].shape == (0, qwen.hidden_size)
    assert decoded.forward_passes == 0


def test_rows_end_where_the_context_is_full(build_model, make_tokenizer):
    engine = Engine.wrap(build_model("qwen2", max_position_embeddings=12), make_tokenizer("chatml"))
    memory = engine.prefill([[Tokens((30,) * 12)], [Tokens((31,) * 9)], [Tokens((32,) * 2)]])
    decoded = engine.decode(memory, Sampling(max_new_tokens=5), stop_ids=(), keep_hidden_states=True)
    assert [len(ids) for ids in decoded.token_ids] == [0, 3, 5]
    assert decoded.stopped == [False] * 3
    assert decoded.cache.next_position.tolist() == [12, 12, 7]
    full = engine.decode(memory.select([0]), Sampling(max_new_tokens=5), stop_ids=())
    assert full.token_ids == [[]] and full.forward_passes == 0


def test_default_stops_are_the_template_s_and_the_model_s(build_model, make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    model = build_model("qwen2")
    assert Engine.wrap(model, tokenizer).stop_ids == {tokenizer.convert_tokens_to_ids("<|im_end|>")}
    model.generation_config.eos_token_id = [0, 5]
    assert Engine.wrap(model, tokenizer).stop_ids == {tokenizer.convert_tokens_to_ids("<|im_end|>"), 0, 5}


def test_text_and_tokens_of_a_reply_continue_alike(qwen):
    """Reply and continuation leave the memory that reading the whole conversation leaves."""
    opening = qwen.chat.opening([("user", "where is the kettle")])
    decoded = qwen.decode(qwen.prefill([opening]), Sampling(max_new_tokens=6))
    memory = qwen.prefill([qwen.chat.continuation("and now")], decoded.cache)
    whole = [*opening, Tokens(tuple(decoded.token_ids[0])), *qwen.chat.continuation("and now")]
    assert isinstance(whole[0], Text)
    torch.testing.assert_close(memory.hidden_states, qwen.prefill([whole]).hidden_states, atol=1e-5, rtol=1e-4)


def test_a_row_at_the_end_of_a_table_of_positions_ends_and_the_others_go_on(make_tokenizer):
    """GPT-2 has an embedding for each of its positions; an ended row counts on past them until it is put away."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=64)).eval()
    engine = Engine.wrap(model, make_tokenizer("chatml"))
    prompts = [[Tokens(tuple(range(20, 20 + length)))] for length in (60, 2, 3)]
    together = engine.decode(engine.prefill(prompts), Sampling(max_new_tokens=30), stop_ids=()).token_ids
    assert [len(ids) for ids in together] == [4, 30, 30]
    for prompt, found in zip(prompts, together, strict=True):
        ids = list(prompt[0].ids)
        for token in found:
            assert int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()) == token
            ids.append(token)
    requests = [Request(str(row), prompt) for row, prompt in enumerate(prompts)]
    written = engine.stream(requests, Sampling(max_new_tokens=30), batch_size=3, stop_ids=())
    assert {w.key: w.token_ids for w in written} == {str(row): ids for row, ids in enumerate(together)}


@pytest.mark.parametrize("stops_early", [False, True])
def test_a_memory_with_room_for_the_reply_is_continued_in_place_and_equals_a_copied_one(qwen, free, stops_early):
    stop = {free.token_ids[2][4]} if stops_early else set()
    sampling, follow = Sampling(max_new_tokens=10), [[Tokens((200 + row,) * (row + 1))] for row in range(5)]
    copied, roomy = (qwen.prefill(PROMPTS, spare=spare) for spare in (0, 10))
    before = [layer.clone() for layer in (*roomy.keys, *roomy.values)]
    expected, decoded = (qwen.decode(memory, sampling, stop_ids=stop) for memory in (copied, roomy))
    assert decoded.token_ids == expected.token_ids
    assert decoded.cache.keys[0].data_ptr() == roomy.keys[0].data_ptr()
    assert expected.cache.keys[0].data_ptr() != copied.keys[0].data_ptr()
    for layer, kept in zip((*roomy.keys, *roomy.values), before, strict=True):
        assert torch.equal(layer, kept), "what the first memory shows was written again"
    # The room is used once: the same memory decoded again is copied, and the first reply stays what it is.
    shown = [layer.clone() for layer in decoded.cache.keys]
    again = qwen.decode(roomy, sampling, stop_ids=stop)
    assert again.token_ids == expected.token_ids
    assert all(torch.equal(layer, kept) for layer, kept in zip(decoded.cache.keys, shown, strict=True))
    states = [qwen.prefill(follow, one.cache).hidden_states for one in (expected, decoded, again)]
    torch.testing.assert_close(states[1], states[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(states[2], states[0], atol=1e-5, rtol=1e-4)


def test_a_memory_with_holes_and_room_is_decoded_as_a_compact_one(qwen, free):
    """Prompts of uneven lengths behind uneven replies: no row looks into a hole."""
    stop = {free.token_ids[2][4]}
    first = qwen.decode(qwen.prefill(PROMPTS), Sampling(max_new_tokens=10), stop_ids=stop)
    follow = [[Tokens((200 + row,) * (row + 1))] for row in range(5)]
    roomy = qwen.prefill(follow, first.cache, spare=6)
    assert roomy.width > int(roomy.lengths.max()), "the case is one without holes"
    decoded = qwen.decode(roomy, Sampling(max_new_tokens=6), stop_ids=())
    assert decoded.cache.keys[0].data_ptr() == roomy.keys[0].data_ptr()
    for row in range(5):
        read = [*PROMPTS[row], Tokens(tuple(first.token_ids[row])), *follow[row]]
        alone = qwen.decode(qwen.prefill([read]), Sampling(max_new_tokens=6), stop_ids=())
        assert decoded.token_ids[row] == alone.token_ids[0]
        torch.testing.assert_close(decoded.cache.hidden_states[row], alone.cache.hidden_states[0], atol=1e-5, rtol=1e-4)
