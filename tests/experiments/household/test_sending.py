import dataclasses

import pytest
import torch

import interlat
from interlat.agents.settings import AgentSettings
from interlat.connectors.resampler import Resampler
from interlat.errors import InputError
from interlat.experiments.household.episodes import read_episodes
from interlat.experiments.household.prompts import scout_prompt
from interlat.experiments.household.sending import Sender, check_variants, rows_of, size_in_bytes


def test_short_messages_are_what_their_makers_give(pipeline, short):
    """The rows against the makers asked directly."""
    records = [record for record in read_episodes(pipeline.held_out) if record["episodes"]]
    sender = Sender(str(pipeline.scout), records, batch_size=2, max_plan_tokens=8, **short)
    by_variant = {v: sender.messages(v, records) for v in ("latent", "compressed:3", "rollout:3", "resampled:2")}
    scout, student = interlat.load(pipeline.scout, dtype="float32"), interlat.load(short["compressed"], dtype="float32")
    resampler = Resampler.load(short["resampler"])
    for place, record in enumerate(records):
        text = scout_prompt(record["opening"], record["episodes"][0]["evidence"], "plan")
        rolled = dataclasses.replace(scout, settings=AgentSettings(prompt_template="{text}")).think(text, steps=3)
        full = by_variant["latent"][0][place].float()
        summed = resampler(full[None], torch.ones(1, len(full), dtype=torch.bool), 2)[0]
        for variant, expected in (
            ("compressed:3", student.think(text, steps=3).hidden_states),
            ("rollout:3", rolled.hidden_states),
            ("resampled:2", summed),
        ):
            found = by_variant[variant][0][place]
            assert found.dtype == torch.bfloat16
            torch.testing.assert_close(found.float(), expected.bfloat16().float(), atol=0.05, rtol=0.02)
        # K latents take one pass over the prompt and K - 1 steps, untrained ones one more.
        assert by_variant["compressed:3"][1][place].passes == 3 and by_variant["rollout:3"][1][place].passes == 4


def test_everything_is_made_once(pipeline, short, monkeypatch):
    """A plan serves the text, the states, the controls and the resampler; each length of a thought is its own."""
    records = [record for record in read_episodes(pipeline.held_out) if record["episodes"]]
    sender = Sender(str(pipeline.scout), records, max_plan_tokens=8, **short)
    made = []
    monkeypatch.setattr(
        sender, "_make", lambda style, batch, make=sender._make: made.append(style) or make(style, batch)
    )
    for variant in ("text", "latent", "latent_told", "zeros", "first_rows:2", "cross_task", "resampled:2", "latent"):
        sender.messages(variant, records)
    assert sorted(made) == ["plan", "resampled:2"]
    for variant in ("rollout:2", "rollout:3", "rollout:2"):
        sender.messages(variant, records)
    assert sorted(made) == ["plan", "resampled:2", "rollout:2", "rollout:3"]


def test_words_come_without_thoughts_and_the_record_with_them(pipeline, monkeypatch):
    records = [record for record in read_episodes(pipeline.held_out) if record["episodes"]][:1]
    monkeypatch.setattr("interlat.engine.decoding.text_of", lambda ids, tokenizer: "the shelf?</think>\nfind apple")
    sender = Sender(str(pipeline.scout), records, max_plan_tokens=4)
    for variant in ("text", "text_sampled", "list", "latent_told"):
        [message], [sent] = sender.messages(variant, records)
        assert (message, sent.plan) == ("find apple", "the shelf?</think>\nfind apple"), variant


def test_short_variants_and_their_lengths():
    assert [rows_of(v) for v in ("compressed:8", "resampled:1", "rollout:128")] == [8, 1, 128]
    assert [rows_of(v) for v in ("latent", "first_rows:8", "compressed", "compressed:0", "compressed:-1")] == [0] * 5
    check_variants(["none", "compressed:8", "first_rows:8", "int8"])
    with pytest.raises(InputError, match="no variants"):
        check_variants([])


def test_bytes_are_those_on_the_wire():
    rows = torch.zeros(5, 16, dtype=torch.bfloat16)
    assert [size_in_bytes(m) for m in (None, "", "\u00e9s", rows)] == [0, 0, 3, 160]
    assert size_in_bytes(rows, "int8") == 5 * 16 + 5 * 4
