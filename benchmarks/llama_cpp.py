"""The reference engine against llama.cpp and against `generate` of `transformers`: prefill, tokens, latent steps.

All three compute with the same weights: the benchmark writes them to a GGUF file for llama.cpp, in one number format.
Each side runs in its own process (`benchmarks.llama_cpp_play`), with the same number of threads, and reads the same
tokens. Needs the package llama-cpp-python (`pip install llama-cpp-python`, which compiles for some ten minutes).
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.processes import run_side
from benchmarks.records import comparison
from interlat.engine.hardware import choose_device, choose_dtype
from interlat.engine.hf import HFEngine
from interlat.errors import BenchmarkError
from interlat.tasks.sources import TaskSource

FORMATS = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""The number formats by the names of torch and of GGUF."""
PHASES = {"prefill": "tokens/s", "decode": "tokens/s", "answer": "tokens/s", "latent": "steps/s"}
OFFSET = 17
"""Shift between the texts of neighbouring sequences, in tokens."""


@dataclass(frozen=True)
class Effort:
    """What is measured."""

    model: str
    dtype: str
    batches: tuple[int, ...]
    prompt: int
    """Tokens that each sequence reads first."""
    steps: int
    rounds: int
    """Timed runs; the best counts."""


EFFORTS = {
    True: [Effort("smollm2-135m", "auto", (1, 8), prompt=64, steps=8, rounds=2)],
    False: [
        Effort("smollm2-135m", "float32", (1, 8, 32), prompt=128, steps=32, rounds=2),
        Effort("smollm2-135m", "auto", (1, 8, 32), prompt=128, steps=32, rounds=2),
        Effort("qwen2.5-coder-0.5b", "auto", (1, 8, 32), prompt=128, steps=32, rounds=2),
    ],
}


def run(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield our rates beside those of llama.cpp and of `transformers`, and how many of their tokens equal ours.

    Numbers a second count all sequences of a batch; ``answer`` is tokens over the time of reading and writing.

    Raises:
        BenchmarkError: the package is missing, or a side failed, such as without the model (`interlat models fetch`).
    """
    for package, install in (("llama_cpp", "llama-cpp-python"), ("gguf", "gguf")):
        if find_spec(package) is None:
            raise BenchmarkError(f"the package {package} is missing; run: pip install {install}")
    for effort in EFFORTS[quick]:
        with tempfile.TemporaryDirectory() as folder:
            yield from _measure(effort, Path(folder))


def _measure(effort: Effort, folder: Path) -> Iterator[dict[str, Any]]:
    from benchmarks.gguf_file import write_gguf

    device = choose_device("cpu")
    dtype = str(choose_dtype(effort.dtype, device)).removeprefix("torch.")
    engine = HFEngine.load(effort.model, dtype=dtype, device=device)
    file = write_gguf(folder / "model.gguf", engine.model, engine.tokenizer, FORMATS[dtype])
    text = engine.tokenizer("\n".join(task.text for task in TaskSource("arithmetic", count=100).load("solve").tasks))
    ids: list[int] = text["input_ids"]
    del engine
    places = {"ours": effort.model, "plain": effort.model, "llama.cpp": str(file)}
    for batch in effort.batches:
        rows = [ids[start : start + effort.prompt] for start in islice(range(0, len(ids), OFFSET), batch)]
        prompts = folder / "prompts.json"
        prompts.write_text(json.dumps(rows), encoding="utf-8")
        words = [dtype, str(prompts), str(effort.steps), str(effort.rounds)]
        found = {
            side: run_side("benchmarks.llama_cpp_play", [side, place, *words], side) for side, place in places.items()
        }
        ours = found.pop("ours")
        for side, theirs in found.items():
            case = f"{effort.model} {dtype} batch {batch} / {side}"
            for phase, unit in PHASES.items():
                if phase not in theirs:
                    continue
                yield comparison("llama-cpp", case, phase, unit, ours[phase], theirs[phase], larger_is_better=True)
            same = sum(
                mine == other
                for row, their_row in zip(ours["written"], theirs["written"], strict=True)
                for mine, other in zip(row, their_row, strict=True)
            )
            total = float(batch * effort.steps)
            yield comparison("llama-cpp", case, "equal_tokens", "tokens", float(same), total, larger_is_better=True)
