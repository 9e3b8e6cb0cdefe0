import os

import pytest

from interlat.cli.main import execute
from interlat.cli.train_tokenizer import TrainTokenizer
from interlat.engine.checkpoint import load_tokenizer
from interlat.errors import InputError
from interlat.experiments.lessons import CollectLessons, collect_lessons


def test_a_tokenizer_is_trained_on_episodes_or_on_conversations(pipeline, tmp_path):
    lessons = tmp_path / "lessons.jsonl"
    list(collect_lessons(CollectLessons(str(lessons), count=20)))
    execute(TrainTokenizer(str(tmp_path / "words"), conversations=str(lessons), vocabulary_size=500))
    tokenizer = load_tokenizer(str(tmp_path / "words"))
    assert len(tokenizer.tokenize(" together and colleagues")) == 3
    for given in ({}, {"episodes": str(pipeline.episodes), "conversations": str(lessons)}):
        with pytest.raises(InputError, match="give one of the two files"):
            execute(TrainTokenizer(str(tmp_path / "none"), **given))


def test_the_tokenizer_is_the_same_every_time(pipeline, tmp_path):
    for name in ("one", "two"):
        execute(TrainTokenizer(str(tmp_path / name), str(pipeline.episodes)))
    one, two = ((tmp_path / name / "tokenizer.json").read_text() for name in ("one", "two"))
    assert one == two


def test_a_tokenizer_replaces_nothing_but_a_tokenizer(pipeline, tmp_path):
    config = TrainTokenizer(str(tmp_path), str(pipeline.episodes))
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files than a tokenizer \(thesis.tex\)"):
        execute(config)
    assert os.listdir(tmp_path) == ["thesis.tex"]
