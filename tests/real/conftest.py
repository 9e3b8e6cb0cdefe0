"""The real model, loaded once a process in float32, its copy in bfloat16, and questions for its stages."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

import interlat
from interlat.agents.agent import Agent
from interlat.engine.hf import HFEngine
from real.model import real_model

HERE = Path(__file__).parent
QUESTIONS = [
    ("Tom has 3 apples and buys 4 more. How many apples has he?", "7"),
    ("A box holds 6 eggs. How many eggs are in 2 boxes?", "12"),
    ("What is 20 minus 5?", "15"),
    ("Anna reads 10 pages a day. How many pages does she read in 3 days?", "30"),
    ("A bus has 8 seats and 5 are taken. How many are free?", "3"),
    ("What is 9 plus 9?", "18"),
    ("Two cats have how many legs together?", "8"),
    ("A cake is cut into 8 pieces and 2 are eaten. How many are left?", "6"),
]


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("real")


@pytest.fixture(scope="session")
def place() -> str:
    """The folder of SmolLM2-135M-Instruct. Tests fail, and do not skip, where it cannot be had."""
    try:
        return str(real_model())
    except FileNotFoundError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.fixture(scope="session")
def scout(place: str) -> Agent:
    """The model as an agent, in float32."""
    return interlat.load(place, dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def half(scout: Agent) -> HFEngine:
    """The same model in bfloat16."""
    model = copy.deepcopy(scout.engine.model).to(torch.bfloat16)
    return HFEngine.wrap(model, scout.engine.tokenizer, scout.engine.name)


@pytest.fixture(scope="session")
def ids_of(scout: Agent) -> Callable[..., list[int]]:
    """The tokens of turns under the chat template, by the tokenizer alone."""

    def ids(turns) -> list[int]:
        messages = [{"role": role, "content": text} for role, text in turns]
        text = scout.engine.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return scout.engine.tokenizer(text, add_special_tokens=False)["input_ids"]

    return ids


class PlainSequence:
    """One row of a model as a slow, obvious loop: every step is a pass over the whole sequence, without a cache."""

    def __init__(self, agent: Agent, ids_of: Callable[..., list[int]]) -> None:
        self.model, self.tokenizer, self.ids_of = agent.engine.model, agent.engine.tokenizer, ids_of
        self.table = self.model.get_input_embeddings().weight.detach()
        self.length = self.table.norm(dim=-1).mean()
        self.inputs = self.table.new_zeros(1, 0, self.table.shape[1])

    def add(self, rows: Float[Tensor, "T D"]) -> None:
        self.inputs = torch.cat([self.inputs, rows[None]], dim=1)

    def read(self, turns) -> None:
        self.add(self.table[self.ids_of(turns)])

    @torch.no_grad()
    def last(self):
        """Scores, and state after the final norm, at the last position."""
        output = self.model(inputs_embeds=self.inputs, use_cache=False, output_hidden_states=True)
        return output.logits[0, -1], output.hidden_states[-1][0, -1]

    def think(self, steps: int) -> Float[Tensor, "K D"]:
        """Latent steps along the identity with the mean norm of an embedding."""
        states = [self.last()[1]]
        for _ in range(steps):
            self.add((self.length * states[-1] / states[-1].norm())[None])
            states.append(self.last()[1])
        return torch.stack(states[1:])

    def write(self, limit: int) -> str:
        """Greedy words, until the turn ends."""
        ids: list[int] = []
        while len(ids) < limit:
            token = int(self.last()[0].argmax())
            if token == self.tokenizer.eos_token_id:
                break
            ids.append(token)
            self.add(self.table[[token]])
        return self.tokenizer.decode(ids, skip_special_tokens=True)


@pytest.fixture(scope="session")
def plain_sequence(scout: Agent, ids_of: Callable[..., list[int]]) -> Callable[[], PlainSequence]:
    return lambda: PlainSequence(scout, ids_of)


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a few easy sums."""
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    rows = [{"id": f"q{n}", "question": text, "answer": answer} for n, (text, answer) in enumerate(QUESTIONS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)
