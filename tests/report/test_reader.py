import json

import pytest

from interlat.errors import InputError
from interlat.report.reader import grouped, pack_items


def test_records_of_a_game_stand_together(make_records):
    records = make_records(games=3)
    games = grouped(records)
    assert len(games) == 6
    assert all(len({record["item"] for record in game}) == 1 for game in games)


def test_no_text_can_end_the_script_element(make_records, make_inspections):
    records = make_records(games=1)
    records[0]["turns"][0]["observation"] = "</script><script>alert(1)</script>"
    packed, games = pack_items(records, make_inspections(records), 10_000_000)
    assert games == 2
    assert "</" not in packed and "<script" not in packed


def test_only_as_many_games_as_fit(make_records, make_inspections):
    records = make_records(games=10)
    whole, games = pack_items(records, make_inspections(records), 10_000_000)
    part, fewer = pack_items(records, make_inspections(records), len(whole) // 2)
    assert fewer < games == 20 and len(part) <= len(whole) // 2


def test_a_number_that_is_not_finite_is_refused(make_records, make_inspections):
    records = make_records(games=1)
    inspections = make_inspections(records)
    next(iter(inspections.values()))["rows"][0]["norm"] = float("nan")
    with pytest.raises(InputError):
        pack_items(records, inspections, 10_000_000)


def test_each_draw_of_the_notes_shows_its_own(make_records, make_inspections):
    records = make_records(["none", "latent"], games=1, splits=("seen",))
    records += [{**record, "seed": 1, "evidence": "mug: shelf 2 today."} for record in records]
    data = json.loads(pack_items(records, make_inspections(records), 10_000_000)[0])
    shown = {episode[1]: data["strings"][episode[12]] for episode in data["games"][0]["episodes"]}
    assert shown == {0: "", 1: "mug: shelf 2 today."}
