"""The check of style finds what it looks for, and nothing in what people read."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_style.py"


@pytest.fixture
def check():
    spec = importlib.util.spec_from_file_location("check_style", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_that_people_read_breaks_a_rule(check, capsys):
    assert check.main() == 0, capsys.readouterr().out


def test_pages_help_and_errors_are_looked_at(check, tmp_path, monkeypatch, capsys):
    for name, text in {
        "README.md": "One line.\n`utilize` is code.\n```text\nby chance\n```\nWe utilise it.\n",
        "docs/log.md": "by chance",
        "docs/page.md": "the the page",
        "src/one.py": '@dataclass\nclass A:\n    """Leverages it."""\n    x: int\n    """Chosen by chance."""\n\n\n'
        'def f():\n    # by chance\n    raise ValueError(f"{1} failed, please try again")\n',
        "scripts/style.toml": (SCRIPT.parent / "style.toml").read_text(),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(check, "ROOT", tmp_path)
    assert check.main() == 1
    assert [line.split(": ")[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["README.md:6", "'utilise'"],
        ["docs/page.md:1", "'the the'"],
        ["src/one.py:10", "'please'"],
        ["src/one.py:3", "'Leverag'"],
        ["src/one.py:5", "'by chance'"],
    ]
