"""Results of evaluations: one JSON line an answer or episode. Of a result with several lines the first counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlat.errors import StorageError
from interlat.files import is_of_type, read_lines

RESULT_FIELDS: Mapping[str, type] = {"item": str, "variant": str, "config_hash": str}
"""What every line has, of whatever version and configuration."""
RESULT_KEY = ("config_hash", "item", "variant")
"""What identifies a result."""


@dataclass(frozen=True)
class Results:
    """What was read."""

    records: list[dict[str, Any]]
    """The first line of each result: the one that a continued run found there."""
    repeated: int
    """Lines left out because an earlier line has their result."""
    place: str
    """Their file, or the folder of several."""

    @property
    def note(self) -> str:
        """A sentence about the lines left out; empty where there are none."""
        if not self.repeated:
            return ""
        lines = "1 line repeats a result" if self.repeated == 1 else f"{self.repeated} lines repeat results"
        return (
            f"{lines} in {self.place}: perhaps two processes wrote there at once; of each result the first line counts"
        )


def read_results(
    paths: Iterable[str | Path],
    config_hash: str | None = None,
    *,
    fields: Mapping[str, type] | None = None,
    key: Sequence[str] = RESULT_KEY,
) -> Results:
    """The results in some files of one run, in their order.

    Args:
        paths: the files; those that are not there hold nothing.
        config_hash: keep those of one configuration; None keeps all.
        fields: what each of those that are kept must have besides, and of which types.
        key: what identifies a result.

    Raises:
        StorageError: a line is no result; names the file.
    """
    files = list(map(Path, paths))
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    count = 0
    for path in files:
        for record in read_lines(path, RESULT_FIELDS):
            if config_hash is not None and record["config_hash"] != config_hash:
                continue
            wrong = [name for name, kind in (fields or {}).items() if not is_of_type(record.get(name), kind)]
            if wrong:
                raise StorageError(
                    f"{path} has a result of {record['item']} with {wrong[0]} {record.get(wrong[0])!r}, expected "
                    f"{(fields or {})[wrong[0]].__name__}; remove that line, or choose another folder"
                )
            count += 1
            found.setdefault(tuple(record[name] for name in key), record)
    place = str(files[0] if len(files) == 1 else files[0].parent) if files else ""
    return Results(list(found.values()), count - len(found), place)
