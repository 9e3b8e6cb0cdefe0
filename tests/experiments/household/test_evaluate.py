import dataclasses
import json
import shutil
import sys

import pytest
import torch

import interlat
from interlat.config import write_config
from interlat.engine.sampling import Sampling
from interlat.engine.template import TemplateOptions
from interlat.environments.alfworld.pool import GamePool
from interlat.errors import InputError
from interlat.experiments.household import evaluate as household
from interlat.experiments.household.author import MINI_ROOMS, author_games
from interlat.experiments.household.checkpoints import bundled
from interlat.experiments.household.collect_episodes import CollectEpisodes, collect_episodes
from interlat.experiments.household.commands.evaluate import Evaluate
from interlat.experiments.household.episodes import read_episodes
from interlat.experiments.household.evaluate import Checkpoints, EvaluateHousehold, evaluate_household, inspect_plans
from interlat.experiments.household.prompts import scout_prompt
from interlat.files import read_lines
from kill_rounds import kill_rounds, same_lines
from slow_game import slow_game


def settings(pipeline, output, **changes):
    checkpoints = Checkpoints(str(pipeline.scout), *(str(pipeline.actors[kind]) for kind in ("none", "text", "latent")))
    variants = ("none", "text", "latent", "latent_told", "cross_task", "zeros")
    values = {"variants": variants, "max_plan_tokens": 8, "batch_size": 3}
    return EvaluateHousehold(checkpoints, str(output), **{**values, **changes})


@pytest.fixture(scope="module")
def played(pipeline, tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluation")
    records = read_episodes(pipeline.held_out)
    list(evaluate_household(settings(pipeline, output), records))
    return output, records, read_lines(output / "results.jsonl")


def test_every_game_is_played_once_under_every_variant(played):
    _, records, lines = played
    items = [record["item"] for record in records if record["episodes"]]
    pairs = [(line["item"], line["variant"]) for line in lines]
    assert len(pairs) == len(set(pairs)) == 6 * len(items)


def test_records_say_what_was_sent_and_keep_the_step_cap(played):
    _, records, lines = played
    by_variant = {line["variant"]: line for line in lines}
    assert by_variant["none"]["message_bytes"] == by_variant["none"]["sender_tokens"] == 0
    assert by_variant["text"]["message_bytes"] == len(by_variant["text"]["plan"].encode())
    told = by_variant["latent_told"]
    assert (told["actor"], told["message_kind"], told["message_rows"]) == ("latent", "text", 0)
    assert told["message_bytes"] == len(told["plan"].encode()) > 0
    assert by_variant["latent"]["message_bytes"] == by_variant["latent"]["message_rows"] * 16 * 2
    beliefs = {record["item"]: record["episodes"][0]["beliefs"] for record in records if record["episodes"]}
    donors = {line["item"]: line["donor"] for line in lines if line["variant"] == "cross_task"}
    assert donors.keys() == set(donors.values()) and all(item != donor for item, donor in donors.items())
    for line in lines:
        assert line["answer"] == f"go to {beliefs[line['item']][0]['places'][0]}"
        if line["variant"] == "cross_task":
            assert line["donor_answer"] == f"go to {beliefs[line['donor']][0]['places'][0]}"
    evidence = {record["item"]: record["episodes"][0]["evidence"] for record in records if record["episodes"]}
    for line in lines:
        assert line["evidence"] == evidence[line["item"]]
        assert line["steps"] <= line["max_steps"]
        assert len(line["turns"]) == line["steps"]
        if not line["success"]:
            assert line["steps"] == line["max_steps"]


def test_a_model_that_was_trained_on_is_another_one(pipeline, tmp_path):
    """The hash follows what is in the folders, not their names."""
    folders = {}
    for role, source in {"scout": pipeline.scout, **pipeline.actors}.items():
        folders[role] = str(shutil.copytree(source, tmp_path / role))
    moved = EvaluateHousehold(Checkpoints(**folders), "a", max_plan_tokens=8, batch_size=3)
    assert moved.hash == settings(pipeline, "b", variants=("none",)).hash
    (tmp_path / "text" / "README.md").write_text("A better description.")
    assert dataclasses.replace(moved).hash == moved.hash
    weights = tmp_path / "text" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    moved = dataclasses.replace(moved)
    assert moved.hash != settings(pipeline, "b").hash
    hub = dataclasses.replace(moved, checkpoints=dataclasses.replace(moved.checkpoints, scout="owner/name"))
    assert hub.hash != moved.hash


def test_a_second_run_plays_nothing_and_a_torn_one_only_what_is_missing(played, pipeline):
    output, records, lines = played
    path = output / "results.jsonl"
    before = path.read_text()
    assert list(evaluate_household(settings(pipeline, output), records)) == [(len(lines), len(lines))]
    assert path.read_text() == before
    torn = before.splitlines(keepends=True)
    path.write_text("".join(torn[:-2]) + torn[-2][:40])
    list(evaluate_household(settings(pipeline, output), records))
    again = read_lines(path)
    key = lambda line: (line["item"], line["variant"])  # noqa: E731
    assert sorted(map(key, again)) == sorted(map(key, lines))
    results = {key(line): [turn["action"] for turn in line["turns"]] for line in lines}
    assert results == {key(line): [turn["action"] for turn in line["turns"]] for line in again}


def test_results_with_other_evidence_are_not_taken_for_these(played, pipeline, tmp_path):
    output, records, lines = played
    game = next(record for record in records if record["episodes"])
    other = {**game, "episodes": [{**game["episodes"][0], "evidence": "mug: today shelf 1."}]}
    with pytest.raises(InputError, match="other evidence"):
        list(evaluate_household(settings(pipeline, output), [other]))
    unsaid = [{key: value for key, value in line.items() if key != "evidence"} for line in lines]
    (tmp_path / "results.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in unsaid))
    done, total = next(evaluate_household(settings(pipeline, tmp_path), records))
    assert done == total > 0


def test_the_batch_size_changes_no_episode(played, pipeline, tmp_path):
    _, records, lines = played
    list(evaluate_household(settings(pipeline, tmp_path, batch_size=1), records))
    one_by_one = read_lines(tmp_path / "results.jsonl")
    actions = lambda line: [turn["action"] for turn in line["turns"]]  # noqa: E731
    expected = {(line["item"], line["variant"]): actions(line) for line in lines}
    assert {(line["item"], line["variant"]): actions(line) for line in one_by_one} == expected


def looked_into(config, records):
    """What `inspect_plans` finds, and the games done at each step."""
    stage, steps = inspect_plans(config, records), []
    while True:
        try:
            steps.append(next(stage)[0])
        except StopIteration as end:
            return end.value, steps


def test_inspections_decode_every_row(played, pipeline):
    output, records, _ = played
    inspections, _ = looked_into(settings(pipeline, output), records)
    for item in inspections.values():
        assert item["rows"] and all(len(row["top"]) == 5 for row in item["rows"])
        assert all(sum(chance for _, chance in row["top"]) <= 1.001 for row in item["rows"])
    json.dumps(inspections)


def test_plans_are_looked_into_as_they_are_written_and_not_written_again(played, pipeline, tmp_path, monkeypatch):
    output, records, lines = played
    config, without = settings(pipeline, output), settings(pipeline, tmp_path / "none", variants=("none", "cross_task"))
    list(evaluate_household(without, records))
    # Neither variant has the plan of the very game, so that all are written now; a torn last line is one of them.
    afterwards, steps = looked_into(without, records)
    games = len({line["item"] for line in lines})
    assert steps == [0, *range(3, games, 3), games]
    path = tmp_path / "none" / household.PLANS_FILE
    path.write_bytes(path.read_bytes()[:-40])
    again, steps = looked_into(without, records)
    assert steps == [games - 1, games] and again == afterwards
    written = {line["item"]: line["plan"] for line in lines if line["variant"] == "text"}
    assert {item: one["plan"] for item, one in afterwards.items()} == written
    monkeypatch.setattr(household, "load", None)
    while_played, steps = looked_into(config, records)
    assert steps == [games] and while_played == afterwards


def test_unknown_variants_and_missing_checkpoints_are_refused(pipeline, tmp_path):
    with pytest.raises(InputError, match="unknown variant 'telepathy'"):
        settings(pipeline, tmp_path, variants=("telepathy",))
    with pytest.raises(InputError, match="list"):
        settings(pipeline, tmp_path, variants=("list",))


def test_no_games_is_an_error(pipeline, tmp_path):
    with pytest.raises(InputError, match="no game"):
        list(evaluate_household(settings(pipeline, tmp_path), []))


def test_short_messages_are_sent_live(pipeline, short, tmp_path):
    """K rows each, from whom they should be, and the same in batches of one."""
    variants = ("latent", "compressed:3", "compressed:5", "resampled:2", "rollout:3", "first_rows:3", "int8")
    records = read_episodes(pipeline.held_out)
    plain = settings(pipeline, tmp_path / "a")
    checkpoints = dataclasses.replace(plain.checkpoints, **short)
    chosen = dataclasses.replace(plain, checkpoints=checkpoints, variants=variants)
    list(evaluate_household(chosen, records))
    lines = {(line["item"], line["variant"]): line for line in read_lines(tmp_path / "a" / "results.jsonl")}
    items = {item for item, _ in lines}
    for item in items:
        rows = {variant: lines[item, variant]["message_rows"] for variant in variants}
        assert [rows[v] for v in variants[1:6]] == [3, 5, 2, 3, 3] and rows["int8"] == rows["latent"]
        sizes = {variant: lines[item, variant]["message_bytes"] for variant in variants}
        assert sizes["compressed:3"] == 3 * 16 * 2 and sizes["int8"] == rows["latent"] * (16 + 4)
        assert [lines[item, v]["latent_steps"] for v in variants] == [0, 3, 5, 0, 3, 0, 0]
        assert lines[item, "compressed:3"]["plan"] == "" and lines[item, "resampled:2"]["plan"]
        assert all(lines[item, v]["actor"] == "latent" for v in variants)
    alone = dataclasses.replace(chosen, batch_size=1, output=str(tmp_path / "b"))
    list(evaluate_household(alone, records))
    for line in read_lines(tmp_path / "b" / "results.jsonl"):
        other = lines[line["item"], line["variant"]]
        assert [t["action"] for t in line["turns"]] == [t["action"] for t in other["turns"]], line["variant"]


def test_short_variants_without_their_models_are_refused(pipeline, tmp_path):
    for variant, reason in (("compressed:8", "a compressed sender"), ("resampled:2", "a resampler")):
        with pytest.raises(InputError, match=reason):
            settings(pipeline, tmp_path, variants=(variant,))
    for variant in ("compressed", "compressed:0", "compressed:x", "rollout"):
        with pytest.raises(InputError, match="unknown variant"):
            settings(pipeline, tmp_path, variants=(variant,))


def test_template_arguments_reach_sender_and_actors_and_change_the_hash(pipeline, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(household, "player_of", lambda environment, agents, *rest: seen.append(agents) or 1 / 0)
    quiet = TemplateOptions(enable_thinking=False)
    plain, config = (settings(pipeline, tmp_path, variants=("text",), template=t) for t in (TemplateOptions(), quiet))
    assert plain.hash == settings(pipeline, tmp_path).hash != config.hash
    with pytest.raises(ZeroDivisionError):
        list(evaluate_household(config, read_episodes(pipeline.held_out)))
    [agents] = seen
    assert {role: agents[role].engine.template for role in ("scout", "text")} == {"scout": quiet, "text": quiet}


def test_the_number_format_is_asked_for_recorded_and_part_of_the_hash(pipeline, tmp_path):
    plain, half = settings(pipeline, tmp_path), settings(pipeline, tmp_path, dtype="bfloat16", variants=("none",))
    assert dataclasses.replace(plain, device="cpu").hash == plain.hash != half.hash
    list(evaluate_household(half, read_episodes(pipeline.held_out)))
    assert {line["dtype"] for line in read_lines(tmp_path / "results.jsonl")} == {"bfloat16"}
    assert {agent.engine.dtype for agent in household.agents_of(half).values()} == {torch.bfloat16}


def test_every_episode_is_the_game_played_alone(played, pipeline):
    _, records, lines = played
    games = {record["item"]: record for record in records}
    scout = interlat.load(pipeline.scout, dtype="float32")
    sampling = Sampling(max_new_tokens=16)
    with GamePool(1) as pool:
        for line in lines:
            if line["variant"] == "cross_task":
                continue
            record = games[line["item"]]
            [memory] = [scout.engine.prefill([scout.chat.opening([("user", scout_text(record))])])]
            plan = scout.engine.decode(memory, Sampling(max_new_tokens=8), keep_hidden_states=True)
            states = plan.hidden_states[0].bfloat16()
            message = {"none": None, "text": plan.texts[0], "latent_told": plan.texts[0], "latent": states}.get(
                line["variant"], torch.zeros_like(states)
            )
            actor = interlat.load(pipeline.actors[line["actor"]], dtype="float32")
            turns, won, steps, read = slow_game(actor, pool, record, message, sampling)
            assert [(turn["action"], turn["observation"]) for turn in line["turns"]] == list(turns), line["variant"]
            assert (line["success"], line["steps"], line["prompt_tokens"]) == (won, steps, read)


def scout_text(record):
    return scout_prompt(record["opening"], record["episodes"][0]["evidence"])


@pytest.mark.slow
def test_an_evaluation_that_was_killed_twenty_times_ends_as_if_it_had_not_been(tmp_path):
    list(author_games(tmp_path / "games", 30, "unseen", 0, MINI_ROOMS))
    episodes = str(tmp_path / "episodes.jsonl")
    list(collect_episodes(CollectEpisodes(str(tmp_path / "games"), "unseen", episodes, draws=1, play=False)))
    models = [str(bundled(f"alfworld-mini/{role}")) for role in ("scout", "none", "text", "latent")]
    variants = ("none", "text_sampled", "latent", "zeros", "gaussian")
    settings = EvaluateHousehold(Checkpoints(*models), "", variants=variants, batch_size=5, workers=1)
    write_config(Evaluate(settings=settings, episodes=(episodes,), threads=1), tmp_path, "evaluate.yaml")
    words = [sys.executable, "-m", "interlat.cli", "evaluate", "--config", str(tmp_path / "evaluate.yaml")]
    compare = same_lines("results.jsonl", ("item", "variant"))
    result = kill_rounds(lambda folder: [*words, "--settings.output", str(folder)], tmp_path, 20, compare)
    assert result.kills == 20 and result.differences == [] and result.leftovers == []
