import json

import pytest
import torch

from interlat.agents.loading import load
from interlat.cli.inspect import Inspect
from interlat.cli.main import execute
from interlat.errors import InputError
from interlat.messages import TextMessage, load_message


@pytest.fixture(scope="module")
def sender(pair):
    return load(pair["sender"], dtype=torch.float32)


@pytest.fixture(scope="module")
def saved(sender, tmp_path_factory):
    path = tmp_path_factory.mktemp("messages") / "plan.safetensors"
    sender.write("put the kettle on the stove", max_new_tokens=6).save(path)
    return path


def config(message, **changes):
    return Inspect(str(message), **{"dtype": "float32", **changes})


def test_a_hidden_message_is_shown_at_both_ends(saved, pair, capsys):
    assert execute(config(saved, receiver=str(pair["reader"]), text="A room.", json=True)) == 0
    printed = json.loads(capsys.readouterr().out)
    message = load_message(saved)
    assert (printed["kind"], printed["shape"]) == ("hidden", list(message.hidden_states.shape))
    assert [row["token"] for row in printed["inspection"]["rows"]] == [
        row["candidates"][0]["text"] for row in printed["inspection"]["rows"]
    ], "a greedy plan says what its states predict"
    rows = printed["reception"]["rows"]
    assert len(rows) == message.latents and all(len(row["nearest"]) == 3 for row in rows)
    assert 0 < sum(row["attention"] for row in rows) < 1
    assert execute(config(saved, receiver=str(pair["reader"]), text="A room.")) == 0
    shown = capsys.readouterr().out
    assert "latents under the head of" in shown and "of the attention where the reply begins" in shown


def test_the_sender_is_the_model_that_made_it(saved, pair, capsys):
    assert execute(config(saved, json=True)) == 0
    named = json.loads(capsys.readouterr().out)
    assert execute(config(saved, sender=str(pair["sender"]), json=True)) == 0
    assert json.loads(capsys.readouterr().out) == named
    assert named["inspection"]["same_model"] and "reception" not in named


def test_a_thought_of_a_store_is_found_by_its_key(make_store, pair, capsys):
    with pytest.raises(InputError, match="is no folder of a store; leave out item"):
        config(pair["sender"] / "config.json", item="t3").run()
    store = make_store()
    found = config(store, item="t3")._message()
    assert found.latents == 1 + 3 % 5
    assert config(store)._message().latents == 1, "the first"


def test_a_cache_is_shown_layer_by_layer(sender, tmp_path, capsys):
    from interlat.channels.protocol import SendOptions, channel_named

    options = SendOptions()
    channel = channel_named("cache:3")
    message = channel.message(channel.make(sender, ["kettle"], ["kettle"], options)[0], options)
    message.save(tmp_path / "cache.safetensors")
    assert execute(config(tmp_path / "cache.safetensors")) == 0
    shown = capsys.readouterr().out
    assert "segments:" in shown and "latents" in shown
    norms = message.keys[0].float().norm(dim=-1).transpose(1, 2)[message.attention_mask].mean()
    assert f"{norms.item():.2f}" in shown
    assert shown.count("\n") >= 6 + len(message.keys)
    with pytest.raises(InputError, match="is a cache message, which no model has to read"):
        config(tmp_path / "cache.safetensors", receiver="x").run()


def test_words_are_shown_as_they_are(tmp_path, capsys):
    TextMessage("go [bold]left").save(tmp_path / "text.safetensors")
    assert execute(config(tmp_path / "text.safetensors")) == 0
    assert "text: go [bold]left" in capsys.readouterr().out


def test_a_connector_beside_an_adapter_is_refused(saved, pair):
    with pytest.raises(InputError, match="has an adapter of its own; leave out connector"):
        config(saved, receiver=str(pair["reader"]), connector="vocabulary").run()


def test_bad_settings_are_named():
    with pytest.raises(InputError, match="connector is 'vocabulary', but there is no receiver"):
        Inspect("m", connector="vocabulary")
    with pytest.raises(InputError, match="top_k is 0"):
        Inspect("m", top_k=0)
