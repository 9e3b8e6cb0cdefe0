import pytest

from interlat.agents.episodes import describe, evidence_of, layout_of, read_episodes, texts_of
from interlat.errors import InputError


def test_evidence_survives_storing(pipeline):
    for record in read_episodes(pipeline.episodes):
        for episode in record["episodes"]:
            evidence = evidence_of(episode)
            assert evidence.text == episode["evidence"]
            again = describe(layout_of(record), evidence)
            assert [again[name] for name in ("plan", "list")] == [episode[name] for name in ("plan", "list")]


def test_plans_name_the_true_places_and_lists_all_of_them(pipeline):
    for record in read_episodes(pipeline.episodes):
        for episode in record["episodes"]:
            for belief in episode["beliefs"]:
                assert belief["true_place"] in episode["plan"]
                assert ", ".join(belief["places"]) in episode["list"]


def test_texts_hold_everything_that_a_model_reads_or_writes(pipeline):
    records = read_episodes(pipeline.episodes)
    texts = set(texts_of(records))
    episode = next(r for r in records if r["episodes"])["episodes"][0]
    assert {episode["evidence"], episode["plan"], episode["list"], episode["turns"][0][0]} <= texts


def test_no_episodes_is_an_error(tmp_path):
    with pytest.raises(InputError, match="interlat collect"):
        read_episodes(tmp_path / "none.jsonl")
