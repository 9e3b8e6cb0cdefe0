import io
import json
import re

import pytest
from rich.console import Console

from interlat.report.teams import COSTS, report_teams, summarise_teams, team_tables


def records(right, failures=()):
    made = []
    for variant, correct in right.items():
        for number in range(20):
            made.append(
                {
                    "variant": variant,
                    "item": f"item {number}",
                    "success": number < correct,
                    "failure": "too long" if (variant, number) in failures else "",
                    **{name: float(place + number) for place, name in enumerate(COSTS.values())},
                }
            )
    return made


def comparisons(lines):
    return list(summarise_teams(lines).comparisons)


def shown(lines):
    stream = io.StringIO()
    Console(file=stream, width=80).print(team_tables(lines))
    return stream.getvalue()


def test_rows_are_counted():
    rows = summarise_teams(records({"single": 5, "latent": 15}, {("latent", 19)})).rows
    assert [(row.variant, row.items, row.success.estimate, row.failures) for row in rows] == [
        ("single", 20, 0.25, 0),
        ("latent", 20, 0.75, 1),
    ]
    for place, name in enumerate(COSTS.values()):
        assert rows[0].means[name] == pytest.approx(place + 9.5)


def test_thinking_is_compared_with_everything_and_writing_with_one_agent():
    compared = comparisons(records({"single": 5, "text": 8, "latent": 15, "no_transfer": 6}))
    pairs = [(one.first, one.second) for one in compared]
    assert pairs == [("latent", "single"), ("latent", "text"), ("latent", "no_transfer"), ("text", "single")]
    assert compared[0].difference.estimate == pytest.approx(0.5) and compared[0].items == 20
    assert compared[0].test.p_value == pytest.approx(2 / 2**10)


def test_only_questions_that_both_answered_are_compared():
    lines = records({"single": 5, "latent": 15})[:-12]
    (one,) = comparisons(lines)
    assert one.items == 8
    assert comparisons(records({"single": 5})) == []


def test_the_table_fits_a_terminal_and_says_what_is_missing():
    wide = dict.fromkeys(("single", "text", "latent", "no_transfer", "random_alignment", "shuffled_memory"), 10)
    table = shown(records(wide, {("text", 3)}))
    assert max(map(len, table.splitlines())) <= 80 and "50.0 [30,70]" in table
    assert "1 of 120 could not be answered" in table and "Uncontrolled" not in table
    assert "Uncontrolled" in shown(records({"latent": 5})) and "Uncontrolled" not in shown(records({"single": 5}))


def test_the_page_has_a_turn_for_each_member_and_tells_the_kinds_of_teams_apart(tmp_path):
    lines = records({"single": 5, "text": 8, "latent": 15, "no_transfer": 6})
    for line in lines:
        thinks = line["variant"] not in ("single", "text")
        steps = [["a", "b"], ["c"]] if thinks else []
        first = {"text": "" if thinks else "add them", "latent_steps": len(steps), "latents": steps}
        line |= {"seed": 0, "config_hash": "0", "answer": "7", "agents": {"planner": first, "judger": {"text": "7"}}}
    report_teams(lines, tmp_path, questions={"item 3": "What is 3 + 4?"}, title="teams on <x>", command="interlat team")
    page = (tmp_path / "report.html").read_text()
    assert "teams on &lt;x&gt;" in page and "Every team" in page and (tmp_path / "tables" / "arms.csv").is_file()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, flags=re.DOTALL)[1])
    strings = data["strings"]
    assert data["variants"] == [["single", "text"], ["text", "text"], ["latent", "latent"], ["no_transfer", "control"]]
    game = next(game for game in data["games"] if game["item"] == "item 3")
    assert (strings[game["task"]], strings[game["answer"]]) == ("What is 3 + 4?", "7")
    turns = {data["variants"][one[0]][0]: [strings[place] for place in one[8]] for one in game["episodes"]}
    assert turns["text"] == ["planner", "add them", "judger", "7"]
    assert turns["latent"] == ["planner", "2 latent steps\na c", "judger", "7"]
