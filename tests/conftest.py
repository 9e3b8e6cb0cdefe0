import dataclasses
from pathlib import Path

import pytest

pytest_plugins = (
    "chat_server",
    "disk_fixtures",
    "game_fixtures",
    "hub_server",
    "model_fixtures",
    "pair_fixtures",
    "record_fixtures",
)


CORE = (
    "agents/test_agent.py",
    "channels/",
    "connectors/test_base.py",
    "controls/test_messages.py",
    "engine/test_cache.py",
    "engine/test_decoding.py",
    "engine/test_protocol.py",
    "environments/test_question.py",
    "evaluation/test_evaluate.py",
    "evaluation/test_run.py",
    "test_config.py",
    "test_messages.py",
    "test_registry.py",
    "test_results.py",
)
"""The tests of `pytest -m core`: what a message is, how it is made, sent, read and evaluated; about a minute."""


def pytest_collection_modifyitems(items):
    root = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(root) and item.path.relative_to(root).as_posix().startswith(CORE):
            item.add_marker("core")


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A whole experiment at the smallest scale: games, episodes, tokenizer, scout, thoughts, actors."""

    root: Path
    episodes: Path
    held_out: Path
    scout: Path
    thoughts: Path
    actors: dict[str, Path]


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    from interlat.collect.thoughts import CollectThoughts, collect_thoughts
    from interlat.engine.sampling import Sampling
    from interlat.experiments.household.author import MINI_ROOMS, author_games
    from interlat.experiments.household.collect_episodes import CollectEpisodes, collect_episodes
    from interlat.experiments.household.episodes import read_episodes, texts_of
    from interlat.experiments.household.train_scout import TrainScout, train_scout
    from interlat.experiments.tokenizer import train_tokenizer
    from interlat.tasks.sources import TaskSource
    from interlat.training.actor import train_actor
    from interlat.training.options import Schedule, SmallModel
    from interlat.training.settings import TrainActor

    root = tmp_path_factory.mktemp("pipeline")
    for split, count in (("train", 8), ("seen", 4)):
        list(author_games(root / "games", count, split, 0, MINI_ROOMS))
    episodes, held_out = root / "train.jsonl", root / "seen.jsonl"
    list(collect_episodes(CollectEpisodes(str(root / "games"), "train", str(episodes), draws=2)))
    list(collect_episodes(CollectEpisodes(str(root / "games"), "seen", str(held_out), draws=1, play=False)))
    texts = texts_of([*read_episodes(episodes), *read_episodes(held_out)])
    train_tokenizer(texts, 1500, ("<bop>", "<eop>")).save_pretrained(root / "tokenizer")
    shape = SmallModel(hidden_size=16, layers=1, heads=2, intermediate_size=16)
    schedule = Schedule(steps=2, batch_size=4)
    common = {"tokenizer": str(root / "tokenizer"), "model": shape, "schedule": schedule}
    list(train_scout(TrainScout(str(episodes), str(held_out), output=str(root / "scout"), **common)))
    scout, thoughts = root / "scout" / "model", root / "thoughts"
    source, short = TaskSource("alfworld", str(episodes)), Sampling(max_new_tokens=12)
    list(collect_thoughts(CollectThoughts(str(scout), source, str(thoughts), sampling=short, batch_size=6)))
    actors = {}
    for kind in ("none", "text", "latent"):
        output = root / kind
        config = TrainActor(
            str(output), None, kind, thoughts=(str(thoughts),), adapter_heads=2, validation_share=0.2, **common
        )
        list(train_actor(config))
        actors[kind] = output / "model"
    return Pipeline(root, episodes, held_out, scout, thoughts, actors)


@pytest.fixture(scope="session")
def short(pipeline, tmp_path_factory):
    """A compressed sender and a resampler for the latent actor of the pipeline, hardly trained."""
    from interlat.training.compression import compress
    from interlat.training.options import Schedule
    from interlat.training.settings import Compress

    folder = tmp_path_factory.mktemp("short")
    schedule = Schedule(steps=2, batch_size=4, warmup_steps=1)
    common = {"receiver": str(pipeline.actors["latent"]), "thoughts": str(pipeline.thoughts), "schedule": schedule}
    for method, sender in (("reasoner", str(pipeline.scout)), ("resampler", "")):
        list(compress(Compress(output=str(folder / method), method=method, sender=sender, latent_steps=(3,), **common)))
    return {"compressed": str(folder / "reasoner" / "model"), "resampler": str(folder / "resampler" / "model")}
