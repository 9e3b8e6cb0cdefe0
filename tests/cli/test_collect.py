import dataclasses
import json

import pytest

from interlat.agents.sources import TaskSource
from interlat.cli.collect import Collect
from interlat.cli.main import execute
from interlat.config import read_config
from interlat.engine.options import Sampling
from interlat.errors import StorageError


@pytest.fixture
def config(pipeline, tmp_path):
    source = TaskSource("alfworld", str(pipeline.episodes))
    output = str(tmp_path / "thoughts")
    return Collect(str(pipeline.scout), source, output, sampling=Sampling(max_new_tokens=12), limit=2, json=True)


def test_a_collection_reports_its_counts_and_gives_the_store(config, capsys):
    store = config.run()
    assert len(store) == 2 and read_config(Collect, f"{config.output}/config.yaml") == config
    assert "thoughts: 2 of 2" in capsys.readouterr().err
    assert config.report(store) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"store": config.output, "kept": 2, "failed": 0, "filtered": 0}
    assert "2 thoughts in" in shown.err and "0 filtered out, 0 failed" in shown.err


def test_a_refused_collection_changes_no_configuration(config):
    config.run()
    with pytest.raises(StorageError):
        execute(dataclasses.replace(config, sampling=Sampling(max_new_tokens=13)))
    assert read_config(Collect, f"{config.output}/config.yaml") == config


def test_a_rank_that_is_not_the_first_reports_nothing(config, capsys):
    assert config.report(None) == 0
    assert capsys.readouterr() == ("", "")
