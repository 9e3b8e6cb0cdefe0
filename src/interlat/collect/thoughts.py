"""A scout's thoughts about episodes: what it writes, and the states behind its plan.

One shard of states for each batch and one JSON line an episode, written after its shard: a killed run goes on with
the next batch. Items are batched by length; greedy plans do not depend on that, and sampled ones are seeded by item.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from interlat.agents.episodes import read_episodes
from interlat.agents.household import scout_prompt
from interlat.engine.decoding import Decoded
from interlat.engine.sampling import Sampling, row_seed
from interlat.engine.transformers import Engine
from interlat.errors import InputError
from interlat.files import append_line, atomic_path, read_lines, write_atomically

THOUGHTS_FILE = "thoughts.jsonl"
SENDER_FILE = "sender.json"


@dataclass(frozen=True)
class CollectThoughts:
    """Let a scout write plans about stored episodes and keep its states."""

    model: str
    """Folder or hub id of the scout."""
    episodes: str
    """``episodes.jsonl`` of the games."""
    output: str
    """Folder for ``thoughts.jsonl`` and the shards of states."""
    batch_size: int = 128
    """Episodes at once."""
    max_new_tokens: int = 80
    """Most tokens of a plan."""
    dtype: str = "bfloat16"
    """Number format of the stored states."""
    seed: int = 0
    """Seed of the sampled plans."""
    threads: int = 1
    """Threads of torch on a CPU."""


def write_plans(
    engine: Engine, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int] | None = None
) -> Decoded:
    """Let a scout answer each prompt, with the states that predicted its tokens."""
    memory = engine.prefill([engine.chat.opening([("user", prompt)]) for prompt in prompts])
    return engine.decode(memory, sampling, seeds, keep_hidden_states=True)


def collect_thoughts(config: CollectThoughts) -> Iterator[tuple[int, int]]:
    """Run the stage; yields (episodes done, episodes in all) as it goes.

    Raises:
        InputError: unknown dtype, or no episodes.
    """
    dtype = getattr(torch, config.dtype, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InputError(f"dtype {config.dtype!r} is no floating-point format; use bfloat16 or float32")
    torch.set_num_threads(config.threads)
    folder = Path(config.output)
    episodes: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        (f"{record['item']}#{episode['draw']}", record, episode)
        for record in read_episodes(config.episodes)
        for episode in record["episodes"]
    ]
    done = {record["item"] for record in read_lines(folder / THOUGHTS_FILE)}
    missing = [episode for episode in episodes if episode[0] not in done]
    missing.sort(key=lambda episode: len(episode[1]["opening"]) + len(episode[2]["evidence"]))
    count = len(episodes) - len(missing)
    yield count, len(episodes)
    if not missing:
        return
    engine = Engine.load(config.model)
    sender = {
        "name": engine.name,
        "weights_fingerprint": engine.weights_fingerprint,
        "tokenizer_fingerprint": engine.tokenizer_fingerprint,
    }
    write_atomically(folder / SENDER_FILE, json.dumps(sender))
    for start in range(0, len(missing), config.batch_size):
        chunk = missing[start : start + config.batch_size]
        for record in _think_about(engine, chunk, config, folder, dtype):
            append_line(folder / THOUGHTS_FILE, record)
        count += len(chunk)
        yield count, len(episodes)


def _think_about(
    engine: Engine,
    chunk: Sequence[tuple[str, dict[str, Any], dict[str, Any]]],
    config: CollectThoughts,
    folder: Path,
    dtype: torch.dtype,
) -> list[dict[str, Any]]:
    prompts = [scout_prompt(record["opening"], episode["evidence"]) for _, record, episode in chunk]
    list_prompts = [scout_prompt(record["opening"], episode["evidence"], "list") for _, record, episode in chunk]
    greedy = Sampling(max_new_tokens=config.max_new_tokens)
    random = Sampling(temperature=1.0, max_new_tokens=config.max_new_tokens)
    plans = write_plans(engine, prompts, greedy)
    sampled = write_plans(engine, prompts, random, [row_seed(config.seed, item, "scout") for item, _, _ in chunk])
    lists = write_plans(engine, list_prompts, greedy)
    shard = f"states-{chunk[0][0].replace('/', '_').replace('#', '_')}.safetensors"
    with atomic_path(folder / shard) as temporary:
        save_file({"hidden_states": torch.cat(plans.hidden_states).to(dtype).contiguous()}, temporary)
    records, offset = [], 0
    for row, (item, _, _) in enumerate(chunk):
        length = len(plans.token_ids[row])
        records.append(
            {
                "item": item,
                "plan": plans.texts[row],
                "sampled_plan": sampled.texts[row],
                "list_plan": lists.texts[row],
                "shard": shard,
                "offset": offset,
                "length": length,
            }
        )
        offset += length
    return records
