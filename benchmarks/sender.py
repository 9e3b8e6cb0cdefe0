"""The time of a sender that thinks K latents against one that writes a plan, for plans of several lengths.

Both are the engine's own, on one random model: the ratio is what compression saves, and not what an implementation
does. The latents are those of an untrained bridge, which take as long as trained ones.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from transformers import Qwen2Config

from benchmarks.engine import HALF_BILLION, bare_tokenizer, random_model
from benchmarks.records import comparison
from interlat.connectors.bridge import Bridge, BridgeConfig, think_over
from interlat.engine.hardware import choose_device, choose_dtype
from interlat.engine.hf import Engine
from interlat.engine.prompt import Tokens
from interlat.engine.sampling import Sampling

PROMPT = 128
"""Tokens of the sender's prompt."""
LATENTS = 8
LENGTHS = {True: (10, 25, 50), False: (25, 50, 100, 200, 400, 700, 1000)}
"""Tokens of the plans; quick or not."""
REPEATS = 3
"""Measurements of the latents and of short plans; a long plan is many steps, and written once."""
LONG = 100
SMALL = Qwen2Config(
    vocab_size=32_000,
    hidden_size=512,
    intermediate_size=1536,
    num_hidden_layers=8,
    num_attention_heads=8,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)


def random_engine(quick: bool) -> Engine:
    """A random model of 0.5B parameters, or a small one, with a tokenizer that is never asked."""
    device = choose_device("auto")
    model = random_model(SMALL if quick else HALF_BILLION, choose_dtype("auto", device), device)
    return Engine.wrap(model, bare_tokenizer(), "random")


def run(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield one record a plan length; smaller is better, prefill of the prompt included on both sides."""
    engine = random_engine(quick)
    bridge = Bridge(BridgeConfig(engine.hidden_size, engine.hidden_size)).to(engine.device)
    bridge.begin(engine.input_embeddings, seed=0)
    prompt = [Tokens(tuple(range(1, PROMPT + 1)))]

    def think() -> None:
        think_over(engine, bridge, [prompt], LATENTS)[1].sum().item()

    def write(tokens: int) -> None:
        engine.decode(engine.prefill([prompt]), Sampling(max_new_tokens=tokens), stop_ids=[])

    write(1)  # the first pass of a process is a slow one
    think()
    seconds = _median(think, REPEATS)
    size = "0.5B" if not quick else "small"
    for tokens in LENGTHS[quick]:
        written = _median(partial(write, tokens), REPEATS if tokens < LONG else 1)
        case = f"{size} model, plan of {tokens} tokens, K={LATENTS}, prompt {PROMPT}"
        record = comparison("sender", case, "sender_seconds", "s", seconds, written, larger_is_better=False)
        yield {**record, "plan_tokens": tokens}


def _median(action: Callable[[], None], repeats: int) -> float:
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return statistics.median(found)
