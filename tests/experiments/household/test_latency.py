import dataclasses

import pytest

import interlat
from interlat.engine.prompt import Text
from interlat.engine.sampling import Sampling
from interlat.errors import InputError, MessageError
from interlat.evaluation.latency import PHASES
from interlat.experiments.household.episodes import read_episodes
from interlat.experiments.household.evaluate import Checkpoints
from interlat.experiments.household.latency import MeasureLatency, measure_latency
from interlat.experiments.household.prompts import BEGIN_MESSAGE, END_MESSAGE, actor_prompt
from interlat.files import read_lines
from interlat.training.compression import compress
from interlat.training.options import Schedule
from interlat.training.settings import Compress

VARIANTS = ("none", "text", "latent", "compressed:1", "compressed:4", "rollout:2")


@pytest.fixture(scope="module")
def compressed(pipeline, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("compressed"))
    schedule = Schedule(steps=1, batch_size=4, warmup_steps=1)
    actor, thoughts = str(pipeline.actors["latent"]), str(pipeline.thoughts)
    list(compress(Compress(actor, thoughts, output, sender=str(pipeline.scout), schedule=schedule)))
    return f"{output}/model"


@pytest.fixture
def config(pipeline, compressed, tmp_path):
    folders = [str(pipeline.actors[kind]) for kind in ("none", "text", "latent")]
    checkpoints = Checkpoints(str(pipeline.scout), *folders, compressed=compressed)
    return MeasureLatency(checkpoints, str(tmp_path / "latency"), VARIANTS, repeats=2, max_plan_tokens=8)


@pytest.fixture
def games(pipeline):
    return [record for record in read_episodes(pipeline.held_out) if record["episodes"]][:2]


def test_every_phase_of_every_message_is_measured(config, games, pipeline):
    steps = list(measure_latency(config, games))
    lines = read_lines(f"{config.output}/latency.jsonl")
    assert steps[0] == (0, 24) and steps[-1] == (24, 24) and len(lines) == 24
    assert len({(line["item"], line["variant"], line["repeat"]) for line in lines}) == 24
    for line in lines:
        seconds = {phase: line[f"{phase}_seconds"] for phase in PHASES}
        assert line["seconds"] == pytest.approx(sum(seconds.values()))
        hidden = line["variant"] not in ("none", "text")
        assert (seconds["adapter"] > 0) == hidden
        assert (seconds["sender_prefill"] > 0) == (seconds["thinking"] > 0) == (line["variant"] != "none")
        assert seconds["receiver_prefill"] > 0 and seconds["first_action"] > 0
    rows = {line["variant"]: line["message_rows"] for line in lines}
    assert (rows["compressed:1"], rows["compressed:4"], rows["rollout:2"]) == (1, 4, 2) and rows["latent"] > 0
    sizes = {line["variant"]: line["message_bytes"] for line in lines}
    assert sizes["compressed:4"] == 4 * 16 * 2 and sizes["none"] == 0


def test_the_receiver_gets_the_prompt_of_play(config, games, pipeline):
    """Its first command is the one that it would give in a game, and its prompt as long."""
    list(measure_latency(config, games))
    actor = interlat.load(pipeline.actors["none"], dtype="float32").engine
    for line in read_lines(f"{config.output}/latency.jsonl"):
        if line["variant"] == "none":
            opening = next(game["opening"] for game in games if game["item"] == line["item"])
            text = actor_prompt(opening) + BEGIN_MESSAGE + END_MESSAGE
            memory = actor.prefill([actor.chat.opening([("user", [Text(text)])])])
            assert line["prompt_tokens"] == int(memory.next_position[0])
            assert line["action"] == actor.decode(memory, Sampling(max_new_tokens=16)).texts[0]


def test_measuring_goes_on_where_it_stopped(config, games, monkeypatch):
    for done, _ in measure_latency(config, games):
        if done == 10:
            break
    before = read_lines(f"{config.output}/latency.jsonl")
    assert next(iter(measure_latency(config, games))) == (10, 24)
    list(measure_latency(config, games))
    after = read_lines(f"{config.output}/latency.jsonl")
    assert after[:10] == before and len(after) == 24
    monkeypatch.setattr("interlat.evaluation.latency.describe_machine", lambda: "another one")
    with pytest.raises(InputError, match="another machine"):
        list(measure_latency(config, games))
    other = dataclasses.replace(config, max_plan_tokens=7)
    assert next(iter(measure_latency(other, games))) == (0, 24)


def test_what_has_no_latency_is_refused(config, games):
    for variant in ("zeros", "first_rows:4", "resampled:4", "list", "compressed"):
        with pytest.raises(InputError, match="no latency of its own"):
            dataclasses.replace(config, variants=(variant,))
    alone = dataclasses.replace(config.checkpoints, compressed=None)
    with pytest.raises(InputError, match="needs the checkpoint"):
        dataclasses.replace(config, checkpoints=alone)
    with pytest.raises(InputError, match="no game"):
        list(measure_latency(config, []))


@pytest.mark.parametrize("variant", ["latent", "rollout:2"])
def test_models_that_do_not_belong_together_are_not_measured(config, games, pipeline, variant):
    wrong = dataclasses.replace(config.checkpoints, scout=str(pipeline.actors["text"]))
    with pytest.raises(MessageError, match="text"):
        next(measure_latency(dataclasses.replace(config, checkpoints=wrong, variants=(variant,)), games))
    swapped = dataclasses.replace(config.checkpoints, text=str(pipeline.actors["none"]))
    with pytest.raises(InputError, match=r"checkpoints\.text"):
        next(measure_latency(dataclasses.replace(config, checkpoints=swapped, variants=("text",)), games))
