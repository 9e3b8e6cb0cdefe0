"""Latent steps with gradients against a slow loop without any cache."""

import pytest
import torch
from interlat.training.compress.rollout import LatentRollout
from torch import nn

from interlat.connectors.bridge import Bridge, BridgeConfig, think_over
from interlat.engine.prompt import Latents

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
    rollout = LatentRollout(model.get_decoder(), checkpointing)
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
    latents = LatentRollout(model.get_decoder())(*padded(prompts), bridge, bridge.start, STEPS)
    for step in range(STEPS):
        (gradient,) = torch.autograd.grad(latents[:, step].sum(), [prompts[0]], retain_graph=True)
        assert gradient.abs().sum() > 0
        (through_bridge,) = torch.autograd.grad(latents[:, step].sum(), [bridge.linear.weight], retain_graph=True)
        assert bool(through_bridge.abs().sum() > 0) == (step > 0)


def test_fewer_steps_are_the_beginning_of_more(build_model, prompts):
    """So one rollout serves samples of all lengths."""
    model, bridge = build_model("llama"), make_bridge()
    rollout = LatentRollout(model.get_decoder())
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
            latents = LatentRollout(model.get_decoder(), checkpointing)(embeddings, mask, bridge, bridge.start, 16)
        assert latents.requires_grad
        return sum(sizes.values())

    assert kept(True) < kept(False) / 3


def test_training_and_play_think_alike(engine, prompts):
    bridge = make_bridge()
    with torch.no_grad():
        rollout = LatentRollout(engine.model.get_decoder())
        trained = rollout(*padded([prompt.detach() for prompt in prompts]), bridge, bridge.start, STEPS)
    memory, rows = think_over(engine, bridge, [[Latents(prompt.detach())] for prompt in prompts], STEPS)
    torch.testing.assert_close(rows, trained, atol=1e-5, rtol=1e-4)
    assert memory.next_position.tolist() == [length + STEPS for length in LENGTHS]
