"""A team of a real model: words, latents and saved caches; its chain is one plain pass over all that it read."""

from pathlib import Path

import pytest
import torch

from interlat.engine.sampling import Sampling
from interlat.evaluation.team_settings import EvaluateTeams
from interlat.evaluation.teams import evaluate_teams, results_of
from interlat.messages import CacheMessage, load_message
from interlat.tasks.sources import TaskSource
from interlat.teams.runner import Teamwork
from interlat.teams.team import Member, Team
from interlat.teams.topologies import TeamOptions
from interlat.teams.turns import Question

STEPS = 3
LIMIT = 10
CHAIN = Team(
    (
        Member(name="planner", prompt="Make a plan: {question}", output="latents", latent_steps=STEPS),
        Member(
            name="critic",
            prompt="Check the plan for: {question}",
            inputs=("planner",),
            output="latents",
            latent_steps=STEPS,
        ),
        Member(
            name="judger",
            prompt="{question}\nAnswer.",
            inputs=("critic",),
            sampling=Sampling(max_new_tokens=LIMIT),
        ),
    )
)
QUESTIONS = ("What is 20 minus 5?", "Tom has 3 apples and buys 4 more. How many apples has he?")


def test_a_chain_is_one_plain_pass_over_all_that_it_read(scout, plain_sequence):
    runs = Teamwork(CHAIN, {"": scout}, keep_latents=True).run(Question(text, text) for text in QUESTIONS)
    for run in runs:
        text = run.question.text
        sequence = plain_sequence()
        for member in CHAIN.members[:-1]:
            sequence.read([("user", member.prompt.replace("{question}", text))])
            expected = sequence.think(STEPS)
            torch.testing.assert_close(run.latents[member.name], expected, rtol=1e-3, atol=1e-3)
        sequence.read([("user", f"{text}\nAnswer.")])
        assert run.turns["judger"].text == sequence.write(LIMIT)
        assert run.turns["judger"].prompt_tokens < sequence.inputs.shape[1]


@pytest.fixture(scope="module")
def config(place, questions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teams")
    return EvaluateTeams(
        model=place,
        output=str(folder / "run"),
        task=TaskSource("records", questions),
        variants=("single", "text", "latent", "no_transfer"),
        team=TeamOptions(latent_steps=STEPS, sampling=Sampling(max_new_tokens=LIMIT)),
        limit=2,
        dtype="float32",
        device="cpu",
        save_messages=str(folder / "messages"),
    )


def test_teams_of_words_and_of_latents_answer(config):
    assert list(evaluate_teams(config))[-1] == (8, 8)
    records = {(line["variant"], line["item"]): line for line in results_of(config).records}
    assert len(records) == 8 and not any(line["failure"] for line in records.values())
    for (variant, item), line in records.items():
        written = {"single": 1, "text": 4}.get(variant, 1)
        assert line["decoded_tokens"] <= written * LIMIT and line["reply"]
        assert line["latent_steps"] == (3 * STEPS if variant in ("latent", "no_transfer") else 0)
        assert (line["message_bytes"] > 0) == (variant in ("text", "latent")), item
    saved = sorted(path for path in (Path(config.save_messages) / "latent").rglob("*.safetensors"))
    assert len(saved) == 2 * 3 and all(isinstance(load_message(path), CacheMessage) for path in saved)
