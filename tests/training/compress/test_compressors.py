import pytest
import torch
from interlat.training.compress.compressors import Reasoner, Resampling, Sample, padded_rows
from torch import nn

from interlat.connectors.bridge import Bridge, BridgeConfig, think_over
from interlat.connectors.resampler import Resampler, ResamplerConfig
from interlat.engine.prompt import Tokens
from interlat.training.examples import Example

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
