"""What a model must do in the engine recurrent, against plain passes over whole sequences without a cache."""

from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from interlat.connectors.identity import NormMatchedIdentity
from interlat.engine.cache import KVCache
from interlat.engine.cache_message import cache_of_message, message_of_cache
from interlat.engine.prompt import Latents, Tokens
from interlat.engine.recurrent import RecurrentEngine
from interlat.engine.sampling import Sampling
from interlat.engine.streaming import Request
from interlat.errors import MessageError
from interlat.messages import load_message

PARTS = (tuple(range(60, 71)), tuple(range(90, 93)), (45,))
STEPS = 3


class Plain:
    """One sequence, read anew at every question."""

    def __init__(self, engine: RecurrentEngine) -> None:
        self.engine = engine
        self.inputs = torch.zeros(0, engine.hidden_size)

    def add(self, rows: Float[Tensor, "T D"]) -> None:
        self.inputs = torch.cat([self.inputs, rows])

    @torch.no_grad()
    def logits(self) -> Float[Tensor, "V"]:
        return self.engine.model(inputs_embeds=self.inputs[None].clone(), use_cache=False).logits[0, -1].float()

    @torch.no_grad()
    def state(self) -> Float[Tensor, "D"]:
        return self.engine.decoder(inputs_embeds=self.inputs[None].clone(), use_cache=False).last_hidden_state[0, -1]

    def write(self, count: int) -> list[int]:
        """The likeliest tokens; they are read."""
        written = []
        for _ in range(count):
            written.append(int(self.logits().argmax()))
            self.add(self.engine.embed(torch.tensor(written[-1:])))
        return written


def close(found: Tensor, expected: Tensor) -> None:
    difference, scale = (found.float() - expected.float()).abs().max(), expected.float().abs().max()
    assert difference <= 2e-3 * scale, (difference, scale)


def check_engine(engine: RecurrentEngine, folder: Path) -> None:
    """Reading in parts, latents, thoughts, replies, memories handed over as values and as files, streams."""
    identity = NormMatchedIdentity.of_embeddings(engine.input_embeddings)
    latents = engine.input_embeddings[[33, 44]] * 0.7 + engine.input_embeddings[[55, 66]] * 0.3
    prompts = [[Tokens(PARTS[0])], [Tokens(PARTS[1]), Latents(latents)], [Tokens(PARTS[2])]]
    plains = [Plain(engine) for _ in prompts]
    for plain, ids in zip(plains, PARTS, strict=True):
        plain.add(engine.embed(torch.tensor(ids)))
    plains[1].add(latents)
    memory = engine.prefill(prompts)
    for row, plain in enumerate(plains):
        close(engine.logits(memory.hidden_states[row]), plain.logits())

    thought, states = engine.think(memory, STEPS, identity)
    for row, plain in enumerate(plains):
        state = plain.state()
        for step in range(STEPS):
            plain.add(identity(state[None, None])[0])
            state = plain.state()
            close(states[row, step], state)

    # Two continuations of one memory, which stays as it is.
    limit = Sampling(max_new_tokens=4)
    first = engine.decode(thought, limit, stop_ids=())
    again = engine.decode(thought, limit, stop_ids=())
    expected = [plain.write(4) for plain in plains]
    assert first.token_ids == again.token_ids == expected
    more = engine.prefill([[Tokens((70, 80, 90))]] * 3, first.cache)
    for row, plain in enumerate(plains):
        plain.add(engine.embed(torch.tensor([70, 80, 90])))
        close(engine.logits(more.hidden_states[row]), plain.logits())

    # Handed over in a file, to an engine that has read nothing of it.
    message_of_cache(engine, more).save(folder / "memory.safetensors")
    engine._kept.clear()
    loaded = cache_of_message(engine, load_message(folder / "memory.safetensors"))
    assert engine.decode(loaded, limit, stop_ids=()).token_ids == [plain.write(4) for plain in plains]
    stream = engine.stream([Request("a", [Tokens((51,))], cache=loaded.select([1]))], limit, stop_ids=())
    assert [len(one.token_ids) for one in stream] == [4]
    joined = KVCache.concat([more.select([2]), thought.select([0])])
    close(engine.prefill([[Tokens((9,))]] * 2, joined).hidden_states[1], _after(engine, thought, 0))

    for taken in (thought.trim(thought.segment("latents")), thought.only_layers([1])):
        with pytest.raises(MessageError, match="whole memories only"):
            engine.prefill([[Tokens((9,))]] * 3, taken)
    with pytest.raises(MessageError, match="int8"):
        message_of_cache(engine, memory, int8=True)


def _after(engine: RecurrentEngine, memory: KVCache, row: int) -> Float[Tensor, "D"]:
    return engine.prefill([[Tokens((9,))]], memory.select([row])).hidden_states[0]
