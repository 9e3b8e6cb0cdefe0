"""Records of a data set from a local file, a folder or the Hugging Face hub.

JSON and CSV are read by Python's own modules: `datasets` and pyarrow guess types (the CSV cell ``007`` becomes 7, a
JSON text that looks like a date becomes one) and fill missing fields, and a task must be what its file says.
"""

import csv
import glob
import gzip
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interlat.errors import InputError
from interlat.files import sha256_of

SUFFIXES = (".json", ".jsonl", ".jsonl.gz", ".parquet", ".csv")
"""How the name of a file that can be read ends."""

Records = list[dict[str, Any]]


def is_local(data: str) -> bool:
    """Whether ``data`` means a path: it exists, or is written like one. Anything else is an id on the hub."""
    return Path(data).expanduser().exists() or data.endswith(SUFFIXES) or data.startswith((".", "/", "~"))


def read_records(data: str, split: str = "", name: str = "", revision: str = "") -> tuple[Records, dict[str, str]]:
    """All records of one split of a data set.

    Args:
        data: a .json, .jsonl, .jsonl.gz, .parquet or .csv file; a folder of such files, one (or numbered Parquet
            parts) a split, in itself, in ``data/`` or in ``<name>/``; a folder that `datasets` saved to disk; or an
            id on the Hugging Face hub.
        split: which split; not looked at where ``data`` is one file or one saved data set.
        name: the configuration on the hub, a subfolder of a folder.
        revision: branch, tag or commit on the hub; a full commit is taken as it is, without asking the hub.

    Returns:
        The records, and their origin: ``data`` with ``sha256`` for local data or ``revision`` (a commit) for the hub.
        The hash of several files is that of the lines that ``sha256sum`` prints for them.

    Raises:
        InputError: there is nothing to read, it is damaged, or the hub refuses.
    """
    if not is_local(data):
        return _hub_records(data, split, name, revision)
    path = Path(data).expanduser()
    if not path.exists():
        raise InputError(f"there is no file {data}; correct the path, or name a data set of the hub as owner/name")
    if (path / "dataset_dict.json").exists():
        splits = sorted(file.parent.name for file in path.glob("*/state.json"))
        if split not in splits:
            raise InputError(f"{path} has no split {split!r}; choose one of {', '.join(splits) or 'another folder'}")
        path = path / split
    saved = path / "state.json"
    files = [path] if saved.exists() or not path.is_dir() else _files_of_split(path, split, name)
    records: Records = []
    for file in files:
        try:
            records += _file_records(file)
        except (OSError, ValueError, EOFError, zlib.error, csv.Error) as error:
            said = " ".join(str(error).split())
            raise InputError(f"cannot read {file} ({said}); correct the file or fetch it again") from error
    if saved.exists():
        # Other files there may be caches, which come and go.
        files = [path / file["filename"] for file in json.loads(saved.read_text(encoding="utf-8"))["_data_files"]]
    hashes = {file.relative_to(path).as_posix(): sha256_of(file.read_bytes()) for file in files}
    together = sha256_of("".join(f"{hashes[file]}  {file}\n" for file in sorted(hashes)).encode())
    return records, {"data": data, "sha256": next(iter(hashes.values())) if len(hashes) == 1 else together}


def read_json(path: Path, advice: str) -> Any:
    """The content of one JSON file.

    Args:
        advice: what to do about another file, for the error.

    Raises:
        InputError: it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no JSON ({error}); {advice}") from error


def value_of(record: Mapping[str, Any], column: str, where: str) -> str:
    """What ``record`` has in ``column``, as text.

    Raises:
        InputError: there is no such column or nothing in it; the message says ``where`` and lists the columns.
    """
    if record.get(column) is None:
        columns = ", ".join(record) or "none"
        raise InputError(
            f"{where} has no {column!r}; its columns are {columns}: name one of these (such as --source.fields.text), "
            "or use other data"
        )
    return as_text(record[column])


def as_text(value: Any) -> str:
    """A value of a record as text: JSON unless it is a text already; nothing for None."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _file_records(path: Path) -> Records:
    if path.is_dir():
        import datasets

        saved: Records = datasets.load_from_disk(str(path)).to_list()
        return saved
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{path} is no data file, expected a name that ends in {', '.join(SUFFIXES)}; convert it")
    if path.suffix == ".parquet":
        import pyarrow.parquet

        records: Records = pyarrow.parquet.ParquetFile(path).read().to_pylist()
        return records
    # "utf-8-sig" reads UTF-8 with or without the mark that spreadsheets put in front. Only "\n" and its like end a
    # line here; str.splitlines would also cut at U+2028 inside a JSON string.
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="" if path.suffix == ".csv" else None) as lines:
        if path.suffix == ".csv":
            return _csv_records(csv.DictReader(lines, strict=True), path)
        if path.suffix != ".json":
            numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
            return [_object(_parsed(line, path, number), f"{path} line {number}") for number, line in numbered]
        content = _parsed(lines.read(), path, 1)
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else None
    if not isinstance(content, list):
        raise InputError(f"{path} holds no list of records, expected [{{...}}, ...] or an object with one such list")
    return [_object(record, f"record {number} of {path}") for number, record in enumerate(content)]


def _parsed(text: str, path: Path, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise InputError(f"{path} line {line} is no JSON ({error.msg}); correct the line") from error


def _object(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise InputError(f"{where} is {json.dumps(value)[:40]}, expected an object {{...}} with a field for each column")


def _csv_records(reader: "csv.DictReader[str]", path: Path) -> Records:
    records = []
    for record in reader:
        # DictReader keeps surplus cells under None and fills missing ones with None.
        if None in record or None in record.values():
            raise InputError(
                f"{path} line {reader.line_num} has not as many cells as the first line, which names the columns; "
                "correct it (quote cells that hold a comma)"
            )
        records.append(record)
    return records


def _files_of_split(folder: Path, split: str, name: str) -> list[Path]:
    """The file of a split, or all its numbered parts in their order."""
    for place in [folder / name, folder, folder / "data"] if name else [folder, folder / "data"]:
        files = [file for suffix in SUFFIXES if (file := place / f"{split}{suffix}").is_file()]
        parts = sorted(place.glob(f"{glob.escape(split)}-[0-9]*-of-[0-9]*.parquet"))
        if len(files) + bool(parts) > 1:
            found = ", ".join(file.name for file in [*files, *parts[:1]])
            raise InputError(f"{place} holds split {split!r} more than once ({found}); give the path of one of them")
        if parts and len(parts) != (expected := int(parts[0].stem.rpartition("-")[2])):
            raise InputError(f"{place} holds {len(parts)} of {expected} parts of split {split!r}; fetch all of them")
        if files or parts:
            return [*files, *parts]
    held = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.name.endswith(SUFFIXES))
    raise InputError(
        f"{folder} has no file for split {split!r}, expected {split or '<split>'}.jsonl or the like; "
        f"it holds {', '.join(held[:8]) or 'no data files'}: choose a split of these, or give the path of a file"
    )


def _hub_records(data: str, split: str, name: str, revision: str) -> tuple[Records, dict[str, str]]:
    import datasets
    from datasets.exceptions import DatasetsError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    if not split:
        raise InputError(f"no split was named for the data set {data!r} of the hub; name one, such as train or test")
    try:
        is_commit = re.fullmatch("[0-9a-f]{40}", revision)
        commit = revision if is_commit else str(HfApi().dataset_info(data, revision=revision or None).sha)
        records: Records = datasets.load_dataset(data, name or None, split=split, revision=commit).to_list()
    # HTTPError: without a network. RuntimeError: a data set that needs a program of its own to be read.
    except (DatasetsError, HTTPError, OSError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"cannot read split {split!r} of {data!r} ({name or 'no configuration'}) from the hub: {said}; "
            "check the names and the network, or give a local file"
        ) from error
    return records, {"data": data, "revision": commit}
