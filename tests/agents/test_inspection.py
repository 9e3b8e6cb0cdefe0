import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from interlat.agents.agent import Agent
from interlat.agents.inspection import inspect
from interlat.agents.loading import load
from interlat.engine.sampling import Sampling
from interlat.errors import InputError, MessageError
from interlat.messages import HiddenMessage, TextMessage


@pytest.fixture(scope="module")
def scout(save_model: Callable[..., Path]) -> Agent:
    return load(save_model("scout"), dtype=torch.float32)


@pytest.fixture(scope="module")
def plan(scout: Agent) -> HiddenMessage:
    return scout.write("put the kettle on the stove", sampling=Sampling(max_new_tokens=70))


def test_the_first_candidate_of_a_row_is_what_was_said(scout: Agent, plan: HiddenMessage) -> None:
    inspection = inspect(plan, scout)
    assert inspection.same_model and inspection.text == plan.text
    assert [row.candidates[0].token_id for row in inspection.rows] == list(plan.token_ids)
    assert all(row.token == row.candidates[0].text for row in inspection.rows)
    assert [row.index for row in inspection.rows] == list(range(plan.latents))


def test_probabilities_entropy_and_norm_are_those_of_the_definition(scout: Agent, plan: HiddenMessage) -> None:
    head = scout.engine.model.get_output_embeddings().weight.double()
    for state, row in zip(plan.hidden_states.double(), inspect(plan, scout, top_k=3).rows, strict=True):
        scores = [sum(w * h for w, h in zip(weights, state.tolist(), strict=True)) for weights in head.tolist()]
        total = sum(math.exp(score - max(scores)) for score in scores)
        shares = [math.exp(score - max(scores)) / total for score in scores]
        best = sorted(shares, reverse=True)[:3]
        assert [candidate.probability for candidate in row.candidates] == pytest.approx(best, rel=1e-3, abs=1e-6)
        assert row.entropy == pytest.approx(-sum(p * math.log(p) for p in shares if p), rel=1e-3, abs=1e-4)
        assert row.norm == pytest.approx(math.sqrt(sum(h * h for h in state.tolist())), rel=1e-5)


def test_it_prints_as_a_table(scout: Agent) -> None:
    thought = scout.think("go", steps=3)
    inspection = inspect(thought, scout.engine, top_k=2)
    text = str(inspection)
    assert "3 latents under the head of" in text and "nearest tokens" in text
    console = Console(record=True, width=120)
    console.print(inspection)
    assert "entropy" in console.export_text()


def test_markup_in_tokens_is_shown_as_it_is(scout: Agent, plan: HiddenMessage) -> None:
    row = dataclasses.replace(inspect(plan, scout).rows[0], token="[/bold]\n")
    shown = str(dataclasses.replace(inspect(plan, scout), rows=(row,)))
    assert "[/bold]\\n" in shown


def test_another_model_is_named_as_such(scout: Agent, save_model: Callable[..., Path]) -> None:
    other = load(save_model("other", seed=5), dtype=torch.float32)
    inspection = inspect(scout.think("go", steps=2), other)
    assert not inspection.same_model
    assert "not the model that made the message" in " ".join(str(inspection).split())


def test_what_has_no_rows_for_this_head_is_refused(scout: Agent, plan: HiddenMessage) -> None:
    with pytest.raises(MessageError, match="a text message has no rows"):
        inspect(TextMessage("go"), scout)
    with pytest.raises(MessageError, match="size 8, but"):
        inspect(HiddenMessage(torch.zeros(2, 8)), scout)
    with pytest.raises(MessageError, match="layer -1, pre-norm"):
        inspect(dataclasses.replace(plan, header=dataclasses.replace(plan.header, norm="pre")), scout)
    with pytest.raises(InputError, match="top_k is 0"):
        inspect(plan, scout, top_k=0)
