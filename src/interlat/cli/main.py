"""The command line: one subcommand a stage.

Each takes ``--config FILE`` (YAML) and flags that override it. Progress and messages go to stderr, data to stdout.
Exit codes: 0 done, 1 done with failed items, 2 bad input, 130 interrupted.
"""

import inspect
import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from interlat.errors import InputError, InterlatError
from interlat.registry import Registry

if TYPE_CHECKING:
    from interlat.engine.distributed import Ranks


class Command(Protocol):
    """A command: a frozen dataclass of its settings, whose docstring is its help.

    Its module imports no torch, so that help and bad input are quick; what runs is imported in ``run``.
    """

    def run(self) -> Any:
        """Do the work, with progress on stderr; the result."""

    def report(self, result: Any) -> int | None:
        """Show the result; the exit code, if it is not 0."""


_HOUSEHOLD = "interlat.experiments.household.commands"
COMMANDS: Registry[Any] = Registry(
    "commands",
    {
        "demo": f"{_HOUSEHOLD}.demo:Demo",
        "worlds.make.alfworld": f"{_HOUSEHOLD}.make_alfworld:MakeAlfworld",
        "collect": "interlat.cli.collect:Collect",
        "collect.episodes": f"{_HOUSEHOLD}.collect:CollectEpisodesCommand",
        "collect.trajectories": f"{_HOUSEHOLD}.collect:CollectTrajectoriesCommand",
        "collect.lessons": "interlat.experiments.lessons:CollectLessons",
        "store.info": "interlat.cli.store:StoreInfo",
        "store.verify": "interlat.cli.store:VerifyStore",
        "store.probe": "interlat.cli.store:ProbeStore",
        "store.merge": "interlat.cli.store:MergeStores",
        "store.export": "interlat.cli.store:ExportStore",
        "store.import": "interlat.cli.store:ImportStore",
        "store.split": "interlat.cli.store:SplitStore",
        "store.plot": "interlat.cli.plots:PlotStore",
        "store.push": "interlat.cli.store:PushStore",
        "store.pull": "interlat.cli.store:PullStore",
        "train.tokenizer": "interlat.cli.train:TrainTokenizer",
        "train.scout": f"{_HOUSEHOLD}.collect:TrainScoutCommand",
        "train.actor": "interlat.cli.train:TrainActorCommand",
        "train.preference": "interlat.cli.train:TrainPreferenceCommand",
        "compress": "interlat.cli.train:CompressCommand",
        "evaluate": "interlat.cli.evaluate:EvaluateCommand",
        "qualify": "interlat.cli.qualify:Qualify",
        "inspect": "interlat.cli.inspect:Inspect",
        "household.evaluate": f"{_HOUSEHOLD}.evaluate:Evaluate",
        "evaluate.latency": f"{_HOUSEHOLD}.latency:EvaluateLatency",
        "team": "interlat.cli.team:RunTeam",
        "compare": f"{_HOUSEHOLD}.compare:Compare",
        "push": "interlat.cli.share:Push",
        "pull": "interlat.cli.share:Pull",
        "plot.training": "interlat.cli.plots:PlotTraining",
        "plot.tradeoff": f"{_HOUSEHOLD}.latency:PlotTradeoff",
        "plot.parallelism": "interlat.cli.plots:PlotParallelism",
        "models.list": "interlat.cli.models:ListModels",
        "models.fetch": "interlat.cli.models:FetchModel",
        "environments.list": "interlat.cli.environments:ListEnvironments",
        "environments.show": "interlat.cli.environments:ShowEnvironment",
        "environments.verify": "interlat.cli.environments:VerifyEnvironment",
        "tasks.list": "interlat.cli.tasks:ListTasks",
        "tasks.show": "interlat.cli.tasks:ShowTasks",
        "tasks.verify": "interlat.cli.tasks:VerifyTasks",
        "tasks.grade": "interlat.cli.tasks:GradeAnswers",
        "import-checkpoint": "interlat.cli.train:ImportCheckpoint",
    },
)
"""The words of a command, with dots between them, and its class; another package adds one by an entry point."""
_HELP = ("-h", "--help")


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
    if words == ["--version"]:
        from interlat import __version__

        print(__version__)
        return 0
    commands = {tuple(name.split(".")): name for name in COMMANDS.names()}
    count = next(count for count in range(len(words), -1, -1) if tuple(words[:count]) in commands or not count)
    command, left = tuple(words[:count]), words[count:]
    if command:
        kind = COMMANDS[commands[command]]
        members = [" ".join(one) for one in commands if one[:count] == command and len(one) > count]
        if any(word in _HELP for word in left):
            return _show_help(kind, " ".join(command), members)
        if not (members and left and not left[0].startswith("-")):
            return execute(parse(kind, left, " ".join(command)))
    return _show_group(words, [" ".join(one) for one in commands])


def execute(command: Command) -> int:
    """Run a command and report its result; the exit code."""
    return int(command.report(command.run()) or 0)


def run_stage(
    config: Any,
    ranks: "Ranks",
    steps: Iterable[tuple[int, int]],
    title: str,
    notes: Mapping[str, str] | None = None,
) -> bool:
    """Run a stage to its end; whether this is the first process, which shows progress and reports for all.

    The configuration is written into its output folder at the first step.
    """
    from interlat.config import write_config
    from interlat.progress import completed, drain

    if ranks.is_first:
        several = f" (1 of {ranks.world_size} ranks)" if ranks.world_size > 1 else ""
        completed(steps, f"{title}{several}", notes, begun=lambda: write_config(config, config.output))
    else:
        # The bar and the exit code are the first one's; torchrun would end it for a failure that it is to report.
        drain(steps)
    return ranks.is_first


def run_items(command: Any, title: str, notes: Mapping[str, str] | None = None) -> bool:
    """Run the stage of a command that works on items: alone, as a rank of ``torchrun``, or on a Ray cluster; whether
    this process reports for all."""
    from interlat.engine.distributed import Ranks

    if command.ray:
        from interlat.cli.cluster import on_ray

        return run_stage(command, Ranks(), on_ray(command), f"{title} ({command.ray} workers)", notes)
    with Ranks.from_environment().together() as ranks:
        return run_stage(command, ranks, command.steps(ranks), title, notes)


def parse(kind: type[Any], words: Sequence[str], command: str = "") -> Any:
    """The settings from the file of ``--config`` and from flags, which go first.

    Raises:
        InputError: a flag, a file or a value that is wrong, or one that is missing.
    """
    from interlat.cli.flags import given_fields
    from interlat.config import from_mapping, read_fields

    words, fields, source = list(words), {}, f"interlat {command}".strip()
    place = next((place for place, word in enumerate(words) if word.partition("=")[0] == "--config"), None)
    if place is not None:
        source = words[place].partition("=")[2] or "".join(words[place + 1 : place + 2])
        if not source or source.startswith("--"):
            raise InputError("--config needs the path of a YAML file")
        del words[place : place + 1 + ("=" not in words[place])]
    if place is not None:
        fields = read_fields(source)
    # A command whose settings of the first edition are of another class says which.
    kind = kind.form_of(fields, words) if hasattr(kind, "form_of") and isinstance(fields, dict) else kind
    given = given_fields(kind, words)
    # A command may have defaults that depend on what is given.
    fields = kind.completed(fields, given) if hasattr(kind, "completed") and isinstance(fields, dict) else fields
    return from_mapping(kind, fields, source, given=given)


def _show_help(kind: type[Any], command: str, members: Sequence[str]) -> int:
    import tyro

    about = f"{inspect.getdoc(kind)}\n\nFields may also come from YAML: --config FILE; flags go first."
    if members:
        about += f"\n\nFurther commands: {', '.join(members)}."
    tyro.cli(kind, args=["--help"], prog=f"interlat {command}", description=about, config=(tyro.conf.AvoidSubcommands,))
    return 0


def _show_group(words: Sequence[str], commands: Sequence[str]) -> int:
    """Help on all commands, or on those that begin with these words; or the error that there are none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    asked = " ".join(word for word in words if not word.startswith("-"))
    chosen = [one for one in commands if f"{one} ".startswith(f"{asked} " if asked else "")]
    if not chosen or asked in commands or [word for word in words if word.startswith("-") and word not in _HELP]:
        _refuse(words, commands)
    console = Console()
    console.print(Text(f"usage: interlat {asked and f'{asked} '}COMMAND [--config FILE] [--field value ...]"))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column()
    for one in chosen:
        about = " ".join((inspect.getdoc(COMMANDS[one.replace(" ", ".")]) or "").split("\n\n")[0].split())
        table.add_row(f"  {one}", about)
    console.print("", table, "", Text("interlat COMMAND --help lists the fields of a command."), sep="\n")
    return 0


def _refuse(words: Sequence[str], commands: Sequence[str]) -> None:
    from interlat.config import did_you_mean

    asked = " ".join(word for word in words[:3] if not word.startswith("-")) or words[0]
    group = [one for one in commands if one.split()[0] == words[0] and " " in one]
    known = f"expected one of: {', '.join(group)}" if group else "`interlat --help` lists the commands"
    raise InputError(f"unknown command {asked!r}{did_you_mean(asked, group or commands)}; {known}")


if __name__ == "__main__":
    sys.exit(main())
