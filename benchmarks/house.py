"""The size of the house: lines of Python by part, who imports the experiments, and where each concept lives.

A line is a physical line of a ``.py`` file, with its comments, docstrings and blank lines.
"""

import ast
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "interlat"
EXPERIMENTS = "experiments"
CONCEPTS = {
    # A concept -> what its one implementation is recognised by in the library's source.
    "prompt builder": r"\.opening\(\[",
    "latent-step loop": r"def take_latent_steps\(|for \w+ in range\([^)\n]*latent_steps",
    "logit lens": r"def logit_lens\(|logits\([^\n]*\.topk\(|softmax\([^\n]*\.topk\(",
}


def lines_of(folder: Path) -> int:
    """Physical lines of all Python files in a folder."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py"))


def library_modules() -> list[Path]:
    """Every module of the package that belongs to no experiment."""
    return sorted(p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] != EXPERIMENTS)


def importers_of_experiments() -> list[str]:
    """Library modules that import an experiment; the command line may, to start one."""
    found = []
    for path in library_modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(name.startswith("interlat.experiments") for name in names):
                found.append(str(path.relative_to(PACKAGE)))
    return sorted(set(found))


def homes_of(pattern: str) -> list[str]:
    """Library modules whose source matches a pattern."""
    expression = re.compile(pattern)
    return [
        str(path.relative_to(PACKAGE))
        for path in library_modules()
        if expression.search(path.read_text(encoding="utf-8"))
    ]


def measure() -> dict[str, Any]:
    """Everything that `report` prints, by name."""
    parts: Counter[str] = Counter()
    for path in library_modules():
        place = path.relative_to(PACKAGE)
        parts[place.parts[0] if len(place.parts) > 1 else "(modules)"] += len(path.read_text().splitlines())
    return {
        "library": sum(parts.values()),
        "household": lines_of(PACKAGE / EXPERIMENTS / "household"),
        "experiments": lines_of(PACKAGE / EXPERIMENTS),
        "benchmarks": lines_of(ROOT / "benchmarks"),
        "tests": lines_of(ROOT / "tests"),
        "parts": dict(parts.most_common()),
        "importers_of_experiments": importers_of_experiments(),
        **{name: homes_of(pattern) for name, pattern in CONCEPTS.items()},
    }


def report(as_json: bool) -> None:
    """Print the measurement: one JSON object, or lines for people."""
    found = measure()
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name}: {json.dumps(value)}")
