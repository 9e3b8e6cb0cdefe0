import pytest

from interlat.errors import CheckpointError
from interlat.experiments.household import checkpoints
from interlat.experiments.household.checkpoints import bundled


def test_an_unknown_name_lists_what_there_is(tmp_path, monkeypatch):
    (tmp_path / "mini" / "scout").mkdir(parents=True)
    (tmp_path / "mini" / "scout" / "config.json").write_text("{}")
    monkeypatch.setattr(checkpoints, "ROOT", tmp_path)
    assert bundled("mini/scout") == str(tmp_path / "mini" / "scout")
    with pytest.raises(CheckpointError, match="there are: mini/scout"):
        bundled("mini/actor")
