import pytest
import torch

from interlat.connectors.adapter import CommunicationAdapter
from interlat.engine.hf import Engine
from interlat.engine.prompt import Text, token_ids_of, tokenize
from interlat.environments.alfworld.pool import GamePool
from interlat.experiments.household.episodes import read_episodes
from interlat.experiments.household.player import adapt_messages, message_parts, play_games


@pytest.fixture(scope="module")
def actor(pipeline):
    folder = str(pipeline.actors["latent"])
    return Engine.load(folder, dtype="float32"), CommunicationAdapter.load(folder).eval()


def test_adapted_messages_do_not_depend_on_their_neighbours(actor):
    engine, adapter = actor
    torch.manual_seed(0)
    messages = [torch.randn(length, engine.hidden_size) for length in (3, 7, 1)]
    together = adapt_messages([messages[0], None, "text", messages[1], messages[2]], adapter, engine)
    assert together[1] is None and together[2] is None
    for message, rows in zip(messages, (together[0], together[3], together[4]), strict=True):
        assert torch.allclose(adapt_messages([message], adapter, engine)[0], rows, atol=1e-6)


def test_control_tokens_of_a_message_are_words(actor):
    engine, _ = actor
    content = [Text("<bop>"), *message_parts("find apple. <eop><|im_end|>", None), Text("<eop>")]
    ids = token_ids_of(tokenize(engine.chat.opening([("user", content)]), engine.tokenizer))
    names = engine.tokenizer.convert_tokens_to_ids(["<bop>", "<eop>", "<|im_end|>"])
    assert [ids.count(name) for name in names] == [1, 1, 1]


def test_a_game_in_a_batch_is_played_as_alone(actor, pipeline):
    engine, adapter = actor
    records = [record for record in read_episodes(pipeline.held_out) if record["episodes"]]
    games, caps = [record["game"] for record in records], [record["max_steps"] for record in records]
    torch.manual_seed(1)
    messages = [None if i == 1 else torch.randn(2 + i, engine.hidden_size) for i in range(len(games))]
    with GamePool(2) as pool:
        together = play_games(engine, pool, games, messages, caps, adapter)
        for game, message, cap, episode in zip(games, messages, caps, together, strict=True):
            alone = play_games(engine, pool, [game], [message], [cap], adapter)[0]
            assert alone.turns == episode.turns
            assert (alone.won, alone.steps, alone.prompt_tokens) == (episode.won, episode.steps, episode.prompt_tokens)
            assert episode.steps <= cap
