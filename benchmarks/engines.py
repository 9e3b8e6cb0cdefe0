"""vLLM against the reference engine: collecting 200 answers, and latent steps. Needs an environment with vLLM.

Each engine runs in a process of its own (`benchmarks.engines_play`) and gets the same prompts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.processes import run_side
from benchmarks.records import comparison

MODEL = "smollm2-135m"


@dataclass(frozen=True)
class Effort:
    """How much is computed."""

    dtype: str
    prompts: int
    tokens: int
    """Most tokens of an answer."""
    latent_steps: int


EFFORTS = {
    True: [Effort("float32", 16, 16, 4)],
    False: [Effort("float32", 200, 64, 16), Effort("bfloat16", 200, 64, 16)],
}


def run(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield tokens and latent steps a second of both engines, and how many answers of vLLM are the reference's.

    Raises:
        BenchmarkError: a side failed, such as without vLLM or the model (`interlat models fetch smollm2-135m`).
    """
    for effort in EFFORTS[quick]:
        words = [MODEL, effort.dtype, *map(str, (effort.prompts, effort.tokens, effort.latent_steps))]
        ours, reference = (
            run_side("benchmarks.engines_play", [name, *words], f"the engine {name}") for name in ("vllm", "hf")
        )
        case = f"{MODEL} {effort.dtype}, {effort.prompts} prompts"
        for metric in ("tokens_per_second", "latent_steps_per_second"):
            yield comparison("engines", case, metric, "1/s", ours[metric], reference[metric], larger_is_better=True)
        equal = sum(mine == theirs for mine, theirs in zip(ours["written"], reference["written"], strict=True))
        yield comparison(
            "engines", case, "equal_answers", "answers", float(equal), float(effort.prompts), larger_is_better=True
        )
