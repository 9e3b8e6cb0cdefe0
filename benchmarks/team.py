"""A team that thinks, against the plain loop over its members that one writes with `transformers` alone.

Each side runs in a process of its own (`benchmarks.team_play`) on the same random model and questions. The
reference calls the whole model for every prompt, latent step and token, with all hidden states and the logits of all
positions, as the released code of LatentMAS does: question by question for the speed, since that gives right answers,
and as one batch for the memory. The questions of the batch are equally long, so that the plain batch is right too. All
sides must write the same tokens.
"""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

from benchmarks.processes import run_side
from benchmarks.records import comparison
from interlat.errors import BenchmarkError

SIDES = ("ours", "shared", "rows", "batch")


@dataclass(frozen=True)
class Shape:
    """How large a team's work is."""

    questions: int
    """Questions; ours has 8 of them under way at once."""
    prompt: int
    """Tokens of a member's prompt."""
    question: int
    """How many of them are the question, with which every prompt begins."""
    written: int
    """Tokens that the last member writes."""
    hidden_size: int
    """D of the model, which is shaped like Qwen3."""
    layers: int
    vocabulary: int
    latent_steps: int = 10
    members: int = 4
    """Agents, the one that writes among them."""

    def __str__(self) -> str:
        return (
            f"latent {self.members} agents, {self.latent_steps} steps, batch 8: {self.questions} questions, prompts of "
            f"{self.prompt}, {self.written} tokens, {self.layers} layers of {self.hidden_size}, vocabulary "
            f"{self.vocabulary:,}"
        )


SHAPES = {
    True: Shape(8, 64, 40, 8, 256, 4, 32_768),
    False: Shape(16, 192, 128, 64, 1024, 28, 151_936),
}
BATCH = 8


def run(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield four records: questions a second against question by question, without and with a shared question, and the
    peak memory of both against the plain batch.

    Raises:
        BenchmarkError: a side failed, or wrote other tokens.
    """
    shape = SHAPES[quick]
    numbers = [str(number) for number in astuple(shape)]
    found = {side: run_side("benchmarks.team_play", [side, *numbers], side) for side in SIDES}
    check_tokens(found)
    cases = {"ours": str(shape), "shared": f"{shape}; the question read once"}
    for side, case in cases.items():
        speed = found[side]["items_per_second"]
        reference = found["rows"]["items_per_second"]
        yield comparison("team", case, "items_per_second", "1/s", speed, reference, larger_is_better=True)
    for side, case in cases.items():
        memory = found[side]["peak_memory"]
        reference = found["batch"]["peak_memory"]
        yield comparison("team", case, "peak_memory", "MB", memory, reference, larger_is_better=False)


def check_tokens(found: dict[str, dict[str, Any]]) -> None:
    """Compare what the sides wrote; a shared question is another layout and compared in length only.

    Raises:
        BenchmarkError: they differ.
    """
    for side in ("rows", "batch"):
        if found[side]["tokens"] != found["ours"]["tokens"]:
            raise BenchmarkError(f"the {side} side of the plain loop wrote other tokens than ours; report this")
    lengths = [[len(tokens) for tokens in found[side]["tokens"]] for side in ("ours", "shared")]
    if lengths[0] != lengths[1]:
        raise BenchmarkError("with a shared question other numbers of tokens were written; report this")
