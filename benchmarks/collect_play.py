"""Lets a random model answer prompts in this process and prints what that took: `python -m benchmarks collect` runs it.

``python -m benchmarks.collect_play ours|plain SIZE PROMPTS TOKENS BATCH FOLDER``.
"""

import hashlib
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine import HALF_BILLION, TINY, bare_tokenizer, random_model
from benchmarks.processes import forget_peak_memory, memory_since, peak_memory
from interlat.engine.hardware import choose_device, choose_dtype
from interlat.engine.hf import Engine
from interlat.engine.prompt import Tokens
from interlat.engine.sampling import Sampling
from interlat.engine.streaming import Request

CONFIGS = {"tiny": TINY, "0.5B": HALF_BILLION}
# One token in sixteen ends an answer: about half of the answers end early and make room for the next prompt.
ENDS = 16


def prompts_of(count: int, vocabulary: int) -> list[list[int]]:
    """Prompts of 8 to 40 tokens, the longest first, as `interlat collect` sorts them."""
    rng = random.Random(0)
    prompts = [[rng.randrange(vocabulary) for _ in range(rng.randint(8, 40))] for _ in range(count)]
    return sorted(prompts, key=len, reverse=True)


def play(kind: str, size: str, count: int, tokens: int, batch: int, folder: str) -> dict[str, Any]:
    """Tokens written, seconds, peak memory above the loaded model, and a digest of all tokens."""
    device = choose_device("auto")
    model = random_model(CONFIGS[size], choose_dtype("auto", device), device)
    engine = Engine.wrap(model, bare_tokenizer(), name=size)
    vocabulary = engine.config.vocab_size
    prompts, ends = prompts_of(count, vocabulary), list(range(0, vocabulary, ENDS))
    run = _ours if kind == "ours" else _plain
    run(engine, prompts[-2:], 2, ends, batch, Path(folder) / "warm")
    forget_peak_memory()
    baseline = peak_memory()
    began = time.perf_counter()
    written = run(engine, prompts, tokens, ends, batch, Path(folder) / "store")
    seconds = time.perf_counter() - began
    memory = torch.cuda.max_memory_allocated() if device.type == "cuda" else memory_since(baseline)
    return {
        "tokens": sum(map(len, written)),
        "seconds": seconds,
        "memory": memory,
        "digest": hashlib.sha256(json.dumps(written).encode()).hexdigest(),
    }


def _ours(
    engine: Engine, prompts: list[list[int]], tokens: int, ends: list[int], batch: int, folder: Path
) -> list[list[int]]:
    """The stream of a collection, each answer written into a store."""
    from interlat.store.index import Entry
    from interlat.store.manifest import Manifest
    from interlat.store.writer import writing

    requests = [Request(str(number), [Tokens(tuple(prompt))]) for number, prompt in enumerate(prompts)]
    written: dict[int, list[int]] = {}
    manifest = Manifest(hidden_size=engine.hidden_size, dtype=str(engine.dtype).removeprefix("torch."))
    with writing(folder, manifest) as writer:
        stream = engine.stream(requests, Sampling(max_new_tokens=tokens), batch_size=batch, stop_ids=ends)
        for answer in stream:
            written[int(answer.key)] = answer.token_ids
            if answer.token_ids:
                writer.append(Entry(answer.key, token_ids=tuple(answer.token_ids)), answer.hidden_states)
    return [written[number] for number in range(len(prompts))]


@torch.no_grad()
def _plain(
    engine: Engine, prompts: list[list[int]], tokens: int, ends: list[int], batch: int, folder: Path
) -> list[list[int]]:
    """`generate` on one prompt at a time with the states of all layers, of which the last one's are kept in a list."""
    written, kept = [], []
    for prompt in prompts:
        ids = torch.tensor([prompt], device=engine.device)
        output = engine.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=0,
            output_hidden_states=True,
            return_dict_in_generate=True,
        )
        new = output.sequences[0, len(prompt) :].tolist()
        new = new[:-1] if new and new[-1] in set(ends) else new
        written.append(new)
        kept.append(torch.cat([step[-1][0, -1:] for step in output.hidden_states])[: len(new)])
    assert [len(rows) for rows in kept] == [len(new) for new in written], "one state a token"
    return written


if __name__ == "__main__":
    kind, size, count, tokens, batch, folder = sys.argv[1:]
    print(json.dumps(play(kind, size, int(count), int(tokens), int(batch), folder)))
