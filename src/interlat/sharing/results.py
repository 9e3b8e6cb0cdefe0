"""The numbers of a card: what an evaluation measured of the very files that are pushed."""

import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from interlat.config import from_mapping, read_fields
from interlat.connectors.base import connector_options
from interlat.errors import InputError
from interlat.evaluation import evaluate, teams
from interlat.evaluation.settings import Evaluate
from interlat.evaluation.team_settings import EvaluateTeams
from interlat.files import file_digest
from interlat.places import short_name
from interlat.report.evaluation import markdown_report
from interlat.report.summary import summarise
from interlat.report.table import comparison_columns, markdown_table
from interlat.report.teams import COLUMNS, summarise_teams, team_notes

CONFIG_FILE = "config.yaml"
_WIDE = 1000
_OF_THE_MACHINE = ("output", "device", "workers", "save_messages", "base_url")
"""Settings that say where a run was and not what it measured."""
Run = Evaluate | EvaluateTeams


def measured(run: str | Path, folder: Path, names: Collection[str], repository: str) -> str:
    """What a run measured, as Markdown: its tables with intervals, items, command, data, and the hash of its settings.

    Args:
        run: output folder of `interlat evaluate` or `interlat team`.
        folder: what is pushed.
        names: its files; the run has to be of these very files.
        repository: what the card calls the folder.

    Raises:
        InputError: the folder is no such output, is not finished, has no results of its settings and of its models as
            they are now, or is of other models than the folder.
    """
    config = read_run_settings(Path(run))
    places = _places(config)
    if not any(_holds(place, folder, names) for place in places):
        raise InputError(
            f"results is {run}, an evaluation of {', '.join(map(str, places)) or 'no folder'}, and these are not the "
            f"files of {folder}; give a run of what you push, from the folder in which it was run"
        )
    records = _records(config)
    if not records:
        raise InputError(
            f"results is {run}, which has no results of its {CONFIG_FILE} and its models as they are now; run that "
            "evaluation again"
        )
    counts = Counter(record["variant"] for record in records)
    if counts.keys() != _arms(config) or len(set(counts.values())) > 1:
        raise InputError(f"results is {run}, which is not finished; run its command again, then push")
    command = "interlat evaluate" if isinstance(config, Evaluate) else "interlat team"
    items = len({record["item"] for record in records})
    hashes = ", ".join(dict.fromkeys(f"`{record['config_hash']}`" for record in records))
    data = json.dumps(_public(records[0].get("data", {}), {}), ensure_ascii=False)
    shown = _public(_off_their_defaults(config), {folder.resolve(): repository})
    settings = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).strip()
    about = (
        f"`{command}`: {items} items, {len(records)} results, settings {hashes}, data `{data}`.",
        _tables(config, records),
        f"The command was `{command} --config settings.yaml --output DIR` with these settings; all others have their "
        f"defaults:\n\n```yaml\n{settings}\n```",
    )
    return "\n\n".join(about)


def read_run_settings(run: Path) -> Run:
    """The settings of an evaluation in its output folder.

    Raises:
        InputError: it is no output folder of `interlat evaluate` or `interlat team`.
    """
    path = run / CONFIG_FILE
    fields = read_fields(path) if path.is_file() else {}
    kinds: tuple[tuple[type[Run], set[str]], ...] = (
        (Evaluate, {"sender", "environment"}),
        (EvaluateTeams, {"model", "task", "variants"}),
    )
    for kind, needed in kinds:
        if isinstance(fields, dict) and needed <= fields.keys():
            # The commands have fields of their own beside those that decide results.
            names = {one.name for one in dataclasses.fields(kind)}
            known = {name: value for name, value in fields.items() if name in names}
            config: Run = from_mapping(kind, {**known, "output": str(run)}, str(path))
            return config
    raise InputError(
        f"results is {run}, expected an output folder of `interlat evaluate` or `interlat team`, with {CONFIG_FILE} "
        "and results.jsonl"
    )


def _records(config: Run) -> list[dict[str, Any]]:
    if isinstance(config, Evaluate):
        return evaluate.results_of(config).records
    return [record for record in teams.results_of(config).records if record["variant"] in config.variants]


def _arms(config: Run) -> set[str]:
    if isinstance(config, Evaluate):
        return {arm.name for arm in evaluate.arms_of(config.channels, config.controls)}
    return set(config.variants)


def _tables(config: Run, records: Sequence[Mapping[str, Any]]) -> str:
    if isinstance(config, Evaluate):
        return markdown_report(summarise(records)).strip()
    summary = summarise_teams(records)
    parts = [markdown_table(COLUMNS, summary.rows)]
    parts += [markdown_table(comparison_columns("items", _WIDE), summary.comparisons)] if summary.comparisons else []
    notes = ["Correct: rate with its 95 % Wilson interval. Costs: means per item.", *team_notes(summary)]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in notes)])


def _places(config: Run) -> list[Path]:
    """The folders of the models and connectors of a run."""
    named = [config.sender, config.receiver] if isinstance(config, Evaluate) else [config.model]
    named += [] if isinstance(config, Evaluate) else list(config.models.values())
    if config.connector:
        named += [str(connector_options(config.connector).get("folder", ""))]
    paths = (Path(name).expanduser() for name in dict.fromkeys(filter(None, named)))
    return [path for path in paths if path.is_dir()]


def _holds(place: Path, folder: Path, names: Collection[str]) -> bool:
    """Whether a folder has these files of another one, byte by byte."""
    return all((place / name).is_file() and _same(place / name, folder / name) for name in names)


def _same(one: Path, other: Path) -> bool:
    if one.samefile(other):
        return True
    return one.stat().st_size == other.stat().st_size and file_digest(one) == file_digest(other)


def _off_their_defaults(config: Run) -> dict[str, Any]:
    shown = {}
    plain = dataclasses.asdict(config)
    for one in dataclasses.fields(config):
        value = getattr(config, one.name)
        default = one.default_factory() if one.default_factory is not dataclasses.MISSING else one.default
        if one.name not in _OF_THE_MACHINE and value != default:
            shown[one.name] = plain[one.name]
    return shown


def _public(value: Any, names: Mapping[Path, str]) -> Any:
    """Settings without the folders of this machine: a path becomes its last part, or its name in ``names``."""
    if isinstance(value, Mapping):
        return {key: _public(inner, names) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_public(inner, names) for inner in value]
    if not isinstance(value, str) or len(value) > 1000 or "\n" in value:
        return value
    path = Path(value).expanduser()
    if path.is_absolute() or ("/" in value and path.exists()):
        return names.get(path.resolve(), short_name(value))
    return value
