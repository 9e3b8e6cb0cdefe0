import json

import pytest
import torch
from safetensors.torch import load_file

from interlat.agents.episodes import read_episodes
from interlat.agents.household import scout_prompt
from interlat.collect.thoughts import CollectThoughts, collect_thoughts
from interlat.engine.sampling import Sampling
from interlat.engine.transformers import Engine
from interlat.errors import InputError
from interlat.files import read_lines


def states(folder):
    return {
        record["item"]: load_file(folder / record["shard"])["hidden_states"][record["offset"] :][: record["length"]]
        for record in read_lines(folder / "thoughts.jsonl")
    }


def test_a_killed_run_goes_on_and_gives_the_same_thoughts(pipeline, tmp_path):
    scout, episodes = str(pipeline.scout), str(pipeline.episodes)
    config = CollectThoughts(scout, episodes, str(tmp_path), batch_size=5, max_new_tokens=12)
    for done, _ in collect_thoughts(config):
        if done:
            break
    list(collect_thoughts(config))
    texts = ("item", "plan", "sampled_plan", "list_plan")
    fields = lambda folder: sorted(tuple(r[t] for t in texts) for r in read_lines(folder / "thoughts.jsonl"))  # noqa: E731
    assert fields(tmp_path) == fields(pipeline.thoughts)
    one, other = states(tmp_path), states(pipeline.thoughts)
    assert all(torch.allclose(one[item].float(), other[item].float(), atol=2e-2) for item in one)


def test_states_are_those_that_predicted_the_plan(pipeline):
    """The head on row t gives plan token t: checked on a fresh greedy run, one prompt at a time."""
    engine = Engine.load(str(pipeline.scout), dtype="float32")
    stored = states(pipeline.thoughts)
    record = next(r for r in read_episodes(pipeline.episodes) if r["episodes"])
    episode = record["episodes"][0]
    prompt = engine.chat.opening([("user", scout_prompt(record["opening"], episode["evidence"]))])
    decoded = engine.decode(engine.prefill([prompt]), Sampling(max_new_tokens=12), keep_hidden_states=True)
    rows = stored[f"{record['item']}#{episode['draw']}"]
    assert torch.allclose(rows.float(), decoded.hidden_states[0].bfloat16().float(), atol=2e-2)
    assert engine.logits(decoded.hidden_states[0]).argmax(dim=-1).tolist() == decoded.token_ids[0]


def test_the_sender_is_named_with_its_fingerprints(pipeline):
    sender = json.loads((pipeline.thoughts / "sender.json").read_text())
    assert sender["weights_fingerprint"] == Engine.load(str(pipeline.scout)).weights_fingerprint


def test_an_unknown_number_format_is_refused(pipeline, tmp_path):
    config = CollectThoughts(str(pipeline.scout), str(pipeline.episodes), str(tmp_path), dtype="int8")
    with pytest.raises(InputError, match="bfloat16"):
        list(collect_thoughts(config))
