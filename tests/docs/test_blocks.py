"""Every block of README and the site: Python runs, commands run small, and what cannot run is parsed with a reason."""

import collections
import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

import interlat
from benchmarks.__main__ import TITLES
from doc_blocks import ROOT, Block, blocks_of, commands_of, pages
from doc_shell import (
    MODELS,
    PARSED,
    PIPED,
    SMALL_IN_PYTHON,
    TOY_TASKS,
    Shell,
    command_of,
    furnish,
    in_python,
    reason_of,
)
from interlat.catalogue import MODELS as KNOWN
from interlat.channels.protocol import CHANNELS
from interlat.cli.main import COMMANDS, parse
from interlat.engine.sampling import Sampling
from interlat.environments.protocol import ENVIRONMENTS
from interlat.teams.topologies import TeamOptions, make_team
from pair_fixtures import SPECIALS, give_adapter
from toy_scienceworld import ToyScienceWorld

PAGES = pages()
SLOW = (
    "docs/how-to/alfworld.md",
    "docs/how-to/compress.md",
    "docs/how-to/evaluate-any-pair.md",
    "docs/how-to/preference.md",
    "docs/how-to/train-actors.md",
    "docs/tutorials/compress-it.md",
    "docs/tutorials/reproduce-interlat.md",
)
"""Pages whose commands author games or train for longer than a few seconds."""
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


def kind_of(block):
    """What happens with a block."""
    marker = block.marker.partition(":")[0].split()
    if marker:
        kinds = {"skip": "skipped", "file": "files", "command": "run", "parsed": "parsed"}
        assert marker[0] in kinds, f"{block.place}: unknown marker {block.marker}"
        return kinds[marker[0]]
    known = {"python": "run", "bash": "run", "toml": "parsed", "text": "shown"}
    assert block.language in known, f"{block.place}: name the language, one of {', '.join(known)}, or give a marker"
    return known[block.language]


def parsed_of(block, folder):
    """How many commands of a block of shell run, and the reasons of those that do not."""
    if kind_of(block) == "parsed":
        return 0, [block.marker.partition(": ")[2]]
    reasons = [reason_of(words) for words in commands_of(block, folder) if words[0] != PIPED]
    return reasons.count(""), [reason for reason in reasons if reason]


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
        known = reason_of([program, *words]) or program == PIPED or (program == "bash" and (ROOT / words[0]).exists())
        assert known, f"{place}: unknown program {program}"


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
        else:
            compile(block.text, block.place, "exec")


@pytest.fixture(scope="module")
def models(save_model):
    """Random models with room for long prompts, which never end a text by themselves: a sender, a receiver with an
    adapter for it, and a third one."""
    made = {
        "sender": save_model("sender", positions=16384),
        "reader": save_model("reader", 16, seed=1, positions=16384),
        "other": save_model("other", 16, seed=2, positions=16384),
    }
    for folder in made.values():
        weights = load_file(folder / "model.safetensors")
        weights["model.embed_tokens.weight"][: len(SPECIALS)] = 0
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    give_adapter(made["reader"], made["sender"])
    return {name: str(folder) for name, folder in made.items()}


@pytest.fixture
def names(page, models, request, tmp_path, monkeypatch):
    """What stands for the models and addresses of the pages; known models are in the cache folder."""
    cache = tmp_path / "cache"
    for name in KNOWN.names():
        shutil.copytree(models["sender"], cache / "models" / name)
    monkeypatch.setenv("INTERLAT_CACHE", str(cache))
    found = {name: models[kind] for name, kind in MODELS.items()} | TOY_TASKS
    if page.name == "server.md":
        server = request.getfixturevalue("chat_server")(NAME=lambda _: ("The answer is 7.", "stop"))
        found["http://localhost:8000/v1"] = server.url
    return found


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if name in SLOW else [], id=name)
        for page, name in ((page, str(page.relative_to(ROOT))) for page in PAGES)
        if any(kind_of(block) == "run" for block in blocks_of(page))
    ],
)
def test_the_blocks_run(page, names, request, tmp_path, monkeypatch, capsys):
    """In order, in one folder: a block finds what those before it wrote."""
    work, folder = tmp_path / "work", tmp_path / "shell"
    work.mkdir()
    folder.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ALFWORLD_DATA", "alfworld")
    if page.name == "share.md":
        request.getfixturevalue("hub_server")
        monkeypatch.setenv("HF_TOKEN", "token-of-owner")
    shell = Shell(names)
    python = {
        "__name__": "__main__",
        "members": make_team(TeamOptions(latent_steps=1, sampling=Sampling(max_new_tokens=4))),
    }
    evaluate = interlat.evaluate
    monkeypatch.setattr(interlat, "evaluate", lambda **given: evaluate(**given | SMALL_IN_PYTHON))
    # The line in `CHANNELS` that CONTRIBUTING.md asks for.
    monkeypatch.setitem(CHANNELS._places, "last", lambda: python["LastWords"])
    monkeypatch.setitem(ENVIRONMENTS._places, "scienceworld", lambda: ToyScienceWorld)
    furnish(page, names)
    shells = [block for block in blocks_of(page) if block.language == "bash"]
    for block in blocks_of(page):
        word = block.marker.partition(" ")[0]
        if word == "file":
            Path(block.marker.split()[1]).write_text(block.text)
        elif word == "command":
            Path("config.yaml").write_text(block.text)
            words = ["interlat", *shlex.split(block.marker)[1:]]
            words += [] if "config.yaml" in words else ["--config", "config.yaml"]
            assert shell.run(words), (block.place, capsys.readouterr().err)
        elif kind_of(block) == "run" and block.language == "python":
            exec(compile(in_python(block.text, names), block.place, "exec"), python)
        elif kind_of(block) == "run":
            typed = ""
            for words in commands_of(block, folder, shells[: shells.index(block)]):
                # What the shell itself wrote, such as a file of questions.
                for made in folder.iterdir():
                    if made.is_file() and made.name != "recorded":
                        made.replace(work / made.name)
                if words[0] == PIPED:
                    typed = Path("answers.jsonl").read_text()
                elif not reason_of(words):
                    assert shell.run(words, typed), (block.place, words, capsys.readouterr().err)


def test_most_blocks_run_and_the_others_say_why(tmp_path, capsys):
    counts, reasons = collections.Counter(), collections.Counter()
    for page in PAGES:
        for block in blocks_of(page):
            kind = kind_of(block)
            if block.language == "bash" and kind in ("run", "parsed"):
                running, why = parsed_of(block, tmp_path)
                kind = "run" if running else "parsed"
                counts["commands run"] += running
                reasons.update(why)
            elif kind in ("parsed", "skipped"):
                reasons[block.marker.partition(": ")[2] or "an entry point of the reader's own package"] += 1
            counts[kind] += 1
    with capsys.disabled():
        print(f"\nblocks of README and the site: {', '.join(f'{counts[kind]} {kind}' for kind in sorted(counts))}")
        for reason, count in reasons.most_common():
            print(f"  not run: {count} x {reason}")
    assert counts["run"] >= 50 and counts["parsed"] <= 14 and counts["skipped"] <= 1
    assert all(len(reason.split()) > 2 for reason in reasons), "say why"
    assert set(PARSED.values()) <= reasons.keys() and set(SLOW) <= {str(page.relative_to(ROOT)) for page in PAGES}


def test_what_has_neither_a_way_to_run_nor_a_reason_is_found():
    for block in (Block("here:1", "yaml", "a: 1"), Block("here:1", "", ""), Block("here:1", "bash", "", "slow")):
        with pytest.raises(AssertionError, match="here:1"):
            kind_of(block)
    with pytest.raises(AssertionError, match="nobody"):
        Shell({}).run(["nobody"])


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
