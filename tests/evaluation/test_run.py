"""One evaluation of any pair in any environment, against each episode played alone."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import pytest
import torch

from interlat.agents.loading import load
from interlat.channels.protocol import SendOptions, channel_named
from interlat.controls.cross_task import cross_task_partners
from interlat.controls.messages import controlled
from interlat.engine.distributed import Ranks
from interlat.engine.sampling import Sampling
from interlat.environments.protocol import Item, Outcome
from interlat.errors import CheckpointError, InputError, MessageError, PromptError, StorageError
from interlat.evaluation.evaluate import arms_of
from interlat.evaluation.run import Play, check_arms, read_run, run, text_for
from interlat.evaluation.sends import Sends
from interlat.files import locked, read_lines

WORDS = ("kettle", "mug", "lamp", "drawer", "shelf", "apple", "stove")
REPLY = Sampling(max_new_tokens=5)
SEND = SendOptions(Sampling(max_new_tokens=6))


class Echo:
    """Shows a word and answers every reply with its length, for as many turns as the item has."""

    name, reply_tokens = "echo", 5
    origin = {"data": "words"}  # noqa: RUF012

    def __init__(self, count=7, turns=3):
        self.turns = turns
        self._items = [
            Item(f"item {n}", f"Find the {WORDS[n]}.", notes=f"It is near the {WORDS[-n]}.", max_steps=1 + n % turns)
            for n in range(count)
        ]
        self.steps = {}

    def items(self):
        return self._items

    def start(self, items):
        self.steps.update((item.id, 0) for item in items)
        return [Outcome(item.question) for item in items]

    def step(self, items, replies):
        outcomes = []
        for item, reply in zip(items, replies, strict=True):
            self.steps[item.id] += 1
            won = len(reply) % 3 == 0
            outcomes.append(Outcome(f"That is {len(reply)}.", won, won, steps=self.steps[item.id], facts={"n": 1}))
        return outcomes

    def close(self):
        pass


def settings(folder, **changes):
    return Play(str(folder), "0" * 12, **{"send": SEND, "reply": REPLY, "batch_size": 3, **changes})


def roles(agents, sender="sender", receiver="reader"):
    return {"sender": agents[sender], "receiver": agents[receiver]}


def played(environment, agents, arms, play, ranks=None):
    list(run(environment, agents, arms, play, ranks))
    return {(line["item"], line["variant"]): line for line in read_run(play.output).records}


def outcome_of(line):
    return [line[name] for name in ("success", "steps", "turns", "plan", "message_bytes", "prompt_tokens", "n")]


def alone(environment, agents, arm, item, play):
    """The turns of one episode by the plainest calls of the front door: no batch, nothing shared."""
    items = list(environment.items())
    maker = item
    if arm.control == "cross_task":
        ids = [one.id for one in items]
        families = [one.family or (one.id,) for one in items]
        maker = items[cross_task_partners(ids, run_seed=play.seed, tasks=families)[ids.index(item.id)]]
    sender, receiver = agents["sender"], agents["receiver"]
    [made] = arm.channel.make(sender, [text_for(maker, play.sees)], [maker.id], play.send)
    message = arm.channel.message(made, play.send)
    if arm.control and message is not None:
        message = controlled(arm.control, message, item.id, run_seed=play.seed)
    [seen] = environment.start([item])
    talk, turns = receiver.converse([seen.text], [message]), []
    while talk.running:
        [said] = talk.reply(play.reply, [receiver.seed(play.seed, item.id) + len(turns)])
        [seen] = environment.step([item], [said.written])
        turns.append({"action": said.text, "observation": seen.text})
        talk.go_on([] if seen.done or seen.steps >= item.max_steps else [0], [seen.text][: not seen.done])
        if seen.done or seen.steps >= item.max_steps:
            break
    return turns, seen.success, made, message


@pytest.mark.parametrize(
    ("sender", "receiver", "channels"),
    [
        ("sender", "reader", ("none", "text", "hidden", "thought:2")),
        ("words", "words", ("none", "text", "cache", "cache:2")),
    ],
)
def test_every_episode_is_the_one_played_alone(agents, tmp_path, sender, receiver, channels):
    pair, arms = roles(agents, sender, receiver), arms_of(channels, ("all",))
    assert len(arms) > 8
    lines = played(Echo(), pair, arms, settings(tmp_path))
    assert len(lines) == len(arms) * len(WORDS)
    environment = Echo()
    for arm in arms:
        for item in environment.items():
            line = lines[item.id, arm.name]
            turns, success, made, message = alone(environment, pair, arm, item, settings(tmp_path))
            assert (line["turns"], line["success"], line["plan"]) == (turns, success, made.text), arm.name
            assert line["message_kind"] == ("none" if message is None else message.kind)
            assert line["message_bytes"] == (0 if message is None else message.byte_size)
            assert (line["channel"], line["control"], line["environment"]) == (arm.channel.name, arm.control, "echo")
            if arm.control == "cross_task":
                ids = [one.id for one in environment.items()]
                partners = cross_task_partners(ids, run_seed=0, tasks=[(one,) for one in ids])
                assert line["donor"] == ids[partners[ids.index(item.id)]] and line["donor_answer"] == ""
            else:
                assert "donor" not in line
            assert line["forward_passes"] > 0 and line["sender_tokens"] == made.tokens
            assert set(line["seconds"]) >= {"receiver_prefill", "receiver_decode", "environment"}


def test_batches_order_and_processes_change_nothing(agents, tmp_path):
    pair, arms = roles(agents), arms_of(("none", "text", "hidden"), ("cross_task", "gaussian"))
    whole = {key: outcome_of(line) for key, line in played(Echo(), pair, arms, settings(tmp_path / "a")).items()}
    for number, changes in enumerate(({"batch_size": 1}, {"batch_size": 7}, {"exact": True})):
        other = played(Echo(), pair, arms, settings(tmp_path / str(number), **changes))
        assert {key: outcome_of(line) for key, line in other.items()} == whole
    for rank in range(2):
        list(run(Echo(), pair, arms, settings(tmp_path / "shared"), Ranks(rank, 2)))
    assert len(list((tmp_path / "shared").glob("results-*.jsonl"))) == 2
    shared = read_run(tmp_path / "shared").records
    assert {(line["item"], line["variant"]): outcome_of(line) for line in shared} == whole


def test_a_run_is_continued_and_what_is_there_is_kept(agents, tmp_path):
    pair, arms = roles(agents), arms_of(("text", "hidden"), ("zeros",))
    whole = played(Echo(), pair, arms, settings(tmp_path / "whole"))
    for done, _ in run(Echo(), pair, arms, settings(tmp_path / "torn")):
        if done >= 6:
            break
    path = tmp_path / "torn" / "results.jsonl"
    kept = path.read_text().splitlines(keepends=True)
    path.write_text("".join(kept) + kept[-1][:30])
    assert next(iter(run(Echo(), pair, arms, settings(tmp_path / "torn")))) == (len(kept), 21)
    torn = played(Echo(), pair, arms, settings(tmp_path / "torn"))
    assert {key: outcome_of(line) for key, line in torn.items()} == {k: outcome_of(v) for k, v in whole.items()}
    assert path.read_text().startswith("".join(kept))
    before = path.read_text()
    assert list(run(Echo(), pair, arms, settings(tmp_path / "torn"))) == [(21, 21)]
    assert path.read_text() == before


def test_results_on_other_data_are_not_mixed(agents, tmp_path):
    pair, arms = roles(agents), arms_of(("none",), ())
    played(Echo(), pair, arms, settings(tmp_path))
    other = Echo()
    other.origin = {"data": "other words"}
    with pytest.raises(InputError, match=r"other data.*'words'.*'other words'"):
        list(run(other, pair, arms, settings(tmp_path)))


def test_a_file_of_the_same_content_may_be_elsewhere(agents, tmp_path):
    pair, arms, moved = roles(agents), arms_of(("none",), ()), Echo()
    moved.origin = {"data": "here.jsonl", "sha256": "ab"}
    before = played(moved, pair, arms, settings(tmp_path))
    moved.origin = {"data": "there.jsonl", "sha256": "ab"}
    assert played(moved, pair, arms, settings(tmp_path)) == before
    moved.origin = {"data": "there.jsonl", "sha256": "cd"}
    with pytest.raises(InputError, match=r"other data.*here.jsonl"):
        list(run(moved, pair, arms, settings(tmp_path)))


@pytest.mark.parametrize(
    ("sender", "receiver", "channel", "error", "named"),
    [
        ("words", "reader", "hidden", MessageError, "weights"),
        ("words", "reader", "thought:2", MessageError, "weights"),
        ("sender", "words", "hidden", CheckpointError, "without an adapter"),
        ("sender", "words", "cache", MessageError, "weights"),
        ("sender", "words", "cache:2", MessageError, "weights"),
        ("sender", "alone", "text", MessageError, "without messages"),
    ],
)
def test_wrong_pairs_are_refused_before_anything_is_written(agents, tmp_path, sender, receiver, channel, error, named):
    pair, arms = roles(agents, sender, receiver), arms_of(("none", channel), ())
    with pytest.raises(error, match=named):
        check_arms(pair, arms)
    with pytest.raises(error, match=named):
        list(run(Echo(), pair, arms, settings(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_chat_template_is_refused_at_once(pair, agents, tmp_path):
    bare = load(str(pair["sender"]), dtype="float32")
    bare.engine.tokenizer.chat_template = None
    with pytest.raises(PromptError, match=r"cannot be receiver.*no chat template"):
        played(Echo(), {**roles(agents), "receiver": bare}, arms_of(("none",), ()), settings(tmp_path / "out"))
    assert not list(tmp_path.glob("out/results*"))


def test_a_text_that_does_not_fit_fails_alone(agents, tmp_path):
    environment = Echo(3)
    environment._items[1] = dataclasses.replace(environment._items[1], question="drawer " * 300)
    lines = played(environment, roles(agents), arms_of(("none",), ()), settings(tmp_path))
    failures = {item: line["failure"] for (item, _), line in lines.items()}
    assert "context" in failures["item 1"] and not failures["item 0"] and not failures["item 2"]
    assert not lines["item 1", "none"]["success"] and lines["item 1", "none"]["turns"] == []


@pytest.mark.parametrize("batch_size", [1, 3])
def test_what_does_not_fit_in_mid_episode_ends_it_there(agents, tmp_path, batch_size):
    class Chatty(Echo):
        """Says much after the second action of one item."""

        def step(self, items, replies):
            said = super().step(items, replies)
            return [
                dataclasses.replace(one, text="shelf " * 300, done=False, success=False)
                if item.id == "item 2" and one.steps == 2
                else dataclasses.replace(one, done=False, success=False)
                for item, one in zip(items, said, strict=True)
            ]

    lines = played(Chatty(3), roles(agents), arms_of(("none",), ()), settings(tmp_path, batch_size=batch_size))
    long = lines["item 2", "none"]
    assert "context" in long["failure"] and not long["success"]
    assert long["steps"] == len(long["turns"]) == 2 and long["max_steps"] == 3 and long["decoded_tokens"] > 0
    for item, steps in (("item 0", 1), ("item 1", 2)):
        assert not lines[item, "none"]["failure"] and lines[item, "none"]["steps"] == steps


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize(
    ("sender", "receiver", "channels"),
    [("sender", "reader", ("text", "hidden", "thought:2")), ("words", "words", ("cache",))],
)
def test_notes_that_the_sender_cannot_read_fail_alone(agents, tmp_path, batch_size, sender, receiver, channels):
    """The other items of the batch are played as ever."""
    environment, pair, arms = Echo(3), roles(agents, sender, receiver), arms_of(channels, ("cross_task",))
    calm = played(environment, pair, arms, settings(tmp_path / "calm", sees="notes"))
    environment._items[1] = dataclasses.replace(environment._items[1], notes="drawer " * 600)
    lines = played(environment, pair, arms, settings(tmp_path / "long", sees="notes", batch_size=batch_size))
    from_long = {line["donor"] == "item 1" for line in lines.values() if "donor" in line}
    assert from_long == {True, False}
    for (item, arm), line in lines.items():
        if line.get("donor", item) == "item 1":
            assert "context" in line["failure"] and line["message_kind"] == "none", arm
            assert line["turns"], "the receiver acts without a message"
        else:
            assert not line["failure"] and line["turns"] == calm[item, arm]["turns"]


def test_arms_that_make_no_sense_are_refused(agents, tmp_path):
    pair = roles(agents)
    with pytest.raises(InputError, match="no channel"):
        list(run(Echo(), pair, [], settings(tmp_path)))
    [arm] = arms_of(("none",), ())
    with pytest.raises(InputError, match="'none' is asked for twice"):
        check_arms(pair, [arm, arm])
    with pytest.raises(InputError, match="none sends nothing"):
        check_arms(pair, [dataclasses.replace(arm, control="zeros")])
    with locked(tmp_path), pytest.raises(StorageError, match="another process"):
        list(run(Echo(), pair, [arm], settings(tmp_path)))


@pytest.mark.parametrize(("sees", "text"), [("question", "Q"), ("notes", "N"), ("all", "Q\nN")])
def test_a_sender_may_see_what_the_receiver_does_not(sees, text):
    assert text_for(Item("a", "Q", notes="N"), sees) == text
    assert text_for(Item("a", "Q"), "all") == "Q"


def test_a_sender_that_sees_notes_only_needs_some_in_every_item(agents, tmp_path):
    environment = Echo(count=2)
    environment._items[1] = dataclasses.replace(environment._items[1], notes="")
    with pytest.raises(InputError, match="item 1 has none"):
        played(environment, roles(agents), arms_of(("text",), ()), settings(tmp_path, sees="notes"))
    assert not (tmp_path / "results.jsonl").exists()


def test_messages_are_made_once_within_the_memory_that_is_given(agents):
    sender, made = agents["sender"], []
    channel = channel_named("hidden")
    make = channel.make
    channel.make = lambda sender, texts, keys, options: made.append(tuple(keys)) or make(sender, texts, keys, options)
    texts = {str(n): f"Find the {word}." for n, word in enumerate(WORDS)}
    sends = Sends(texts, 3, SEND)
    first = sends.of(channel, "sender", sender, ["0", "1", "2"])
    assert sends.of(channel, "sender", sender, ["2", "5"])[0] is first[2]
    assert made == [("0", "1", "2"), ("3", "4", "5")]
    made.clear()
    small = Sends(texts, 3, SEND, most_bytes=1)
    small.of(channel, "sender", sender, ["0", "1", "2"])
    [again, other] = small.of(channel, "sender", sender, ["6", "1"])
    assert made == [("0", "1", "2"), ("6", "1")]
    torch.testing.assert_close(other.message.hidden_states, first[1].message.hidden_states, atol=1e-5, rtol=1e-4)
    assert again.message is not None


KILLED = """
import sys
sys.path[:0] = {paths!r}
import torch
from interlat.agents.loading import load
from evaluation.test_run import Echo, settings
from interlat.evaluation.evaluate import arms_of
from interlat.evaluation.run import run
torch.set_num_threads(1)
pair = {{"sender": load({sender!r}, dtype="float32"), "receiver": load({reader!r}, dtype="float32")}}
for _ in run(Echo(), pair, arms_of(("none", "text", "hidden"), ("all",)), settings({output!r})):
    pass
"""


@pytest.mark.slow
def test_kill_9_loses_and_doubles_nothing(pair, agents, tmp_path):
    arms = arms_of(("none", "text", "hidden"), ("all",))
    whole = played(Echo(), roles(agents), arms, settings(tmp_path / "whole"))
    paths = [path for path in sys.path if path]
    program = KILLED.format(paths=paths, sender=str(pair["sender"]), reader=str(pair["reader"]), output=str(tmp_path))
    path, total = tmp_path / "results.jsonl", len(arms) * len(WORDS)
    kills = 0
    while kills < 40:
        kills += 1
        process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
        before = len(read_lines(path)) if path.exists() else 0
        while process.poll() is None and (not path.exists() or len(read_lines(path)) < min(total, before + 9)):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if path.exists() and len(read_lines(path)) >= total:
            break
    assert kills > 2
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    assert len({(line["item"], line["variant"]) for line in lines}) == len(lines) == total
    assert {(line["item"], line["variant"]): outcome_of(line) for line in lines} == {
        key: outcome_of(line) for key, line in whole.items()
    }
