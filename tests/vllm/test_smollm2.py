"""SmolLM2-135M-Instruct in vLLM and in the reference engine, and a household whose scout and actors it is."""

import pytest

from interlat.agents.agent import Agent
from interlat.collect.settings import CollectThoughts
from interlat.collect.thoughts import collect_thoughts
from interlat.engine.hf import HFEngine
from interlat.engine.options import Sampling
from interlat.engine.protocol import load_model
from interlat.engine.streaming import Request
from interlat.evaluation.evaluate import evaluate
from interlat.evaluation.settings import Evaluate
from interlat.experiments.household.author import MINI_ROOMS, author_games
from interlat.experiments.household.checkpoints import bundled
from interlat.experiments.household.collect_episodes import CollectEpisodes, collect_episodes
from interlat.progress import drain
from interlat.store.reading import LatentStore
from interlat.tasks.sources import TaskSource
from real.model import real_model
from real.prompts import CONVERSATIONS

TEXTS = [turns[-1][1] for turns in CONVERSATIONS.values()]


@pytest.fixture(scope="module")
def both():
    place = str(real_model())
    return load_model(place, "vllm", dtype="float32"), HFEngine.load(place, dtype="float32")


def test_replies_states_and_latents(both):
    limit, found = Sampling(max_new_tokens=24), []
    for engine in both:
        agent = Agent(engine)
        requests = [Request(str(number), agent.task_prompt(text)) for number, text in enumerate(TEXTS)]
        found.append({one.key: one for one in engine.stream(requests, limit, prompt_states=True)})
    for key, expected in found[1].items():
        assert found[0][key].token_ids == expected.token_ids and found[0][key].stopped == expected.stopped
        for rows in ("hidden_states", "prompt_states"):
            mine, theirs = getattr(found[0][key], rows), getattr(expected, rows)
            # States here are some 100 long: 1e-4 of a number would be less than float32 keeps in 30 layers.
            assert ((mine - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max() < 1e-4
    memories = [engine.prefill(TEXTS[:4]) for engine in both]
    thoughts = [
        engine.think(memory, 4, Agent(engine).identity)[1] for engine, memory in zip(both, memories, strict=True)
    ]
    apart = (thoughts[0] - thoughts[1]).norm(dim=-1) / thoughts[1].norm(dim=-1)
    assert apart.max() < 1e-3, apart


def test_the_household_is_played_alike(tmp_path):
    """The bundled scout and its actor that reads states: adapters on the model, one of ours beside."""
    games, episodes = tmp_path / "games", tmp_path / "episodes.jsonl"
    list(author_games(games, 6, "unseen", 0, MINI_ROOMS))
    drain(collect_episodes(CollectEpisodes(str(games), "unseen", str(episodes), draws=1, language="plain", play=False)))
    found = []
    for engine in ("hf", "vllm"):
        config = Evaluate(
            sender=bundled("alfworld-smollm2/scout"),
            receiver=bundled("alfworld-smollm2/latent"),
            environment="household",
            data=(str(episodes),),
            channels=("none", "hidden"),
            sender_sees="notes",
            limit=4,
            max_plan_tokens=80,
            dtype="float32",
            batch_size=4,
            engine=engine,
            output=str(tmp_path / engine),
            inspected=0,
        )
        found.append({(one["variant"], one["item"]): one["turns"] for one in evaluate(config).records})
    assert found[0] == found[1] and len(found[0]) == 8


def test_a_collection_of_the_real_model(tmp_path):
    plans = []
    for engine in ("hf", "vllm"):
        config = CollectThoughts(
            model=str(real_model()), source=TaskSource("arithmetic", count=6), output=str(tmp_path / engine),
            sampling=Sampling(max_new_tokens=16), dtype="float32", engine=engine,
        )  # fmt: skip
        drain(collect_thoughts(config))
        store = LatentStore.open(config.output)
        plans.append([store.entry(item).plan for item in store.ids])
    assert plans[0] == plans[1]
