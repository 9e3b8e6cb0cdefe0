"""Every stage gives with vLLM what it gives with the reference engine."""

import dataclasses

import pytest
import torch

from interlat.agents.settings import AgentSettings
from interlat.collect.settings import CollectThoughts
from interlat.collect.thoughts import collect_thoughts
from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.engine.hf import HFEngine
from interlat.engine.options import Sampling
from interlat.errors import InputError, MessageError
from interlat.evaluation.evaluate import evaluate
from interlat.evaluation.settings import Evaluate
from interlat.evaluation.team_settings import EvaluateTeams
from interlat.evaluation.teams import evaluate_teams, results_of
from interlat.progress import drain
from interlat.store.reading import LatentStore
from interlat.tasks.sources import TaskSource
from interlat.teams.topologies import TeamOptions

ENGINES = ("hf", "vllm", "hybrid")


@pytest.fixture(scope="session")
def reader(save_wide, wide):
    """A receiver of another architecture with an adapter for the states of ``wide``."""
    place = save_wide("llama", tied=False, max_position_embeddings=4096)
    sender = HFEngine.load(wide, dtype="float32")
    torch.manual_seed(2)
    adapter = CommunicationAdapter(
        AdapterConfig(
            source_size=128,
            target_size=128,
            heads=4,
            sender="sender",
            sender_fingerprints=(sender.weights_fingerprint,),
            sender_tokenizer_fingerprint=sender.tokenizer_fingerprint,
        )
    )
    adapter.calibrate(1.0, torch.randn(2, 5, 128))
    adapter.save(place)
    AgentSettings(role="reader", message_kind="hidden").save(place)
    return place


@pytest.mark.parametrize("samples", [1, 2])
def test_collected_thoughts_are_the_same(wide, tmp_path, samples):
    stores = []
    for engine in ENGINES[:2]:
        config = CollectThoughts(
            model=wide,
            source=TaskSource("arithmetic", count=12),
            output=str(tmp_path / engine),
            sampling=Sampling(temperature=0.0 if samples == 1 else 1.0, max_new_tokens=10),
            samples=samples,
            prompt_states=True,
            dtype="float32",
            batch_size=5,
            engine=engine,
        )
        drain(collect_thoughts(config))
        stores.append(LatentStore.open(config.output))
    ours, reference = stores[1], stores[0]
    assert ours.ids == reference.ids and len(ours.ids) == 12 * samples
    assert ours.manifest.weights_fingerprint == reference.manifest.weights_fingerprint
    assert ours.manifest.settings["engine"] == "vllm" and "engine" not in reference.manifest.settings
    for item in ours.ids:
        assert ours.entry(item).plan == reference.entry(item).plan
        for rows in ("hidden_states", "prompt_states"):
            torch.testing.assert_close(getattr(ours, rows)(item), getattr(reference, rows)(item), atol=1e-4, rtol=1e-4)


def played(record):
    """What a record says beside its costs."""
    return {name: value for name, value in record.items() if name not in ("seconds", "forward_passes", "agents")}


def test_evaluations_are_the_same(wide, reader, tmp_path):
    found = {}
    for engine in ENGINES[:2]:
        config = Evaluate(
            sender=wide,
            receiver=reader,
            environment="arithmetic",
            count=8,
            channels=("none", "text", "hidden", "thought:3"),
            controls=("cross_task", "zeros", "gaussian"),
            max_plan_tokens=8,
            max_new_tokens=8,
            dtype="float32",
            batch_size=3,
            engine=engine,
            output=str(tmp_path / engine),
        )
        records = evaluate(config).records
        found[engine] = {(line["variant"], line["item"]): played(line) for line in records}
    assert len(found["hf"]) == 8 * 11
    for key, line in found["hf"].items():
        mine = found["vllm"][key]
        assert {name for name in line if line[name] != mine.get(name)} <= {"config_hash", "peak_memory_bytes"}, key


def test_a_receiver_goes_on_in_conversations(wide, tmp_path):
    """Games: several turns, and conversations that end at different times."""
    found = []
    for engine in ENGINES[:2]:
        config = Evaluate(
            sender=wide,
            receiver=wide,
            environment="textcraft",
            data=("bundled",),
            limit=3,
            channels=("none", "text"),
            max_plan_tokens=6,
            max_new_tokens=6,
            dtype="float32",
            batch_size=2,
            engine=engine,
            output=str(tmp_path / engine),
        )
        found.append({(one["variant"], one["item"]): one["turns"] for one in evaluate(config).records})
    assert found[0] == found[1] and len(found[0]) == 6


@pytest.mark.parametrize("layout", ["chained", "conversation"])
def test_teams_give_the_same_answers(wide, tmp_path, layout):
    """Planner, critic, refiner and judger: alone, in words, in latent thoughts, and over the cache of words."""
    variants = ("single", "text", "latent", *(["text_cache"] if layout == "conversation" else []))
    found = {}
    for engine in ENGINES:
        config = EvaluateTeams(
            model=wide,
            output=str(tmp_path / engine),
            task=TaskSource("arithmetic", count=4),
            variants=variants,
            team=TeamOptions(latent_steps=4, layout=layout, sampling=Sampling(max_new_tokens=8)),
            batch_size=3,
            dtype="float32",
            engine=engine,
        )
        drain(evaluate_teams(config))
        found[engine] = {
            (line["variant"], line["item"]): (line["reply"], {n: a["text"] for n, a in line["agents"].items()})
            for line in results_of(config).records
        }
    assert len(found["hf"]) == 4 * len(variants)
    assert found["vllm"] == found["hf"] and found["hybrid"] == found["hf"]


def test_what_a_stage_cannot_do_with_it_is_refused(wide, tmp_path):
    pair = Evaluate(
        sender=wide, receiver=wide, environment="secret", count=2, channels=("cache",), dtype="float32",
        engine="vllm", output=str(tmp_path / "pair"), max_plan_tokens=4,
    )  # fmt: skip
    with pytest.raises(MessageError, match="gives and takes no caches"):
        evaluate(pair)
    team = EvaluateTeams(
        model=wide, output=str(tmp_path / "team"), task=TaskSource("arithmetic", count=2), variants=("latent",),
        team=TeamOptions(latent_steps=2, int8=True), dtype="float32", engine="vllm",
    )  # fmt: skip
    with pytest.raises(MessageError, match="gives and takes no caches"):
        drain(evaluate_teams(team))
    with pytest.raises(MessageError, match="gives and takes no caches"):
        drain(evaluate_teams(dataclasses.replace(
            team, team=TeamOptions(latent_steps=2), save_messages=str(tmp_path / "saved"), output=str(tmp_path / "b")
        )))  # fmt: skip
    store = CollectThoughts(
        model=wide, source=TaskSource("arithmetic", count=2), output=str(tmp_path / "store"), layers=(1, -1),
        dtype="float32", engine="vllm",
    )  # fmt: skip
    with pytest.raises(InputError, match="only the states of the last layer"):
        drain(collect_thoughts(store))
