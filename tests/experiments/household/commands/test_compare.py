import json

import pytest

from interlat.cli.main import execute
from interlat.errors import InputError, StorageError
from interlat.experiments.household.commands.compare import Compare
from interlat.files import write_atomically


def test_arms_are_compared_by_their_evaluations(tmp_path, capsys):
    """An evaluation that went on with a model that was trained further holds old episodes, which do not count."""
    for name, won in (("a-0", "wwl"), ("a-1", "wll"), ("b-0", "lll")):
        old = [{"config_hash": "old", "variant": "latent", "split": "seen", "item": "x", "success": True}]
        new = [
            {"config_hash": "new", "variant": variant, "split": "seen", "item": str(place), "success": letter == "w"}
            for place, letter in enumerate(won)
            for variant in ("latent", "zeros")
        ]
        (tmp_path / name).mkdir()
        write_atomically(tmp_path / name / "results.jsonl", "".join(f"{json.dumps(line)}\n" for line in [*old, *new]))
    folders = [str(tmp_path / name) for name in ("a-0", "a-1", "b-0")]
    arms = {"a": tuple(folders[:2]), "b": (f"{folders[2]}:zeros",)}
    execute(Compare(arms, "b", str(tmp_path / "out"), json=True))
    said = capsys.readouterr()
    records = [json.loads(line) for line in said.out.splitlines()]
    assert [record["rates"] for record in records] == [pytest.approx([2 / 3, 1 / 3]), [0.0]]
    assert (tmp_path / "out" / "arms.jsonl").read_text() == said.out
    assert "| a | 2 |" in (tmp_path / "out" / "arms.md").read_text() and "50.0" in said.err
    assert all(len(line) <= 80 for line in said.err.splitlines())


def test_a_pattern_stands_for_the_draws_of_one_training(tmp_path, capsys):
    for name, won in (("a-0", "wwl"), ("a-1", "wll"), ("b-0", "lll"), ("b-1", "lll")):
        lines = [
            {
                "config_hash": "",
                "variant": "latent",
                "split": "seen",
                "item": str(n),
                "success": w == "w",
                "evidence": name[-1],
            }
            for n, w in enumerate(won)
        ]
        (tmp_path / name).mkdir()
        write_atomically(tmp_path / name / "results.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    execute(Compare({"a": (f"{tmp_path}/a-*",), "b": (f"{tmp_path}/b-*:latent",)}, "b", json=True))
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["rates"] for record in records] == [pytest.approx([0.5]), [0.0]]
    with pytest.raises(InputError, match="without episodes"):
        execute(Compare({"a": (f"{tmp_path}/c-*",), "b": (f"{tmp_path}/b-0",)}, "b"))
    # The same two draws, each by its folder, and the games of another evaluation alone.
    (tmp_path / "few").mkdir()
    few = tmp_path / "few" / "results.jsonl"
    write_atomically(few, "".join(f"{json.dumps({'item': item})}\n" for item in "01"))
    arms = {"a": (f"{tmp_path}/a-0 + {tmp_path}/a-1",), "b": (f"{tmp_path}/b-*:latent",)}
    execute(Compare(arms, "b", json=True))
    execute(Compare(arms, "b", games_of=str(tmp_path / "few"), json=True))
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["rates"] for record in records] == [pytest.approx([0.5]), [0.0], pytest.approx([0.75]), [0.0]]
    assert [record["games"] for record in records] == [3, 3, 2, 2]
    write_atomically(few, "".join(f"{json.dumps({'item': item})}\n" for item in "07"))
    with pytest.raises(InputError, match="arm 'a' played 1 of the 2 games"):
        execute(Compare(arms, "b", games_of=str(tmp_path / "few")))
    with pytest.raises(InputError, match="no games in"):
        execute(Compare(arms, "b", games_of=str(tmp_path / "none")))


def test_a_comparison_counts_each_episode_once(tmp_path, capsys):
    for name, won in (("a", "wwl"), ("b", "lll")):
        lines = [
            {"config_hash": "", "variant": "latent", "split": "seen", "item": str(n), "success": w == "w"}
            for n, w in enumerate(won)
        ]
        text = "".join(f"{json.dumps(line)}\n" for line in [*lines, lines[0]])
        write_atomically(tmp_path / name / "results.jsonl", text)
    execute(Compare({"a": (f"{tmp_path}/a",), "b": (f"{tmp_path}/b",)}, "b", json=True))
    said = capsys.readouterr()
    assert [json.loads(line)["rates"] for line in said.out.splitlines()] == [pytest.approx([2 / 3]), [0.0]]
    assert said.err.count("1 line repeats a result in") == 2
    (tmp_path / "b" / "results.jsonl").write_text("5\n")
    with pytest.raises(StorageError, match=r"line 1 of .*results\.jsonl is 5"):
        execute(Compare({"a": (f"{tmp_path}/a",), "b": (f"{tmp_path}/b",)}, "b"))
