"""Kill a command at random instants, let it go on, and compare what it leaves with what an undisturbed run leaves.

For any command whose last argument but one is ``--output``-like: it is given as a function of the output folder. Also a
script::

    python tests/kill_rounds.py --kills 20 --same metrics.jsonl --folder runs/k -- \\
        interlat train actor --config c.yaml --output {output}

``{output}`` becomes the folder of each run. Every kill is a SIGKILL to the command and all its children.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEASURED = ("seconds", "peak_memory_bytes")
"""Fields that are measured and differ from run to run, as do those that end with one of them."""
Command = Callable[[Path], Sequence[str]]


@dataclass(frozen=True)
class Killed:
    """What happened to the killed run."""

    kills: int
    """SIGKILLs that hit a process at work."""
    differences: list[str]
    """What differs from the undisturbed run; empty where all is the same."""
    leftovers: list[str]
    """Hidden files that are left."""


def kill_rounds(
    command: Command,
    folder: Path,
    kills: int,
    compare: Callable[[Path, Path], list[str]],
    *,
    seed: int = 0,
    linger: float = 0.2,
) -> Killed:
    """Run a command undisturbed, run it again with kills, let it end, compare.

    A kill comes after a random share of the growth that is left, and then a random while, so that it hits all phases:
    between two files, inside one, and in the export at the end. A run that ends before its kill is not counted, and the
    killed run then begins again in a new folder: there are as many kills as asked for, of one run or of several.

    Args:
        command: folder -> words to run.
        folder: where the runs go.
        kills: how many.
        compare: undisturbed and killed folder -> differences, such as `same_lines` and `same_files`.
        seed: of the instants.
        linger: the longest further while in seconds.
    """
    rng = random.Random(seed)
    whole = folder / "undisturbed"
    _run_to_the_end(command(whole))
    expected = growth(whole)
    hit, number, differences, leftovers = 0, 0, [], []
    while hit < kills:
        killed, number = folder / f"killed-{number}", number + 1
        ended = False
        while hit < kills and not ended:
            before = growth(killed)
            # Somewhere in the next part of what is left, so that a run takes several kills.
            enough = before + rng.random() * max(1, expected - before) / 2
            ended = not _killed(command(killed), lambda k=killed, e=enough: growth(k) >= e, rng.random() * linger)
            hit += not ended
        _run_to_the_end(command(killed))
        differences += [f"{killed.name}: {one}" for one in compare(whole, killed)]
        leftovers += [str(path) for path in killed.rglob(".*")]
    return Killed(hit, differences, leftovers)


def growth(folder: Path) -> int:
    """Lines that have been written: of results, metrics and journals."""
    count = 0
    for path in folder.rglob("*.jsonl"):
        try:
            count += path.read_bytes().count(b"\n")
        except FileNotFoundError:
            continue
    return count


def _run_to_the_end(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")


def _killed(words: Sequence[str], ripe: Callable[[], bool], linger: float) -> bool:
    """Start a command and kill it; False where it ended by itself."""
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while process.poll() is None and not ripe():
            time.sleep(0.002)
        time.sleep(linger)
        if process.poll() is not None:
            return False
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return True


def same_lines(name: str, key: Sequence[str], left_out: Iterable[str] = MEASURED) -> Callable[[Path, Path], list[str]]:
    """Compare a JSON-lines file by records, whatever their order.

    Args:
        name: the file.
        key: what a record is known by; a record that stands twice is a difference.
        left_out: names, or ends of names, of fields that are not compared, however deep they stand.
    """
    ends = tuple(left_out)

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in value.items() if not name.endswith(ends)}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    def compare(whole: Path, killed: Path) -> list[str]:
        found = []
        for folder in (whole, killed):
            records = [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
            of_key = {tuple(str(record[part]) for part in key): plain(record) for record in records}
            if len(of_key) < len(records):
                return [f"{name} in {folder} holds {len(records) - len(of_key)} records twice"]
            found.append(of_key)
        one, other = found
        different = [place for place in one.keys() | other.keys() if one.get(place) != other.get(place)]
        return [f"{name}: {len(different)} of {len(one)} records differ, such as {min(different)}"] if different else []

    return compare


def same_files(*patterns: str) -> Callable[[Path, Path], list[str]]:
    """Compare files byte by byte, by glob patterns inside the folders."""

    def compare(whole: Path, killed: Path) -> list[str]:
        one, other = (_digests(folder, patterns) for folder in (whole, killed))
        return sorted(f"{name} differs" for name in one.keys() | other.keys() if one.get(name) != other.get(name))

    return compare


def _digests(folder: Path, patterns: Sequence[str]) -> dict[str, str]:
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def main() -> int:
    """The script: 0 where nothing differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--same", nargs="*", default=[], help="glob patterns of files that are equal byte by byte")
    parser.add_argument("--lines", nargs="*", default=[], help="FILE:KEY,KEY of JSON lines that are equal by record")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    comparisons = [same_files(*options.same)] if options.same else []
    for part in options.lines:
        name, _, key = part.partition(":")
        comparisons.append(same_lines(name, key.split(",")))
    result = kill_rounds(
        lambda folder: [word.replace("{output}", str(folder)) for word in options.command],
        options.folder,
        options.kills,
        lambda whole, killed: [one for compare in comparisons for one in compare(whole, killed)],
        seed=options.seed,
    )
    print(json.dumps({"kills": result.kills, "differences": result.differences, "leftovers": result.leftovers}))
    return int(bool(result.differences or result.leftovers))


if __name__ == "__main__":
    sys.exit(main())
