"""Collecting states against the published way: `generate` on one prompt at a time with all hidden states kept.

Each side runs in a process of its own (`benchmarks.collect_play`), both write the same tokens, greedily; ours also
writes its states to the disk meanwhile.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.processes import run_side
from benchmarks.records import comparison
from interlat.errors import BenchmarkError


@dataclass(frozen=True)
class Effort:
    """How much is written."""

    model: str
    """tiny or 0.5B, random weights in the shape of Qwen2."""
    batch_size: int
    prompts: int
    tokens: int
    """Most tokens of an answer."""


EFFORTS = {
    True: [Effort("tiny", 16, 48, 64)],
    False: [Effort("tiny", 16, 256, 128), Effort("tiny", 64, 256, 128), Effort("0.5B", 8, 16, 24)],
}


def run(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield tokens a second and peak memory (above the loaded model) of each case.

    Raises:
        BenchmarkError: a side failed, or the two wrote different tokens.
    """
    for effort in EFFORTS[quick]:
        ours, plain = (_play(kind, effort) for kind in ("ours", "plain"))
        case = f"{effort.model} batch {effort.batch_size}"
        if ours["digest"] != plain["digest"]:
            raise BenchmarkError(f"{case}: the two sides wrote different tokens; report this")
        rates = (side["tokens"] / side["seconds"] for side in (ours, plain))
        yield comparison("collect", case, "tokens_per_second", "tokens/s", *rates, larger_is_better=True)
        memory = (side["memory"] for side in (ours, plain))
        yield comparison("collect", case, "peak_memory", "bytes", *memory, larger_is_better=False)


def _play(kind: str, effort: Effort) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        numbers = [str(number) for number in (effort.prompts, effort.tokens, effort.batch_size)]
        return run_side("benchmarks.collect_play", [kind, effort.model, *numbers, folder], f"the {kind} side")
