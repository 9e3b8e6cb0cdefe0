"""Lets a random team work on random questions and prints what that took: `python -m benchmarks team` runs it.

``python -m benchmarks.team_play ours|shared|rows|batch QUESTIONS PROMPT QUESTION WRITTEN SIZE LAYERS VOCABULARY
STEPS MEMBERS``.
"""

import itertools
import json
import sys
import time
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, Qwen3Config, Qwen3ForCausalLM

from benchmarks.engine import bare_tokenizer
from benchmarks.processes import die_first, forget_peak_memory, peak_memory
from benchmarks.team import BATCH, Shape
from interlat.connectors.identity import NormMatchedIdentity
from interlat.engine.hardware import choose_device
from interlat.engine.hf import Engine
from interlat.engine.prompt import Prompt, Tokens
from interlat.engine.sampling import Sampling
from interlat.teams.prompts import TeamPrompts
from interlat.teams.runner import Teamwork
from interlat.teams.team import Member, Team
from interlat.teams.turns import Question, TeamRun

MEGABYTE = 1e6


def random_model(shape: Shape, device: torch.device) -> Any:
    """A random model shaped like Qwen3, the same in every process.

    Its embeddings are not tied: with random tied ones every model repeats its last token, whatever it was asked.
    """
    torch.manual_seed(0)
    size = shape.hidden_size
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=size,
        intermediate_size=3 * size,
        num_hidden_layers=shape.layers,
        num_attention_heads=size // 64,
        num_key_value_heads=size // 128,
        head_dim=64,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )
    model: Any = Qwen3ForCausalLM(config)
    return model.to(device).eval()


def prompts_of(shape: Shape) -> list[list[list[int]]]:
    """For each question the token ids that each member reads; they begin with the question."""
    generator = torch.Generator().manual_seed(1)

    def ids(count: int) -> list[int]:
        return torch.randint(2, shape.vocabulary, (count,), generator=generator).tolist()

    roles = [ids(shape.prompt - shape.question) for _ in range(shape.members)]
    return [
        [[*question, *role] for role in roles] for question in (ids(shape.question) for _ in range(shape.questions))
    ]


class RandomPrompts(TeamPrompts):
    """Prompts that are given in tokens."""

    def __init__(self, team: Team, tokens: list[list[list[int]]]) -> None:
        super().__init__(team, {})
        self.tokens = tokens

    def prompt(self, member: Member, run: TeamRun) -> Prompt:
        # Before the first question the team tries a prompt, with a question that has no key.
        return [Tokens(tuple(self.tokens[int(run.question.key or 0)][self.team.members.index(member)]))]

    def common_beginning(self, question: Question) -> tuple[int, ...]:
        prompts = self.tokens[int(question.key)]
        same = itertools.takewhile(lambda ids: len(set(ids)) == 1, zip(*prompts, strict=True))
        # One token less, as in other teams.
        return tuple(ids[0] for ids in same)[:-1]


class RandomTeamwork(Teamwork):
    """A team whose prompts are given in tokens."""

    def __init__(self, engine: Engine, shape: Shape, share_question: bool) -> None:
        names = [f"member {number}" for number in range(shape.members)]
        *thinkers, last = names
        before = [(), *((name,) for name in names)]
        members = [
            Member(name, name, inputs, "latents", latent_steps=shape.latent_steps)
            for name, inputs in zip(thinkers, before, strict=False)
        ]
        sampling = Sampling(max_new_tokens=shape.written)
        final_agent = Member(last, last, (thinkers[-1],), sampling=sampling)
        align = NormMatchedIdentity.of_embeddings(engine.input_embeddings)
        team = Team((*members, final_agent))
        self.random_prompts = RandomPrompts(team, prompts_of(shape))
        super().__init__(team, {"": engine}, {"": align}, batch_size=BATCH, share_question=share_question)
        self.prompts = self.random_prompts

    def prompt(self, member: Member, run: TeamRun) -> Prompt:
        return self.random_prompts.prompt(member, run)

    def _opened_thought(self, member: Member) -> str:
        return ""


def plain_team(model: Any, shape: Shape, prompts: list[list[list[int]]]) -> list[list[int]]:
    """The tokens that the last member writes for some questions of equal length, one batch."""
    table = model.get_input_embeddings()
    norm = table.weight.norm(dim=-1).mean()
    cache = DynamicCache(config=model.config)
    written: list[Tensor] = []
    for place in range(shape.members):
        ids = torch.tensor([prompt[place] for prompt in prompts], device=table.weight.device)
        output = model(input_ids=ids, past_key_values=cache, use_cache=True, output_hidden_states=True)
        if place < shape.members - 1:
            for _ in range(shape.latent_steps):
                state = output.hidden_states[-1][:, -1:]
                embedding = norm * state / state.norm(dim=-1, keepdim=True)
                output = model(
                    inputs_embeds=embedding, past_key_values=cache, use_cache=True, output_hidden_states=True
                )
        while place == shape.members - 1 and len(written) < shape.written:
            written.append(output.logits[:, -1].argmax(dim=-1))
            output = model(
                input_ids=written[-1][:, None], past_key_values=cache, use_cache=True, output_hidden_states=True
            )
    return torch.stack(written, dim=1).tolist()


@torch.no_grad()
def play(side: str, shape: Shape) -> dict[str, Any]:
    """Questions a second, the peak memory above the model's, and the tokens of every question, in order."""
    device = choose_device("auto")
    model, prompts = random_model(shape, device), prompts_of(shape)
    teamwork = None
    if side in ("ours", "shared"):
        teamwork = RandomTeamwork(Engine.wrap(model, bare_tokenizer()), shape, side == "shared")
    else:
        # What the engine checks when it wraps a model also warms up.
        model(input_ids=torch.zeros(1, 4, dtype=torch.long, device=device))
    forget_peak_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = _memory(device, now=True)
    began = time.perf_counter()
    tokens: list[list[int]]
    if teamwork is not None:
        done = {
            int(work.question.key): list(work.turns[teamwork.team.final_agent.name].token_ids)
            for work in teamwork.run(Question(str(number), str(number)) for number in range(shape.questions))
        }
        tokens = [done[number] for number in range(shape.questions)]
    elif side == "rows":
        tokens = [plain_team(model, shape, [prompt])[0] for prompt in prompts]
    else:
        batches = [prompts[start : start + BATCH] for start in range(0, len(prompts), BATCH)]
        tokens = [row for batch in batches for row in plain_team(model, shape, batch)]
    seconds = time.perf_counter() - began
    peak = (_memory(device) - before) / MEGABYTE
    return {"items_per_second": shape.questions / seconds, "peak_memory": peak, "tokens": tokens}


def _memory(device: torch.device, now: bool = False) -> int:
    if device.type == "cuda":
        return torch.cuda.memory_allocated() if now else torch.cuda.max_memory_allocated()
    return peak_memory()


if __name__ == "__main__":
    side, *numbers = sys.argv[1:]
    if side == "batch":
        die_first()
    print(json.dumps(play(side, Shape(*map(int, numbers)))))
