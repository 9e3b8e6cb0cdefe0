"""One side reads, writes and thinks, and this prints how fast; `python -m benchmarks llama-cpp` runs it.

``python -m benchmarks.llama_cpp_play SIDE MODEL DTYPE PROMPTS STEPS ROUNDS``; PROMPTS is a JSON file of token ids, as
many for each sequence.
"""

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from benchmarks.engine import PlainLoop
from interlat.engine.hf import HFEngine
from interlat.engine.prompt import Tokens
from interlat.engine.sampling import Sampling


class Side(Protocol):
    """What is timed; B sequences of P tokens each."""

    def prefill(self) -> object:
        """Read the prompts anew."""

    def decode(self) -> list[list[int]]:
        """Write the likeliest tokens behind the prompts."""

    def get_ready(self) -> object:
        """What thinking needs before: the prompts, read anew."""

    def latent(self) -> object:
        """Take latent steps behind the prompts: the state is the next input."""


class Ours:
    """The reference engine."""

    def __init__(self, model: str, dtype: str, prompts: list[list[int]], steps: int) -> None:
        self.engine = HFEngine.load(model, dtype=dtype, device="cpu")
        self.prompts = [[Tokens(tuple(row))] for row in prompts]
        self.steps = steps

    def prefill(self) -> None:
        self.memory = self.engine.prefill(self.prompts, spare=self.steps)

    get_ready = prefill

    def decode(self) -> list[list[int]]:
        return self.engine.decode(self.memory, Sampling(max_new_tokens=self.steps), stop_ids=()).token_ids

    def latent(self) -> object:
        return self.engine.think(self.memory, self.steps, lambda states: states)


class Plain:
    """`generate` of `transformers`, and the textbook loop for latent steps, which `generate` has not."""

    def __init__(self, model: str, dtype: str, prompts: list[list[int]], steps: int) -> None:
        self.model: PreTrainedModel = HFEngine.load(model, dtype=dtype, device="cpu").model
        self.ids = torch.tensor(prompts)
        self.steps = steps

    @torch.no_grad()
    def prefill(self) -> None:
        self.model(input_ids=self.ids, logits_to_keep=1, use_cache=True)

    def decode(self) -> list[list[int]]:
        written: Any = self.model.generate(  # type: ignore[operator]
            input_ids=self.ids,
            attention_mask=torch.ones_like(self.ids),
            max_new_tokens=self.steps,
            min_new_tokens=self.steps,
            do_sample=False,
            pad_token_id=0,
        )
        tokens: list[list[int]] = written[:, self.ids.shape[1] :].tolist()
        return tokens

    def get_ready(self) -> None:
        self.loop = PlainLoop(self.model, self.ids)

    def latent(self) -> None:
        self.loop.latent_steps(self.steps)


class LlamaCpp:
    """llama.cpp by the low-level functions of its Python package, all sequences in one batch.

    It computes next-token scores at each latent step, too: the library offers no way around them.
    """

    def __init__(self, model: str, dtype: str, prompts: list[list[int]], steps: int) -> None:
        import llama_cpp

        self.lib: Any = llama_cpp
        self._silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._silence, ctypes.c_void_p(0))
        # float32 for float32; else float16, llama.cpp's default, which is as wide as bfloat16.
        self.cache_type = 0 if dtype == "float32" else 1
        self.prompts = prompts
        self.steps = steps
        self.width = len(prompts[0])
        self.model: Any = llama_cpp.llama_model_load_from_file(model.encode(), llama_cpp.llama_model_default_params())
        self.size: int = llama_cpp.llama_model_n_embd(self.model)
        self.vocabulary: int = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.writer = self._context(states=False)
        self.thinker = self._context(states=True)

    def _context(self, states: bool) -> Any:
        """A memory for all sequences; one that gives states gives them at every position that asks for output."""
        count = len(self.prompts)
        settings = self.lib.llama_context_default_params()
        settings.n_seq_max = count
        # Rounded up by the library for each sequence.
        settings.n_ctx = count * (-(-(self.width + self.steps) // 256) * 256)
        settings.n_batch = max(512, count * self.width)
        settings.n_threads = settings.n_threads_batch = torch.get_num_threads()
        # Keys and values as wide as ours.
        settings.type_k = settings.type_v = self.cache_type
        settings.embeddings = states
        settings.pooling_type = 0
        return self.lib.llama_init_from_model(self.model, settings)

    def _run(self, context: Any, tokens: list[list[int]] | None, states: Any, first: int) -> int:
        """Read tokens, or one state a sequence, from position ``first`` on; how many lie before the last of each."""
        count, width = len(self.prompts), len(tokens[0]) if tokens else 1
        batch = self.lib.llama_batch_init(count * width, 0 if tokens else self.size, 1)
        batch.n_tokens = count * width
        for row in range(count):
            for column in range(width):
                place = row * width + column
                if tokens:
                    batch.token[place] = tokens[row][column]
                batch.pos[place] = first + column
                batch.n_seq_id[place] = 1
                batch.seq_id[place][0] = row
                batch.logits[place] = column == width - 1
        if not tokens:
            ctypes.memmove(batch.embd, states.ctypes.data, states.nbytes)
        code = self.lib.llama_decode(context, batch)
        self.lib.llama_batch_free(batch)
        if code:
            raise RuntimeError(f"llama_decode gave {code}")
        return width

    def _rows(self, get: Callable[[Any, int], Any], context: Any, width: int, size: int) -> Any:
        """What the last position of each sequence gave, ``[B, size]``."""
        found = [get(context, row * width + width - 1) for row in range(len(self.prompts))]
        return np.stack([np.ctypeslib.as_array(one, shape=(size,)) for one in found])

    def _forget(self, context: Any, first: int) -> None:
        memory = self.lib.llama_get_memory(context)
        for row in range(len(self.prompts)):
            self.lib.llama_memory_seq_rm(memory, row, first, -1)

    def _scores(self, width: int) -> Any:
        return self._rows(self.lib.llama_get_logits_ith, self.writer, width, self.vocabulary)

    def _states(self, width: int) -> Any:
        return self._rows(self.lib.llama_get_embeddings_ith, self.thinker, width, self.size)

    def prefill(self) -> None:
        self._forget(self.writer, 0)
        self.first_scores = self._scores(self._run(self.writer, self.prompts, None, 0))

    def decode(self) -> list[list[int]]:
        written: list[list[int]] = [[] for _ in self.prompts]
        scores = self.first_scores
        for step in range(self.steps):
            chosen = scores.argmax(axis=1).tolist()
            for row, token in zip(written, chosen, strict=True):
                row.append(token)
            scores = self._scores(self._run(self.writer, [[token] for token in chosen], None, self.width + step))
        return written

    def get_ready(self) -> None:
        self._forget(self.thinker, 0)
        self.first_states = self._states(self._run(self.thinker, self.prompts, None, 0))

    def latent(self) -> Any:
        states = self.first_states
        for step in range(self.steps):
            states = self._states(self._run(self.thinker, None, np.ascontiguousarray(states), self.width + step))
        return states


SIDES: dict[str, Callable[[str, str, list[list[int]], int], Side]] = {
    "ours": Ours,
    "plain": Plain,
    "llama.cpp": LlamaCpp,
}


def play(side: Side, prompts: list[list[int]], steps: int, rounds: int) -> dict[str, Any]:
    """The best rate of each phase, and what was written. ``answer`` is prefill and decode together."""
    seconds: dict[str, list[float]] = {phase: [] for phase in ("prefill", "decode", "latent")}
    written: list[list[int]] = []

    def timed(phase: str, function: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = function()
        seconds[phase].append(time.perf_counter() - began)
        return result

    for _ in range(rounds + 1):
        timed("prefill", side.prefill)
        written = timed("decode", side.decode)
        side.get_ready()
        timed("latent", side.latent)
    # The first round warms up.
    best = {phase: min(found[1:]) for phase, found in seconds.items()}
    count = len(prompts)
    rates = {"prefill": count * len(prompts[0]) / best["prefill"], "latent": count * steps / best["latent"]}
    if isinstance(side, Plain):
        # `generate` reads the prompts itself, so its decoding alone is not known.
        rates["answer"] = count * steps / best["decode"]
    else:
        rates["decode"] = count * steps / best["decode"]
        rates["answer"] = count * steps / (best["prefill"] + best["decode"])
    return {**rates, "written": written}


if __name__ == "__main__":
    name, model, dtype, prompts_file, *numbers = sys.argv[1:]
    rows = json.loads(Path(prompts_file).read_text(encoding="utf-8"))
    steps, rounds = map(int, numbers)
    print(json.dumps(play(SIDES[name](model, dtype, rows, steps), rows, steps, rounds)), flush=True)
    # llama.cpp frees its memory in an order that its package does not guarantee.
    os._exit(0)
