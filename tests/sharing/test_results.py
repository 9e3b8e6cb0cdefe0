"""Numbers of real runs of the bundled agents, as small as they can be."""

import shutil
from pathlib import Path

import pytest
import yaml

import interlat
from interlat.cli.main import execute, parse
from interlat.errors import InputError
from interlat.sharing.kinds import AGENT, paths_in
from interlat.sharing.results import measured, read_run_settings

REPOSITORY = "somebody/actor"


def bundled(name):
    return interlat.bundled(f"alfworld-mini/{name}")


def command(name, words):
    from interlat.cli.main import COMMANDS

    execute(parse(COMMANDS[name], words))


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """An evaluation of a copy of the scout and the actor."""
    root = tmp_path_factory.mktemp("evaluation")
    actor = shutil.copytree(bundled("latent"), root / "actor")
    words = ["--sender", bundled("scout"), "--receiver", str(actor), "--environment", "arithmetic", "--count", "6"]
    words += ["--channels", "none", "hidden", "--controls", "zeros", "--max-plan-tokens", "6", "--max-new-tokens", "6"]
    command("evaluate", [*words, "--inspected", "0", "--output", str(root / "run")])
    return actor, root / "run"


@pytest.fixture(scope="module")
def teams(tmp_path_factory):
    root = tmp_path_factory.mktemp("teams")
    words = ["--model", bundled("none"), "--task.kind", "arithmetic", "--task.count", "4", "--variants", "single"]
    words += ["text", "--team.sampling.max-new-tokens", "6", "--traces", "0", "--output", str(root / "run")]
    command("team", words)
    return root / "run"


def files(folder):
    return [name for name in AGENT.shared(paths_in(folder)) if name != "README.md"]


def of(run, folder):
    return measured(run, folder, files(folder), REPOSITORY)


def test_a_card_gets_tables_items_hash_and_settings(evaluation):
    actor, run = evaluation
    text = of(run, actor)
    assert text.startswith("`interlat evaluate`: 6 items, 18 results, settings `")
    record = (run / "results.jsonl").read_text()
    assert text.split("settings `")[1][:12] in record
    table = (run / "summary.md").read_text().strip()
    assert table in text and "| hidden/zeros | 6 |" in table
    settings = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert settings["receiver"] == REPOSITORY and settings["sender"] == "scout" and settings["count"] == 6
    assert "output" not in settings and "/" not in settings["sender"] and str(run.parent) not in text


def test_a_copy_of_the_files_is_the_same_agent(evaluation, tmp_path):
    actor, run = evaluation
    copy = shutil.copytree(actor, tmp_path / "copy")
    assert "6 items" in of(run, copy)
    (copy / "agent.json").write_text(
        (copy / "agent.json").read_text().replace('"temperature": 0.0', '"temperature": 0.5')
    )
    with pytest.raises(InputError, match=r"results is .*, an evaluation of .* not the files of"):
        of(run, copy)


def test_numbers_of_other_models_are_refused(evaluation, teams):
    with pytest.raises(InputError, match=r"these are not the files of"):
        of(evaluation[1], Path(bundled("text")))
    with pytest.raises(InputError, match=r"these are not the files of"):
        of(teams, evaluation[0])


def test_numbers_of_a_model_that_has_changed_since_are_refused(evaluation, tmp_path):
    actor, run = (shutil.copytree(one, tmp_path / one.name) for one in evaluation)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "receiver": str(actor)}))
    assert "6 items" in of(run, actor)
    (actor / "agent.json").write_text(
        (actor / "agent.json").read_text().replace('"temperature": 0.0', '"temperature": 0.5')
    )
    with pytest.raises(InputError, match=r"no results of its config.yaml and its models as they are now"):
        of(run, actor)


def test_an_unfinished_run_is_refused(evaluation, tmp_path):
    actor, run = evaluation[0], shutil.copytree(evaluation[1], tmp_path / "run")
    lines = (run / "results.jsonl").read_text().splitlines(keepends=True)
    (run / "results.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(InputError, match=r"not finished; run its command again"):
        of(run, actor)


def test_a_run_of_teams_has_numbers_too(teams):
    none = Path(bundled("none"))
    text = measured(teams, none, files(none), "a/b")
    assert text.startswith("`interlat team`: 4 items, 8 results") and "| single | 4 |" in text
    assert "| text - single | 4 |" in text and "95 % Wilson interval" in text and "model: a/b" in text


def test_a_connector_is_measured_where_it_stood(evaluation, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(evaluation[0] / "adapter.safetensors", alone)
    assert "6 items" in measured(evaluation[1], alone, ["adapter.safetensors"], "a/b")


def test_only_the_output_of_an_evaluation_has_results(tmp_path, evaluation):
    for content in ("", "- a\n", "sender: x\n"):
        (tmp_path / "config.yaml").write_text(content)
        with pytest.raises(InputError, match=r"expected an output folder of `interlat evaluate` or `interlat team`"):
            read_run_settings(tmp_path)
    with pytest.raises(InputError, match=r"expected an output folder"):
        read_run_settings(tmp_path / "none")
    assert read_run_settings(evaluation[1]).count == 6
