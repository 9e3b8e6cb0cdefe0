"""Recorded steps against plain ones. On a CPU, `make_fx` records what a CUDA graph would: the operations on the very
tensors that they met. A step that depended on a number in Python, or made a tensor anew, would replay wrongly."""

import copy
import gc
import weakref

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from interlat.engine import graphs
from interlat.engine.buffer import KeyValueBuffer
from interlat.engine.graphs import AFTER, SWITCH, bucket_of, chosen_capture
from interlat.engine.hf import HFEngine
from interlat.engine.prompt import Latents, Tokens
from interlat.engine.recorder import LayerSelection
from interlat.engine.sampling import Sampling
from interlat.engine.streaming import Request

TEXTS = ["the kettle is in the drawer", "put", "on the stove with the kettle and the mug"]


class Recorder:
    """Records steps as `record_cuda_graph` does, and counts what it recorded and replayed."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, step):
        step()
        self.recorded += 1
        traced = make_fx(step)()
        result = traced()

        def replay():
            self.replayed += 1
            result.copy_(traced())

        return replay, result


@pytest.fixture
def both(request, build_model, make_tokenizer, monkeypatch):
    """An engine with recorded steps, one without, and the recorder; buckets are short, so that several are met."""
    monkeypatch.setattr(graphs, "BUCKET", 8)
    architecture, changes = getattr(request, "param", ("qwen2", {}))
    model = build_model(architecture, **changes)
    ours, plain = (HFEngine.wrap(model, make_tokenizer("chatml")) for _ in range(2))
    ours.backend.capture = Recorder()
    return ours, plain, ours.backend.capture


def turned(states):
    return states.roll(1, -1) * 0.5


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=3e-5, rtol=1e-4)


WINDOWS = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
MODELS = [
    *((name, {}) for name in ("qwen2", "qwen3", "llama", "mistral")),
    ("qwen2", WINDOWS),
    ("qwen2", {"num_key_value_heads": 4}),
]


@pytest.mark.parametrize("both", MODELS, indirect=True)
def test_latent_steps_are_the_same(both):
    ours, plain, recorder = both
    prompts = [[Tokens((30, 31, 32)), Latents(torch.randn(4, ours.hidden_size) * 0.1)], [Tokens((50,))]]
    memory, thoughts = ours.think(ours.prefill(prompts, spare=20), 20, lambda x: x * 0.5)
    expected_memory, expected = plain.think(plain.prefill(prompts, spare=20), 20, lambda x: x * 0.5)
    close(thoughts, expected)
    assert recorder.replayed == 20 - AFTER and recorder.recorded == 2, "buckets of 16 and of all 27 positions"
    mask = memory.attention_mask[:, None, :, None]
    parts, expected_parts = ((*one.keys, *one.values) for one in (memory, expected_memory))
    for mine, other in zip(parts, expected_parts, strict=True):
        close(mine * mask, other * mask)
    # What was written is read on, in the same buffer and in another one.
    found, wanted = (one.prefill(TEXTS[:2], cache) for one, cache in ((ours, memory), (plain, expected_memory)))
    close(found.hidden_states, wanted.hidden_states)


def test_the_same_buffer_is_continued_with_its_recorded_steps(both):
    ours, plain, recorder = both
    memory, expected = (one.prefill(TEXTS, spare=30) for one in (ours, plain))
    for steps in (10, 8, 3):
        memory, thoughts = ours.think(memory, steps, lambda x: x * 0.5)
        expected, wanted = plain.think(expected, steps, lambda x: x * 0.5)
        close(thoughts, wanted)
    buckets = {bucket_of(length, memory.spare.capacity) for length in range(memory.width - 16, memory.width + 1)}
    assert recorder.replayed == 21 - AFTER and recorder.recorded == len(buckets)


def test_thoughts_that_stop_alone_stop_alike(both):
    ours, plain, recorder = both
    ends = [plain.think(plain.prefill(TEXTS), 24, turned)[1][row, 8 + row] for row in (0, 1)]
    # Made up so that two sequences stop at steps of their own: the tokens that their states predict there.
    stop_ids = {int(plain.logits(state).argmax()) for state in ends}
    read, found = ours.think(ours.prefill(TEXTS, spare=24), 24, turned, stop_ids=stop_ids)
    expected_read, expected = plain.think(plain.prefill(TEXTS, spare=24), 24, turned, stop_ids=stop_ids)
    close(found, expected)
    assert recorder.replayed and torch.equal(read.next_position, expected_read.next_position)
    taken = {int((row.abs().sum(-1) > 0).sum()) for row in expected}
    assert len(taken) > 1 and max(taken) > AFTER + 1, f"some stop while others are replayed, not all at {taken}"


def test_tokens_are_the_same_alone_in_batches_and_in_streams(both):
    ours, plain, recorder = both
    limit = Sampling(max_new_tokens=24)
    found, expected = (one.decode(one.prefill(TEXTS, spare=24), limit, stop_ids=()).token_ids for one in (ours, plain))
    assert found == expected and recorder.replayed
    before = recorder.replayed
    requests = [Request(str(number), text) for number, text in enumerate(TEXTS * 3)]
    written = [
        {one.key: (one.token_ids, one.hidden_states) for one in engine.stream(requests, limit, batch_size=2)}
        for engine in (ours, plain)
    ]
    assert recorder.replayed > before
    for key, (ids, states) in written[1].items():
        assert written[0][key][0] == ids
        close(written[0][key][1], states)


def test_kept_layers_are_read_without_recorded_steps(both):
    ours, plain, recorder = both
    kept = LayerSelection((1, -1))
    found, expected = (one.think(one.prefill(TEXTS), 9, lambda x: x * 0.5, kept=kept)[1] for one in (ours, plain))
    close(found, expected)
    assert not recorder.recorded


def test_short_thoughts_record_nothing(both):
    ours, _, recorder = both
    ours.think(ours.prefill(TEXTS, spare=AFTER), AFTER, lambda x: x)
    assert not recorder.recorded


def test_the_memory_is_let_go_with_the_cache(both):
    ours, _, recorder = both
    gc.collect()
    gc.disable()
    try:
        memory, _ = ours.think(ours.prefill(TEXTS, spare=12), 9, lambda x: x)
        assert recorder.recorded and memory.spare is not None
        buffer = weakref.ref(memory.spare)
        del memory
        assert buffer() is None, "a cycle would hold a GPU's memory until the next collection of garbage"
    finally:
        gc.enable()


def test_buckets_double_and_end_with_the_buffer():
    assert [bucket_of(n, 1000) for n in (1, 256, 257, 512, 513, 1000)] == [256, 256, 512, 512, 1000, 1000]
    assert bucket_of(3, 10) == 10


def test_another_model_that_continues_a_buffer_records_its_own_steps(both, build_model, make_tokenizer):
    ours, plain, recorder = both
    other = build_model("qwen2")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    memory, _ = ours.think(ours.prefill(TEXTS, spare=40), 10, turned)
    ours.use(other)
    ours.backend.capture = recorder
    expected, _ = plain.think(plain.prefill(TEXTS, spare=40), 10, turned)
    plain.use(other)
    before = recorder.recorded
    close(ours.think(memory, 20, turned)[1], plain.think(expected, 20, turned)[1])
    assert recorder.recorded > before


def test_a_cache_keeps_nothing_of_its_model(build_model, make_tokenizer, monkeypatch):
    monkeypatch.setattr(graphs, "BUCKET", 8)
    engine = HFEngine.wrap(build_model("qwen2"), make_tokenizer("chatml"))
    engine.backend.capture = Recorder()
    memory, _ = engine.think(engine.prefill(TEXTS, spare=12), 9, turned)
    assert memory.spare.static_steps is not None
    assert copy.deepcopy(memory.spare).static_steps is None, "recorded steps are bound to their tensors"
    model = weakref.ref(engine.backend)
    del engine
    gc.collect()
    assert model() is None


def test_a_row_that_may_see_nothing_sees_itself(both):
    ours, _, _ = both
    buffer, mask = KeyValueBuffer(9), torch.ones(2, 9, dtype=torch.bool)
    mask[1] = False
    forward = ours.backend.start(buffer, mask, torch.arange(9).repeat(2, 1))
    states = [forward(torch.ones(2, 1, ours.hidden_size)) for _ in range(9)]
    assert buffer.static_steps is not None and all(one.isfinite().all() for one in states)


def test_only_a_gpu_records_and_only_if_asked(monkeypatch):
    monkeypatch.delenv(SWITCH, raising=False)
    assert chosen_capture(torch.device("cuda")) is None
    monkeypatch.setenv(SWITCH, "1")
    assert chosen_capture(torch.device("cpu")) is None and chosen_capture(torch.device("cuda")) is not None


def test_a_buffer_that_nobody_wrote_records_nothing(both):
    ours, _, _ = both
    assert ours.backend._static_steps(KeyValueBuffer(4)) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(build_model, make_tokenizer, monkeypatch):
    monkeypatch.setenv(SWITCH, "1")
    model = build_model("qwen2").cuda()
    ours, plain = (HFEngine.wrap(model, make_tokenizer("chatml")) for _ in range(2))
    plain.backend.capture = None
    found, expected = (one.think(one.prefill(TEXTS, spare=20), 20, lambda x: x * 0.5)[1] for one in (ours, plain))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
