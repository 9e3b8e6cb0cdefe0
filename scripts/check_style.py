"""Checks the style of what people read against the rules in `style.toml`: README, pages, help and error messages.

`python scripts/check_style.py`; exit code 1 where a rule is broken, with the place and what to write instead.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HISTORY = {"docs/log.md", "docs/decisions.md", "CHANGELOG.md"}
"""What was written at its time is not rewritten."""
CODE = re.compile(r"^```.*?^```|`[^`\n]+`|<!--.*?-->|^\|.*?$|\]\([^)]*\)", re.MULTILINE | re.DOTALL)


def texts() -> Iterator[tuple[str, str]]:
    """Place and text of everything that is checked."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("recipes/**/*.md")]
    for path in sorted(pages):
        name = path.relative_to(ROOT).as_posix()
        if name not in HISTORY:
            # What stands for code keeps the numbers of lines.
            yield name, CODE.sub(lambda found: re.sub(r"[^\n]+", "·", found[0]), path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "src").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, text in (*_errors(tree), *_help(tree)):
            yield f"{path.relative_to(ROOT).as_posix()}:{line}", re.sub(r"`[^`]+`", "·", text)


def _errors(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The words of what is raised."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            words = [one.value for one in ast.walk(node.exc) if isinstance(one, ast.Constant)]
            yield node.lineno, " ... ".join(word for word in words if isinstance(word, str))


def _help(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Docstrings of data classes and the texts behind their fields: the help of commands and settings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(one) for one in node.decorator_list):
            for part in node.body:
                if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
                    yield part.lineno, " ".join(str(part.value.value).split())


def main() -> int:
    """Print every broken rule; the exit code."""
    rules = tomllib.loads((ROOT / "scripts" / "style.toml").read_text(encoding="utf-8"))["rules"]
    broken = 0
    for place, text in texts():
        for pattern, advice in rules.items():
            for found in re.finditer(pattern, text, re.IGNORECASE):
                broken += 1
                line = "" if ":" in place else f":{text[: found.start()].count(chr(10)) + 1}"
                print(f"{place}{line}: {found[0].strip()!r}: {advice}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
