"""The scripts of the recipes call commands as these take them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from interlat.cli.main import COMMANDS, parse

ROOT = Path(__file__).resolve().parents[2]


def command_of(words):
    """The longest beginning that is a command, and the other words."""
    count = max(n for n in (1, 2, 3) if ".".join(words[:n]) in COMMANDS)
    return ".".join(words[:count]), words[count:]


@pytest.mark.parametrize("recipe", ["alfworld-mini", "alfworld-smollm2", "math", "math/mini"])
def test_every_command_of_a_script_is_understood(recipe, tmp_path, monkeypatch):
    recorder = tmp_path / "interlat"
    # One write, so that commands beside each other do not mix their lines.
    recorder.write_text(
        f"#!{sys.executable}\nimport json, os, sys\nos.write(1, (json.dumps(sys.argv[1:]) + chr(10)).encode())\n"
    )
    recorder.chmod(0o755)
    ended = subprocess.run(
        ["bash", str(ROOT / "recipes" / recipe / "reproduce.sh")],
        env={**os.environ, "INTERLAT": str(recorder)},
        capture_output=True,
        text=True,
        check=True,
    )
    called = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(called) > 8
    monkeypatch.chdir(ROOT)
    outputs = []
    for words in called:
        name, flags = command_of(words)
        parsed = parse(COMMANDS[name], flags, name.replace(".", " "))
        if not name.startswith(("worlds", "models")):
            outputs.append(parsed.settings.output if hasattr(parsed, "settings") else parsed.output)
    assert len(set(outputs)) == len(outputs), "no command writes where another one has written"
