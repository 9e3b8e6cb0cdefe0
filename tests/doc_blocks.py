"""The blocks of README and the site's pages, for tests that run them, and the comments before them that say how.

``<!-- docs: skip: REASON -->`` a block that cannot run or be parsed here.
``<!-- docs: parsed: REASON -->`` a block that is parsed and does not run; `doc_shell.PARSED` has the commands of which
this holds everywhere.
``<!-- docs: file NAME -->`` the block is a file that later blocks of the page read.
``<!-- docs: command WORDS -->`` a YAML block that is the ``--config`` of a command, or its word ``config.yaml``.
"""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"(?:^<!-- docs: (?P<marker>.+?) -->\n)?^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```$",
    re.M | re.S,
)
PRELUDE = """
record() { printf '%s\\0' "$#" "$@" >> "$RECORD"; }
for name in interlat torchrun pip make git bash; do eval "$name() { record $name \\"\\$@\\"; }"; done
python() { if [ "$1" = -c ]; then "$PYTHON" "$@"; else record python "$@"; fi; }
command_not_found_handle() { record "$@"; }
"""


@dataclasses.dataclass(frozen=True)
class Block:
    """One fenced block."""

    place: str
    """File and line, for messages."""
    language: str
    text: str
    marker: str = ""


def pages():
    """README, and all of the site's sources."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(path):
    """The blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        body = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M)
        found.append(Block(f"{path.relative_to(ROOT)}:{line}", match["language"], body, match["marker"] or ""))
    return found


def commands_of(block, folder, before=()):
    """The words of every command that a block of shell would run: the shell itself reads it, in ``folder``, with a
    recorder for every program. Variables that blocks ``before`` set are there."""
    record = folder / "recorded"
    record.unlink(missing_ok=True)
    settings = [line for one in before for line in re.findall(r"^[A-Z]+=.*$", one.text, re.M)]
    script = "\n".join([*settings, block.text])
    script = re.sub(r"[\w.$/-]+/bin/(?=(?:interlat|pip|python)\b)", "", script)
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("seq", "cat", "dirname"):
        if not (tools / name).exists():
            (tools / name).symlink_to(shutil.which(name))
    ended = subprocess.run(
        [shutil.which("bash"), "-c", PRELUDE + script],
        cwd=folder,
        env={**os.environ, "PATH": str(tools), "RECORD": str(record), "PYTHON": sys.executable, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0 and not ended.stderr, (block.place, ended.stderr)
    words = record.read_text().split("\0")[:-1] if record.exists() else []
    commands = []
    while words:
        count = int(words[0])
        commands.append(words[1 : 1 + count])
        words = words[1 + count :]
    return commands
