"""One engine answers prompts and thinks, and this prints what that took; `python -m benchmarks engines` runs it.

``python -m benchmarks.engines_play ENGINE MODEL DTYPE PROMPTS TOKENS STEPS``.
"""

import json
import sys
import time
from typing import Any

from interlat.agents.agent import Agent
from interlat.engine.protocol import load_model
from interlat.engine.sampling import Sampling
from interlat.engine.streaming import Request
from interlat.tasks.sources import TaskSource

BATCH = {"hf": 32, "vllm": 128}
"""Sequences at once. vLLM decides itself, out of as many as it gets, what it reads and writes in a pass."""
THINKERS = 32


def play(name: str, model: str, dtype: str, count: int, tokens: int, steps: int) -> dict[str, Any]:
    """Tokens and latent steps a second, and what was written."""
    engine = load_model(model, name, dtype=dtype)
    agent = Agent(engine)
    prompts = [agent.task_prompt(task.text) for task in TaskSource("arithmetic", count=count).load("solve").tasks]
    requests = [Request(str(number), prompt) for number, prompt in enumerate(prompts)]
    limit = Sampling(max_new_tokens=tokens)
    list(engine.stream(requests[:2], limit, batch_size=2))
    began = time.perf_counter()
    answers = {one.key: one.token_ids for one in engine.stream(requests, limit, batch_size=BATCH[name])}
    seconds = time.perf_counter() - began
    written = [answers[request.key] for request in requests]
    memory = engine.prefill(prompts[:THINKERS], spare=steps)
    identity = agent.identity
    began = time.perf_counter()
    engine.think(memory, steps, identity)
    return {
        "tokens_per_second": sum(map(len, written)) / seconds,
        "latent_steps_per_second": len(memory) * steps / (time.perf_counter() - began),
        "written": written,
    }


if __name__ == "__main__":
    name, model, dtype, *numbers = sys.argv[1:]
    print(json.dumps(play(name, model, dtype, *map(int, numbers))))
