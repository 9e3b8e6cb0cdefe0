"""How fast the engine writes tokens and takes latent steps, against the textbook `transformers` loop.

The reference is what one finds in every tutorial: a call of the whole model with `use_cache` and
`output_hidden_states`, the LM head at every step, then the largest logit (tokens) or the last hidden state
(latent steps) as the next input. Both run in turns in the same process, and the best time of each counts.

On a GPU, recorded steps (`interlat.engine.graphs`) are measured against the same engine without them, and a 7B shape
too. The bandwidth share says how much of the machine's memory bandwidth a step uses:
(bytes of weights and cache that one step reads) / (seconds a step) / (bytes a second of a plain read).
"""

import copy
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.initialization import no_init_weights

from benchmarks.records import record_of
from interlat.engine.backend import TransformersBackend
from interlat.engine.cache import KVCache
from interlat.engine.hardware import choose_device, choose_dtype
from interlat.engine.hf import HFEngine
from interlat.engine.llama_family import LlamaFamilyBackend
from interlat.engine.prompt import Tokens
from interlat.engine.sampling import Sampling

TINY = Qwen2Config(
    vocab_size=4096,
    hidden_size=128,
    intermediate_size=320,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
HALF_BILLION = Qwen2Config(
    vocab_size=151936,
    hidden_size=896,
    intermediate_size=4864,
    num_hidden_layers=24,
    num_attention_heads=14,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
SEVEN_BILLION = Qwen2Config(
    vocab_size=152064,
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    tie_word_embeddings=False,
)
PROMPT_LENGTH = 16
PREFILL_LENGTH = 512
"""Tokens of the prompt whose reading is measured against the limit of matrix products."""


def small_config(vocabulary: int, hidden_size: int, scale: float, positions: int = 2048) -> Qwen2Config:
    """Four layers, for the training benchmarks; ``scale`` is the spread of the random weights."""
    return Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=positions,
        initializer_range=scale,
        tie_word_embeddings=True,
    )


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    steps: int
    """Steps of one timed run."""
    rounds: int
    """Timed runs of each side; the best counts."""


EFFORT = {
    ("tiny", True): Effort(steps=32, rounds=6),
    ("tiny", False): Effort(steps=64, rounds=30),
    ("0.5B", True): Effort(steps=2, rounds=2),
    ("0.5B", False): Effort(steps=8, rounds=8),
}
EFFORT_ON_GPU = Effort(steps=64, rounds=5)
BATCHES = {"cpu": (1, 8), "cuda": (1, 8, 64)}


def run(quick: bool = False, device_name: str = "auto") -> Iterator[dict[str, Any]]:
    """Yield one record a case and metric; ``quick`` ends within 45 seconds on two cores.

    Args:
        quick: measure less. Not on a GPU.
        device_name: where to compute.

    Records hold bench, case, metric, unit, ours, reference, ratio (larger is better) and machine. Numbers a
    second count all rows of the batch. ``bandwidth_share`` is that of the latent step; the reference reads the
    LM head too, which is not counted as needed. Metrics with ``fast_path`` have the same engine on the model's own
    modules as reference, those with ``recorded`` the engine without recorded steps. A model that fits into the caches
    can pass 1. ``matrix_share`` is that of a prefill of 512 tokens: 2 operations a weight and token, over what a large
    matrix product does a second.
    """
    device = choose_device(device_name)
    dtype = choose_dtype("auto", device)
    bandwidth = read_bandwidth(device)
    on_gpu = device.type == "cuda"
    sizes = [("tiny", TINY), ("0.5B", HALF_BILLION), *([("7B", SEVEN_BILLION)] if on_gpu else [])]
    for size, config in sizes:
        engine = HFEngine.wrap(random_model(config, dtype, device), bare_tokenizer(), name=size)
        if isinstance(engine.backend, LlamaFamilyBackend):
            # As for a model that is loaded from its files.
            engine.backend.pack()
        for batch in BATCHES[device.type]:
            effort = EFFORT_ON_GPU if on_gpu else EFFORT[size, quick]
            yield from _measure(engine, f"{size} batch {batch}", batch, effort, bandwidth)
        if size != "tiny" and not quick:
            yield _measure_prefill(engine, f"{size} batch 1", matrix_speed(device, dtype))
        del engine


def random_model(config: Qwen2Config, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """A random model, filled quickly: every matrix repeats one block of uniform numbers of the usual size."""
    with no_init_weights(), torch.device(device):
        model = Qwen2ForCausalLM._from_config(config, dtype=dtype, attn_implementation="sdpa")
    generator = torch.Generator(device=device).manual_seed(0)
    # A prime length, so that the rows of a matrix differ.
    block = torch.empty(1_000_003, dtype=dtype, device=device).uniform_(-0.035, 0.035, generator=generator)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                for part in parameter.view(-1).split(len(block)):
                    part.copy_(block[: len(part)])
            else:
                parameter.fill_(1.0)
    model.tie_weights()
    return model.eval()


def bare_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with nothing in it: the benchmark speaks token ids."""
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"?": 0}, unk_token="?")))


def read_bandwidth(device: torch.device, megabytes: int = 256) -> float:
    """Bytes a second of a matrix-vector product with a matrix larger than the caches."""
    matrix = torch.ones(megabytes * 64, 4096, dtype=torch.float32, device=device)
    vector = torch.ones(4096, device=device)
    return matrix.numel() * 4 / _best(lambda: torch.mv(matrix, vector), device, rounds=5)


def matrix_speed(device: torch.device, dtype: torch.dtype, size: int = 4096) -> float:
    """Floating-point operations a second of a product of two large square matrices."""
    matrix = torch.ones(size, size, dtype=dtype, device=device)
    return 2.0 * size**3 / _best(lambda: torch.mm(matrix, matrix), device, rounds=3)


def _measure_prefill(engine: HFEngine, case: str, speed: float) -> dict[str, Any]:
    ids = torch.arange(1, PREFILL_LENGTH + 1, device=engine.device)
    prompt = [[Tokens(tuple(ids.tolist()))]]
    operations = 2 * sum(one.numel() for one in engine.model.model.layers.parameters()) * PREFILL_LENGTH

    @torch.no_grad()
    def plain() -> None:
        engine.model(input_ids=ids[None], use_cache=True, logits_to_keep=1)

    seconds = _in_turns(lambda: engine.prefill(prompt), plain, engine.device, rounds=3)
    return record_of("engine", case, "matrix_share", "share", operations / speed, seconds)


def _measure(engine: HFEngine, case: str, batch: int, effort: Effort, bandwidth: float) -> Iterator[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, engine.config.vocab_size, (batch, PROMPT_LENGTH), generator=generator)
    memory = engine.prefill([[Tokens(tuple(row))] for row in ids.tolist()])
    plain = PlainLoop(engine.model, ids.to(engine.device))
    step_bytes = _bytes_of_a_step(engine, memory, effort.steps)
    sampling = Sampling(max_new_tokens=effort.steps)
    # The same engine on the model's own modules shows what the fast path for the Llama family is worth.
    modules = copy.copy(engine)
    modules.backend = TransformersBackend(engine.model)

    def tokens(runner: HFEngine) -> object:
        return runner.decode(memory, sampling, stop_ids=())

    def latent_steps(runner: HFEngine) -> object:
        return runner.think(memory, effort.steps, lambda states: states)

    runs: list[tuple[str, str, Callable[[HFEngine], object], Callable[[], object]]] = [
        ("fast_path_tokens", "tokens/s", tokens, lambda: tokens(modules)),
        ("fast_path_latent_steps", "steps/s", latent_steps, lambda: latent_steps(modules)),
        ("tokens_per_second", "tokens/s", tokens, lambda: plain.tokens(effort.steps)),
        ("latent_steps_per_second", "steps/s", latent_steps, lambda: plain.latent_steps(effort.steps)),
    ]
    if engine.device.type == "cuda" and isinstance(engine.backend, LlamaFamilyBackend):
        unrecorded = copy.copy(engine)
        unrecorded.backend = LlamaFamilyBackend(engine.model)
        unrecorded.backend.capture = None
        runs.insert(0, ("recorded_latent_steps", "steps/s", latent_steps, lambda: latent_steps(unrecorded)))
        runs.insert(0, ("recorded_tokens", "tokens/s", tokens, lambda: tokens(unrecorded)))
    for metric, unit, ours, reference in runs:
        seconds = _in_turns(functools.partial(ours, engine), reference, engine.device, effort.rounds)
        yield record_of("engine", case, metric, unit, batch * effort.steps, seconds)
    # Of the latent step, the last that was measured.
    yield record_of("engine", case, "bandwidth_share", "share", step_bytes * effort.steps / bandwidth, seconds)


class PlainLoop:
    """The textbook loop on a prefilled cache, which is cut back after every run."""

    def __init__(self, model: PreTrainedModel, ids: Tensor) -> None:
        self.model = model
        self.cache = DynamicCache(config=model.config)
        with torch.no_grad():
            output = model(input_ids=ids, past_key_values=self.cache, use_cache=True, output_hidden_states=True)
        self.first_token = output.logits[:, -1].argmax(-1, keepdim=True)
        self.first_state = output.hidden_states[-1][:, -1:]
        self.mask = torch.ones_like(ids)

    def tokens(self, steps: int) -> None:
        self._steps(steps, "input_ids", self.first_token, lambda output: output.logits[:, -1].argmax(-1, keepdim=True))

    def latent_steps(self, steps: int) -> None:
        self._steps(steps, "inputs_embeds", self.first_state, lambda output: output.hidden_states[-1][:, -1:])

    @torch.no_grad()
    def _steps(self, steps: int, name: str, given: Tensor, next_of: Callable[[Any], Tensor]) -> None:
        mask = self.mask
        for _ in range(steps):
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            output = self.model(
                **{name: given},
                attention_mask=mask,
                past_key_values=self.cache,
                use_cache=True,
                output_hidden_states=True,
            )
            given = next_of(output)
        self.cache.crop(-steps)


def _bytes_of_a_step(engine: HFEngine, memory: KVCache, steps: int) -> int:
    """Bytes that a latent step must read: all weights of the layers and, halfway through a run, the cache."""
    weights = sum(_tensor_bytes(parameter) for parameter in engine.model.model.layers.parameters())
    columns = memory.width + steps // 2
    return weights + memory.nbytes // memory.width * columns


def _tensor_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _in_turns(
    ours: Callable[[], object], reference: Callable[[], object], device: torch.device, rounds: int
) -> tuple[float, float]:
    """The best seconds of each, measured alternately so that both meet the same state of the machine."""
    best_ours = best_reference = float("inf")
    for _ in range(rounds):
        best_ours = min(best_ours, _best(ours, device, rounds=1))
        best_reference = min(best_reference, _best(reference, device, rounds=1))
    return best_ours, best_reference


def _best(function: Callable[[], object], device: torch.device, rounds: int) -> float:
    seconds = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = min(seconds, time.perf_counter() - start)
    return seconds
