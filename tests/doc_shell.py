"""How the commands of README and the site run in seconds: smaller models, data of our own, fewer steps.

What a command of a page needs is in the tables here, once for all pages: `MODELS`, `SMALL`, `SMALL_IN_PYTHON`, `DATA`
and `EARLIER`. What does not run is in `PARSED` with its reason, or has a marker ``<!-- docs: parsed: REASON -->``.
"""

import io
import json
import shlex
import shutil
import sys
from pathlib import Path

import yaml

import interlat
from doc_blocks import ROOT
from game_fixtures import SMALL_ROOMS, published_conversations
from hub_rows import HUB_ROWS
from interlat.cli.main import COMMANDS, main
from interlat.experiments.household.author import author_games

MODELS = {
    "Qwen/Qwen2.5-0.5B-Instruct": "sender",
    "Qwen/Qwen2.5-7B-Instruct": "sender",
    "Qwen/Qwen2.5-Coder-0.5B-Instruct": "sender",
    "Qwen/Qwen3-4B": "sender",
    "Qwen/Qwen3-8B": "sender",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "sender",
    "/models/my-7b": "sender",
    "runs/arithmetic/solver/model": "sender",
    "MODEL": "sender",
    "A": "sender",
    "B": "reader",
    "R": "reader",
    "UNTRAINED": "other",
}
"""What a page calls a model, and the random model in its place: a sender, a reader of its states, or a third one."""
TOY_TASKS = {"boil": "find", "find-plant": "heat"}
"""Tasks of ScienceWorld, and those of the simulator in its place."""
SHORT_TRAINING = ["--schedule.steps", "2", "--schedule.eval-every", "1", "--schedule.warmup-steps", "1"]
SHORT_TRAINING += ["--schedule.batch-size", "4", "--precision", "float32", "--no-compile", "--validation-share", "0.3"]
SHORT_TEXTS = ["--max-plan-tokens", "6", "--max-new-tokens", "4"]
SMALL = {
    "collect": ["--sampling.max-new-tokens", "12"],
    "collect.episodes": ["--draws", "1", "--workers", "1"],
    "collect.trajectories": ["--limit", "8", "--attempts", "8"],
    "compress": SHORT_TRAINING,
    "environments.show": ["--limit", "1", "--workers", "1"],
    "environments.verify": ["--limit", "2", "--workers", "1"],
    "evaluate": [
        "--limit",
        "2",
        "--max-plan-tokens",
        "6",
        "--max-new-tokens",
        "4",
        "--inspected",
        "0",
        "--workers",
        "1",
    ],
    "evaluate alfworld": ["--options.steps", "2"],
    "evaluate scienceworld": ["--options.steps", "2"],
    "evaluate secret": ["--count", "2"],
    "qualify": ["--receiver", "UNTRAINED", "--count", "12", *SHORT_TEXTS],
    "tasks.show": ["--limit", "1"],
    "team": ["--limit", "1", "--team.latent-steps", "1", "--team.sampling.max-new-tokens", "4"],
    "train.actor": SHORT_TRAINING,
    "train.preference": SHORT_TRAINING,
    "worlds.make.alfworld": ["--count", "8"],
}
"""The flags that make a command small, and in which environment."""
SMALL_IN_PYTHON = {"limit": 2, "max_plan_tokens": 6, "max_new_tokens": 4, "inspected": 0, "workers": 1}
"""The settings that make `interlat.evaluate` small."""
DATA = {"evaluate": "--data", "tasks.show": "--file", "tasks.verify": "--file", "team": "--task.data"}
"""The flag that gives a command a file in place of a data set of the hub."""
PARSED = {
    "interlat demo --real": "needs SmolLM2; tests/real/test_demo.py plays it",
    "make": "installs, or is a run of the tests and checks themselves",
    "pip": "installs from the package index",
    "python -m build": "installs from the package index",
    "python -m venv": "installs from the package index",
    "git": "changes a repository",
    "alfworld-download": "downloads the official games",
}
"""How commands begin that are only parsed, and why."""
EXIT_CODES = {"qualify": 1}
"""Other exit codes than 0: random models deliver nothing, and the command says so."""
PIPED = "other-program"
"""A program whose output an example pipes into a command: the lines of `answers.jsonl`."""
ACTOR = "interlat evaluate --sender A --receiver runs/actor/model --environment arithmetic --channels none hidden"
MINI = [
    "interlat worlds make alfworld --output runs/alfworld-mini/games --count 8 --split train --mini",
    "interlat collect episodes --games runs/alfworld-mini/games --split train --output runs/alfworld-mini/train.jsonl",
    "interlat collect --model runs/alfworld-mini/scout/model --source.kind alfworld "
    "--source.data runs/alfworld-mini/train.jsonl --output runs/alfworld-mini/thoughts",
]
EARLIER = {
    "docs/how-to/compress.md": MINI,
    "docs/how-to/preference.md": MINI,
    "docs/how-to/share.md": [f"{ACTOR} --output runs/evaluation"],
}
"""What a reader of a page has run before."""


def reason_of(words):
    """Why a command is only parsed; empty where it runs."""
    if "vllm" in words:
        return "needs vLLM; tests/vllm runs it there"
    line = " ".join(words) + " "
    return next((reason for start, reason in PARSED.items() if line.startswith(f"{start} ")), "")


def command_of(words):
    """The longest beginning that is a command, and the other words."""
    count = max((n for n in (1, 2, 3) if ".".join(words[:n]) in COMMANDS), default=0)
    assert count, f"no command: {' '.join(words)}"
    return ".".join(words[:count]), words[count:]


def replaced(value, names):
    """Settings with other names in them."""
    if isinstance(value, dict):
        return {key: replaced(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [replaced(one, names) for one in value]
    return names.get(value, value) if isinstance(value, str) else value


def write_benchmark(name):
    """A file of a benchmark's questions, in the form of the hub."""
    path = Path(f"{name}_test.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in HUB_ROWS[name]))
    return str(path)


class Shell:
    """Runs the commands of one page, one after another, in the current directory.

    Args:
        names: what stands for each model or address of a page.
    """

    def __init__(self, names):
        self.names = names
        self.folders = 0

    def run(self, words, typed=""):
        """Run a command in this process, small; whether its exit code is the expected one.

        Args:
            words: the command, with its program.
            typed: what it reads on its standard input.
        """
        if words[0] == "torchrun":
            words = ["interlat", *words[words.index("interlat.cli") + 1 :]]
        assert words[0] == "interlat", words
        words = [self.names.get(word, word) for word in words[1:]]
        if {"--help", "--version"} & set(words):
            return main(words) == 0
        name, flags = command_of(words)
        flags = [self.folder() if flag == "DIR" else flag for flag in flags]
        config = self.config(flags)
        environment = self.value(flags, "--environment") or config.get("environment", "")
        more = [*SMALL.get(name, []), *SMALL.get(f"{name} {environment}", [])]
        if "members" in config:
            more = ["--limit", "1", "--variants", "team"]
        more += self.data(name, flags, config, environment)
        stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(typed.encode()))
        try:
            code = main([*name.split("."), *flags, *replaced(more, self.names)])
            return code == EXIT_CODES.get(name, 0)
        finally:
            sys.stdin = stdin

    def folder(self):
        """A new folder for each DIR."""
        self.folders += 1
        return f"DIR-{self.folders}"

    @staticmethod
    def value(flags, flag):
        return flags[flags.index(flag) + 1] if flag in flags else ""

    def config(self, flags):
        """The settings of ``--config``, whose models are replaced as well; a recipe is copied here first."""
        given = self.value(flags, "--config")
        if not given:
            return {}
        path = Path(given)
        text = (path if path.exists() else ROOT / path).read_text()
        settings = replaced(yaml.safe_load(text), self.names)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(settings))
        return settings

    def data(self, name, flags, config, environment):
        """The flag for a file of questions, where a benchmark has none yet."""
        task = self.value(flags, "--task.kind") or config.get("task", {}).get("kind", "")
        benchmark = {"evaluate": environment, "team": task}.get(name, flags[0] if flags else "")
        flag = DATA.get(name)
        if not flag or benchmark not in HUB_ROWS or (flag in flags and self.value(flags, flag) != "FILE"):
            return []
        return [flag, write_benchmark(benchmark)]


def in_python(text, names):
    """A block of Python with other names in its texts."""
    for name, place in names.items():
        text = text.replace(f'"{name}"', f'"{place}"')
    return text


def furnish(page, names):
    """What the readers of a page have, in the current directory."""
    Path("questions.jsonl").write_text('{"question": "What is 17 + 25?", "answer": "42"}\n' * 3)
    Path("questions.csv").write_text("prompt,key,a,b,c,d\nWhat is red?,B,snow,blood,grass,coal\n")
    Path("answers.jsonl").write_text('{"kind": "mathematics", "gold": "7", "answer": "It is 7."}\n')
    write_benchmark("gsm8k")
    shutil.copytree(names["B"], "runs/actor/model")
    interlat.load(names["A"]).write("Name a fruit.", max_new_tokens=4).save("message.safetensors")
    text = page.read_text()
    for kind in ("scout", "latent"):
        shutil.copytree(interlat.bundled(f"alfworld-mini/{kind}"), f"runs/alfworld-mini/{kind}/model")
    if "--environment alfworld" in text or "alfworld_sft.json" in text:
        for split in ("seen", "unseen"):
            list(author_games(Path("alfworld"), 1, split, 0, SMALL_ROOMS))
    if "alfworld_sft.json" in text:
        list(author_games(Path("alfworld"), 8, "train", 0, SMALL_ROOMS))
        Path("alfworld_sft.json").write_text(json.dumps(published_conversations(Path("alfworld"))))
    for command in EARLIER.get(str(page.relative_to(ROOT)), []):
        assert Shell(names).run(shlex.split(command))
