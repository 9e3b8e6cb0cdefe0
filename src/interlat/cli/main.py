"""The command line: one subcommand a stage.

Each takes ``--config FILE`` (YAML) and flags that override it. Progress and messages go to stderr, data to stdout.
Exit codes: 0 done, 1 done with failed items, 2 bad input, 130 interrupted.
"""

import importlib
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interlat.errors import InputError, InterlatError


def _store(class_name: str, function_name: str, description: str) -> tuple[str, str, str, str]:
    return "interlat.cli.store_commands", class_name, function_name, description


def _train(class_name: str, function_name: str, description: str) -> tuple[str, str, str, str]:
    return "interlat.cli.train_commands", class_name, function_name, description


def _compress(class_name: str, function_name: str, description: str) -> tuple[str, str, str, str]:
    return "interlat.cli.compress_commands", class_name, function_name, description


# Command words -> (module, configuration class, function that runs it, one line of help). Imported only when asked for.
COMMANDS: dict[tuple[str, ...], tuple[str, str, str, str]] = {
    ("demo",): (
        "interlat.experiments.household.demo",
        "Demo",
        "run_demo",
        "scout and actor play held-out games; a table and a page",
    ),
    ("worlds", "make", "alfworld"): (
        "interlat.cli.stages",
        "MakeAlfworld",
        "run_make_alfworld",
        "author ALFWorld games of all six task types",
    ),
    ("collect", "episodes"): (
        "interlat.cli.stages",
        "CollectEpisodes",
        "run_collect_episodes",
        "play games with an expert and keep evidence and episodes",
    ),
    ("collect", "trajectories"): (
        "interlat.cli.stages",
        "CollectTrajectories",
        "run_collect_trajectories",
        "let a trained actor play training games several times with stored thoughts",
    ),
    ("collect", "lessons"): (
        "interlat.cli.team_commands",
        "CollectLessons",
        "run_collect_lessons",
        "conversations that teach a small model to solve word problems in a team",
    ),
    ("collect",): (
        "interlat.cli.stages",
        "Collect",
        "run_collect",
        "let a model think about tasks; its states in a store",
    ),
    ("store", "info"): _store("StoreInfo", "run_store_info", "what a latent store holds and how it was made"),
    ("store", "verify"): _store("VerifyStore", "run_verify_store", "check every thought of a store"),
    ("store", "merge"): _store("MergeStores", "run_merge_stores", "put several stores of one kind into a new one"),
    ("store", "export"): _store("ExportStore", "run_export_store", "write a store as JSON, Parquet or a data set"),
    ("store", "import"): _store("ImportStore", "run_import_store", "make a store of JSON, Parquet or a data set"),
    ("store", "plot"): _store("PlotStore", "run_plot_store", "pictures of lengths, norms and principal components"),
    ("store", "split"): _store("SplitStore", "run_split_store", "give every thought a split, by its task"),
    ("store", "push"): _store("PushStore", "run_push_store", "upload a store to the Hugging Face hub"),
    ("store", "pull"): _store("PullStore", "run_pull_store", "download a store from the Hugging Face hub"),
    ("train", "tokenizer"): _train("TrainTokenizer", "run_train_tokenizer", "train a tokenizer"),
    ("train", "scout"): _train("TrainScoutCommand", "run_train_scout", "train a scout from scratch"),
    ("train", "actor"): _train("TrainActorCommand", "run_train_actor", "train an actor to read messages"),
    ("plot", "training"): _train("PlotTraining", "run_plot_training", "loss curves of one training or of several"),
    ("train", "preference"): (
        "interlat.cli.train_commands",
        "TrainPreferenceCommand",
        "run_train_preference",
        "train an actor to prefer its won trajectories to its lost ones",
    ),
    ("compress",): _train("CompressCommand", "run_compress", "train a sender to send a few latents to an actor"),
    ("evaluate", "latency"): _compress(
        "EvaluateLatency", "run_evaluate_latency", "time of a message from the sender's prompt to the first action"
    ),
    ("plot", "tradeoff"): _compress("PlotTradeoff", "run_plot_tradeoff", "success against latency"),
    ("plot", "parallelism"): _compress(
        "PlotParallelism", "run_plot_parallelism", "how many continuations latents hold at once"
    ),
    ("evaluate",): (
        "interlat.cli.stages",
        "Evaluate",
        "run_evaluate",
        "play held-out games under variants and controls",
    ),
    ("team",): (
        "interlat.cli.team_commands",
        "RunTeam",
        "run_team",
        "one agent, teams and controls on the same questions",
    ),
    ("tasks", "list"): ("interlat.cli.task_commands", "ListTasks", "run_list_tasks", "the benchmarks"),
    ("tasks", "show"): ("interlat.cli.task_commands", "ShowTasks", "run_show_tasks", "what a benchmark asks"),
    ("tasks", "verify"): (
        "interlat.cli.task_commands",
        "VerifyTasks",
        "run_verify_tasks",
        "grade the answers of a data set and corrupted ones",
    ),
    ("tasks", "grade"): (
        "interlat.cli.task_commands",
        "GradeAnswers",
        "run_grade_answers",
        "grade the answers in a file",
    ),
    ("compare",): (
        "interlat.cli.stages",
        "Compare",
        "run_compare",
        "compare trained arms on the games that all played",
    ),
    ("import-checkpoint",): (
        "interlat.cli.checkpoint_commands",
        "ImportCheckpoint",
        "run_import_checkpoint",
        "make an actor of a checkpoint of the published Interlat code",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As stderr does: what a terminal or a file cannot take ends no run.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _dispatch(words)
    except InterlatError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read stdout wants no more, as `head` does; nothing may be written there at the exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("interlat"))
        return 0
    for command, (module_name, class_name, function_name, description) in COMMANDS.items():
        if tuple(words[: len(command)]) == command:
            module = importlib.import_module(module_name)
            config = parse(getattr(module, class_name), words[len(command) :], " ".join(command), description)
            return int(getattr(module, function_name)(config) or 0)
    group = words[0]
    members = [" ".join(command) for command in COMMANDS if command[0] == group]
    if members and (words[1:] or ["--help"])[0] in ("-h", "--help"):
        print(usage(group))
        return 0
    asked = " ".join(word for word in words[:3] if not word.startswith("-"))
    known = members or [" ".join(command) for command in COMMANDS]
    from interlat.config import did_you_mean

    raise InputError(
        f"unknown command {asked!r}{did_you_mean(asked, known)}; "
        + (f"expected one of: {', '.join(known)}" if members else "`interlat --help` lists the commands")
    )


def parse(kind: type[Any], words: list[str], command: str, description: str) -> Any:
    """The configuration from ``--config`` and flags."""
    import tyro

    from interlat.config import read_config

    default = None
    if "--config" in words:
        place = words.index("--config")
        if place + 1 >= len(words):
            raise InputError("--config needs the path of a YAML file")
        default = read_config(kind, words[place + 1])
        words = words[:place] + words[place + 2 :]
    # A shell expands ~/x where it is a word of its own, but not in --output=~/x.
    words = [re.sub(r"^(--[\w.-]+=)?~/", lambda match: f"{match[1] or ''}{Path.home()}/", word) for word in words]
    words = [_capitalised(word, before) for word, before in zip(words, ["", *words], strict=False)]
    return tyro.cli(kind, args=words, default=default, prog=f"interlat {command}", description=description)


def _capitalised(word: str, before: str) -> str:
    """The value of ``--template.enable-thinking`` as Python writes it, which is all that tyro reads."""
    flag, equals, value = word.partition("=") if word.startswith("--") else (before, "", word)
    if not flag.replace("_", "-").endswith(".enable-thinking") or value not in ("true", "false", "none"):
        return word
    return f"{flag}={value.capitalize()}" if equals else value.capitalize()


def usage(group: str = "") -> str:
    """The list of commands; with a first word, such as store, those that begin with it."""
    chosen = {command: entry for command, entry in COMMANDS.items() if group in ("", command[0])}
    width = max(len(" ".join(command)) for command in chosen)
    lines = ["usage: interlat COMMAND [--config FILE] [--field value ...]", ""]
    lines += [f"  {' '.join(command):<{width}}  {entry[3]}" for command, entry in chosen.items()]
    return "\n".join([*lines, "", "interlat COMMAND --help lists the fields of a command."])


if __name__ == "__main__":
    sys.exit(main())
