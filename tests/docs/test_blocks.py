"""Every block of README and the site: Python runs, commands are parsed by the real parser, and small ones run."""

import collections
import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

import interlat
from benchmarks.__main__ import TITLES
from doc_blocks import ROOT, blocks_of, commands_of, pages
from interlat.cli.main import COMMANDS, main, parse

NAMED = ("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen3-4B", "/models/my-7b")
"""Models that a page names; a small bundled one takes their place."""
OTHER_PROGRAMS = {"other-program", "alfworld-download", "git", "bash"}
PAGES = pages()


def kind_of(block):
    """What happens with a block."""
    first = block.marker.partition(":")[0].split()
    if first and first[0] in ("skip", "file"):
        return {"skip": "skipped", "file": "files"}[first[0]]
    if first and first[0] == "run":
        return "run"
    known = {"python": "run", "bash": "parsed", "yaml": "parsed", "json": "parsed", "toml": "parsed", "text": "shown"}
    assert block.language in known, f"{block.place}: name the language of the block, one of {', '.join(known)}"
    return known[block.language]


RECIPES = sorted((ROOT / "recipes").glob("*/README.md"))


@pytest.mark.parametrize("page", RECIPES, ids=lambda page: page.parent.name)
def test_every_command_of_a_recipe_is_one_that_there_is(page, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    checked = 0
    for block in blocks_of(page):
        if re.search(r"^ *(interlat|torchrun|bash) ", block.text, re.M):
            for words in commands_of(block, tmp_path):
                check_command(words, block.place)
                checked += 1
    assert checked > 0


def test_the_readme_fits_a_few_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def is_slow(page):
    return any(block.marker.startswith("run slow") for block in blocks_of(page))


def runs(page):
    return any(kind_of(block) == "run" for block in blocks_of(page))


def command_of(words):
    """The longest beginning that is a command, and the other words."""
    count = max((n for n in (1, 2, 3) if ".".join(words[:n]) in COMMANDS), default=0)
    assert count, f"no command: {' '.join(words)}"
    return ".".join(words[:count]), words[count:]


def check_command(words, place):
    """Whether a recorded command is one that there is, with fields that it has."""
    program, *words = words
    if program == "torchrun":
        program, words = "interlat", words[words.index("interlat.cli") + 1 :]
    if program == "interlat":
        if not {"--help", "--version"} & set(words):
            name, flags = command_of(words)
            parse(COMMANDS[name], flags, name.replace(".", " "))
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert words[0] in targets, f"{place}: no target {words[0]}"
    elif program == "python":
        if words[:2] == ["-m", "benchmarks"]:
            assert words[2] in TITLES, f"{place}: no benchmark {words[2]}"
        else:
            assert words[:2] in (["-m", "venv"], ["-m", "build"]) or (ROOT / words[0]).exists(), f"{place}: {words}"
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for named in re.findall(r"(?:^\.|interlat|whl)\[([\w,]+)\]", "\n".join(words), re.M):
            assert set(named.split(",")) <= extras.keys(), f"{place}: no extra {named}"
    else:
        assert program in OTHER_PROGRAMS, f"{place}: unknown program {program}"


def data_of(block):
    """What a block of data holds; for a JSON block each line may be an object."""
    if block.language == "json":
        return [json.loads(line) for line in block.text.splitlines()]
    return tomllib.loads(block.text) if block.language == "toml" else yaml.safe_load(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_one_that_there_is(page, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for block in blocks_of(page):
        if kind_of(block) in ("skipped", "shown"):
            continue
        if block.language == "bash":
            for words in commands_of(block, tmp_path):
                check_command(words, block.place)
        elif block.language in ("yaml", "json", "toml"):
            assert data_of(block), block.place
            if block.marker.startswith("command "):
                (tmp_path / "config.yaml").write_text(block.text)
                name, flags = command_of(shlex.split(block.marker.removeprefix("command ")))
                parse(COMMANDS[name], ["--config", str(tmp_path / "config.yaml"), *flags], name)
        else:
            compile(block.text, block.place, "exec")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A small model that nobody trained to read messages: a bundled one without its settings."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    shutil.copytree(interlat.bundled("alfworld-mini/none"), folder, ignore=shutil.ignore_patterns("agent.json"))
    return str(folder)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if is_slow(page) else []) for page in PAGES if runs(page)],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_blocks_run(page, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names = {"__name__": "__main__"}
    shell = tmp_path / "shell"
    shell.mkdir()
    shells = [block for block in blocks_of(page) if block.language == "bash"]
    for block in blocks_of(page):
        text = block.text
        for name in NAMED:
            text = re.sub(rf"(?<![\w/-]){re.escape(name)}(?![\w/-])", tiny, text)
        if block.marker.startswith("file "):
            Path(block.marker.removeprefix("file ")).write_text(text)
        elif kind_of(block) == "run" and block.language == "python":
            exec(compile(text, block.place, "exec"), names)
        elif kind_of(block) == "run":
            more = [word for word in shlex.split(block.marker)[1:] if word != "slow"]
            for words in commands_of(block, shell, shells[: shells.index(block)]):
                for made in shell.iterdir():
                    if made.is_file() and made.name != "recorded":
                        made.replace(tmp_path / made.name)
                if words[0] == "interlat":
                    given = [tiny if word in NAMED else word for word in words[1:]]
                    taken = more if given[:2] != ["store", "info"] else []
                    assert main([*given, *taken]) == 0, (block.place, capsys.readouterr().err)


def test_most_blocks_run_or_are_parsed(capsys):
    counts = collections.Counter(kind_of(block) for page in PAGES for block in blocks_of(page))
    with capsys.disabled():
        print(f"\nblocks of README and the site: {', '.join(f'{counts[kind]} {kind}' for kind in sorted(counts))}")
    assert counts["run"] >= 15 and counts["parsed"] >= 30 and counts["skipped"] <= 6
    for page in PAGES:
        for block in blocks_of(page):
            assert kind_of(block) != "skipped" or len(block.marker.split()) > 4, f"{block.place}: say why"


@pytest.mark.parametrize(
    "words",
    [
        ["interlat", "evaluate", "--sender", "A", "--environment", "gsm8k", "--output", "DIR", "--channel", "text"],
        ["interlat", "evaluates"],
        ["make", "everything"],
        ["pip", "install", ".[nothing]"],
        ["python", "-m", "benchmarks", "none"],
        ["nobody"],
    ],
)
def test_a_wrong_command_is_found(words):
    with pytest.raises((AssertionError, interlat.errors.InterlatError)):
        check_command(words, "here")


def test_the_old_anchors_of_the_guide_are_there():
    guide = (ROOT / "docs" / "guide.md").read_text()
    for title in ("Which models", "Evaluating any pair", "A model behind a server", "Models in vLLM", "Long work"):
        assert f"### {title}\n" in guide
