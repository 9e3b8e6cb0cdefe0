import math

import pytest
import torch
from torch import nn

from interlat.connectors.bridge import Bridge, BridgeConfig, think_over
from interlat.connectors.resampler import Resampler, ResamplerConfig
from interlat.engine.prompt import Latents, Tokens
from interlat.errors import InputError
from interlat.training import compressors
from interlat.training.compressors import (
    FEWEST,
    ColumnDecoder,
    Reasoner,
    Resampling,
    Sample,
    padded_rows,
    uncertain_token,
)
from interlat.training.examples import Example
from interlat.training.fused_losses import entropy
from model_fixtures import make_longrope
from sweep.tiny_models import tiny_model

PROMPTS = [(20, 21, 22), (30,), (40, 41, 42, 43, 44, 45)]


def samples_of(size):
    generator = torch.Generator().manual_seed(0)
    example = Example((1,), (2,), (2,), (1.0,))
    return [Sample(example, prompt, torch.randn(len(prompt) + 2, size, generator=generator), 3) for prompt in PROMPTS]


@pytest.fixture(params=[False, True], ids=["own space", "projected"])
def bridge(request):
    bridge = Bridge(BridgeConfig(32, 20 if request.param else 32, project=request.param))
    torch.manual_seed(1)
    for parameter in bridge.parameters():
        nn.init.normal_(parameter, std=0.3)
    return bridge


def test_a_reasoner_thinks_as_it_does_at_play(engine, bridge):
    """Batches of any prompts, with and without checkpointing, against the engine."""
    expected = think_over(engine, bridge, [[Tokens(prompt)] for prompt in PROMPTS], 3)[1]
    for checkpointing in (False, True):
        rows = Reasoner(engine.model, bridge, checkpointing)(samples_of(20), 3)
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.detach(), expected, atol=5e-5, rtol=1e-4)


def test_in_bfloat16_the_weights_stay_as_they_are(qwen, bridge):
    exact, rough = (Reasoner(qwen.model, bridge, precision=p)(samples_of(20), 2) for p in ("float32", "bfloat16"))
    assert rough.dtype == torch.float32 and not torch.equal(rough, exact)
    assert torch.cosine_similarity(rough, exact, dim=-1).min() > 0.95
    assert all(parameter.dtype == torch.float32 for parameter in qwen.model.parameters())


def test_a_resampling_is_that_of_each_message():
    resampler = Resampler(ResamplerConfig(12, queries=4, heads=2))
    resampler.begin(seed=0)
    compressor, samples = Resampling(resampler), samples_of(12)
    rows = compressor(samples, 2)
    for sample, found in zip(samples, rows, strict=True):
        torch.testing.assert_close(compressor([sample], 2)[0], found)
        alone = resampler(sample.message[None], torch.ones(1, len(sample.message), dtype=torch.bool), 2)
        torch.testing.assert_close(found, alone[0])
    assert set(compressor.parts) == {"resampler"}


def test_what_is_trained_has_the_names_of_checkpoints(qwen, bridge):
    assert set(Reasoner(qwen.model, bridge).parts) == {"model", "bridge"}
    names = [name for name, _ in Reasoner(qwen.model, bridge).named_parameters()]
    assert len(names) == len(set(names)) and all(name.startswith(("model.", "bridge.")) for name in names)


def test_messages_are_padded_on_the_right():
    messages = [torch.ones(2, 3, dtype=torch.bfloat16), 2 * torch.ones(4, 3, dtype=torch.bfloat16)]
    padded, mask = padded_rows(messages)
    assert padded.dtype == torch.float32 and mask.sum(1).tolist() == [2, 4] and not padded[0, 2:].any()


LENGTHS = (5, 11, 1, 8)
STEPS = 4


def make_bridge(size=32, seed=3):
    bridge = Bridge(BridgeConfig(size, size))
    torch.manual_seed(seed)
    for parameter in bridge.parameters():
        nn.init.normal_(parameter, std=0.3)
    return bridge


def slow_latents(model, bridge, prompt, steps):
    """One row, everything read again in every step, without a cache, a mask or a batch."""
    inputs, latents = torch.cat([prompt, bridge.start[None]]), []
    for _ in range(steps):
        states = model(inputs_embeds=inputs[None], use_cache=False, output_hidden_states=True).hidden_states[-1][0]
        latents.append(states[-1])
        inputs = torch.cat([inputs, bridge(states[-1:])])
    return torch.stack(latents)


def padded(prompts):
    width = max(map(len, prompts))
    embeddings = torch.stack([nn.functional.pad(prompt, (0, 0, width - len(prompt), 0)) for prompt in prompts])
    mask = torch.arange(width)[None, :] >= width - torch.tensor([len(prompt) for prompt in prompts])[:, None]
    return embeddings, mask


def gradients(loss, model, bridge, prompts):
    wanted = [p for p in [*model.parameters(), *bridge.parameters(), *prompts] if p.requires_grad]
    return torch.autograd.grad(loss, wanted, allow_unused=True)


@pytest.fixture
def prompts():
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(length, 32, generator=generator).requires_grad_() for length in LENGTHS]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama", "mistral"])
def test_a_batch_equals_the_loop_over_its_rows(build_model, prompts, architecture, attention, checkpointing):
    """Values and gradients of model, bridge, start and prompts; the last row of a prompt of one token included."""
    model, bridge = build_model(architecture, attention=attention), make_bridge()
    weights = torch.randn(len(prompts), STEPS, 32, generator=torch.Generator().manual_seed(6))
    slow = torch.stack([slow_latents(model, bridge, prompt, STEPS) for prompt in prompts])
    expected = gradients((slow * weights).sum(), model, bridge, prompts)
    rollout = ColumnDecoder(model.get_decoder(), checkpointing).roll_out
    latents = rollout(*padded(prompts), bridge, bridge.start, STEPS)
    torch.testing.assert_close(latents, slow, atol=1e-5, rtol=1e-5)
    found = gradients((latents * weights).sum(), model, bridge, prompts)
    for ours, theirs in zip(found, expected, strict=True):
        if theirs is None:
            assert ours is None
        else:
            torch.testing.assert_close(ours, theirs, atol=1e-5 * max(1.0, theirs.abs().max().item()), rtol=1e-4)


def test_every_step_gives_gradients_to_what_came_before(build_model, prompts):
    model, bridge = build_model("qwen2"), make_bridge()
    latents = ColumnDecoder(model.get_decoder()).roll_out(*padded(prompts), bridge, bridge.start, STEPS)
    for step in range(STEPS):
        (gradient,) = torch.autograd.grad(latents[:, step].sum(), [prompts[0]], retain_graph=True)
        assert gradient.abs().sum() > 0
        (through_bridge,) = torch.autograd.grad(latents[:, step].sum(), [bridge.linear.weight], retain_graph=True)
        assert bool(through_bridge.abs().sum() > 0) == (step > 0)


def test_fewer_steps_are_the_beginning_of_more(build_model, prompts):
    """So one rollout serves samples of all lengths."""
    model, bridge = build_model("llama"), make_bridge()
    rollout = ColumnDecoder(model.get_decoder()).roll_out
    long = rollout(*padded(prompts), bridge, bridge.start, 6)
    short = rollout(*padded(prompts), bridge, bridge.start, 2)
    torch.testing.assert_close(long[:, :2], short, atol=1e-6, rtol=1e-6)


def test_checkpointing_keeps_less(build_model):
    """Bytes that autograd holds on to between the passes."""
    model, bridge = build_model("qwen2"), make_bridge()
    embeddings, mask = torch.randn(4, 40, 32), torch.ones(4, 40, dtype=torch.bool)

    def kept(checkpointing):
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            latents = ColumnDecoder(model.get_decoder(), checkpointing).roll_out(
                embeddings, mask, bridge, bridge.start, 16
            )
        assert latents.requires_grad
        return sum(sizes.values())

    assert kept(True) < kept(False) / 3


def test_training_and_play_think_alike(engine, prompts):
    bridge = make_bridge()
    with torch.no_grad():
        rollout = ColumnDecoder(engine.model.get_decoder()).roll_out
        trained = rollout(*padded([prompt.detach() for prompt in prompts]), bridge, bridge.start, STEPS)
    memory, rows = think_over(engine, bridge, [[Latents(prompt.detach())] for prompt in prompts], STEPS)
    torch.testing.assert_close(rows, trained, atol=1e-5, rtol=1e-4)
    assert memory.next_position.tolist() == [length + STEPS for length in LENGTHS]


@pytest.fixture
def model(build_model):
    return build_model("qwen2")


def plans(model, count, offset):
    """Plans of tokens 5, 6, 7, 8 by turns; behind 6 the head sees a state that leaves much open."""
    head = model.get_output_embeddings().weight
    sure = 50 * head[9] / head[9].norm() ** 2
    tokens = (5, 6, 7, 8) * 2
    rows = torch.stack([sure * 10] * len(tokens))
    for place, token in enumerate(tokens):
        if token == 6:
            place += offset == "before_token"
            rows[place] = 0.0
    return [(rows, tokens)] * count


@pytest.mark.parametrize("offset", ["before_token", "after_token"])
def test_it_is_the_token_after_which_most_is_open(model, offset):
    assert uncertain_token(model, plans(model, FEWEST, offset), offset) == 6


def test_the_mean_is_that_of_the_definition(model):
    torch.manual_seed(0)
    head = model.get_output_embeddings().weight
    found = [(torch.randn(6, head.shape[1]), tuple(torch.randint(5, 8, (6,)).tolist())) for _ in range(40)]
    entropies = {}
    for states, tokens in found:
        for place in range(1, 6):
            scores = [float(row @ states[place]) for row in head.detach()]
            total = sum(math.exp(score) for score in scores)
            shares = [math.exp(score) / total for score in scores]
            entropy = -sum(share * math.log(share) for share in shares if share)
            entropies.setdefault(tokens[place - 1], []).append(entropy)
    means = {token: sum(values) / len(values) for token, values in entropies.items()}
    assert uncertain_token(model, found, "before_token") == max(means, key=means.__getitem__)


def test_rare_tokens_do_not_count(model):
    assert uncertain_token(model, plans(model, 1, "before_token"), "before_token") is None
    assert uncertain_token(model, [], "before_token") is None


@pytest.mark.parametrize("name", ["granite", "cohere", "gemma2"])
def test_certainty_is_that_of_the_models_own_scores(name, monkeypatch):
    """These scale or cap what the head gives, so the head alone would find other entropies."""
    model, ids = tiny_model(name), (5, 6, 7, 8, 9)
    with torch.no_grad():
        states = model.get_decoder()(input_ids=torch.tensor([ids])).last_hidden_state[0]
        log_p = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    monkeypatch.setattr(compressors, "entropy", lambda found: seen.append(found) or entropy(found))
    seen = []
    uncertain_token(model, [(states, ids)], "after_token")
    torch.testing.assert_close(seen[0], log_p, rtol=1e-4, atol=1e-5)


PIECES = ((3, 4, 2), (6, 1, 5), (1, 2, 1))
"""For each row the lengths of three pieces."""


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(8)
    return [[torch.randn(length, 32, generator=generator).requires_grad_() for length in row] for row in PIECES]


def read_in_pieces(decoder, rows, left):
    """All rows at once, each piece padded on one side or the other, so that padding stands in the middle."""
    mask, read, states = torch.zeros(len(rows), 0, dtype=torch.bool), [], []
    for number, pieces in enumerate(zip(*rows, strict=True)):
        width = max(map(len, pieces))
        ahead = [width - len(piece) if left[number] else 0 for piece in pieces]
        inputs = torch.stack(
            [
                nn.functional.pad(piece, (0, 0, before, width - len(piece) - before))
                for piece, before in zip(pieces, ahead, strict=True)
            ]
        )
        places = torch.arange(width)[None, :] - torch.tensor(ahead)[:, None]
        mask = torch.cat([mask, (places >= 0) & (places < torch.tensor(list(map(len, pieces)))[:, None])], dim=1)
        positions = (mask.long().cumsum(1) - 1).clamp_min(0)
        found, columns = decoder(inputs, mask, positions, read)
        read.append(columns)
        states.append([found[row, before : before + len(pieces[row])] for row, before in enumerate(ahead)])
    return [torch.cat(parts) for parts in zip(*states, strict=True)]


@pytest.mark.parametrize("left", [(False, False, False), (True, True, True), (True, False, True)])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama", "mistral"])
def test_pieces_equal_one_pass_of_each_row(build_model, rows, architecture, attention, checkpointing, left):
    model = build_model(architecture, attention=attention)
    found = read_in_pieces(ColumnDecoder(model.get_decoder(), checkpointing), rows, left)
    pieces = [piece for row in rows for piece in row]
    weights = [torch.randn(len(states), 32, generator=torch.Generator().manual_seed(2)) for states in found]
    expected = [model.get_decoder()(inputs_embeds=torch.cat(row)[None]).last_hidden_state[0] for row in rows]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    gradients = [
        torch.autograd.grad(sum((s * w).sum() for s, w in zip(states, weights, strict=True)), pieces)
        for states in (found, expected)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * max(1.0, theirs.abs().max().item()), rtol=1e-4)


def test_a_row_whose_rotary_factors_would_change_between_two_pieces_is_refused():
    decoder = ColumnDecoder(make_longrope().get_decoder())
    mask, positions = torch.ones(1, 40, dtype=torch.bool), torch.arange(40)[None]
    _, columns = decoder(torch.zeros(1, 12, 32), mask[:, :12], positions[:, :12])
    decoder(torch.zeros(1, 20, 32), mask[:, :32], positions[:, :32], [columns])
    with pytest.raises(InputError, match="ends after 32 positions"):
        decoder(torch.zeros(1, 21, 32), mask[:, :33], positions[:, :33], [columns])
