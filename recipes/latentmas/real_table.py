"""Print the table of one benchmark of real.sh: both arrangements beside each other, and their differences."""

import sys
from pathlib import Path

from rich.console import Console

from interlat.report.teams import team_tables
from interlat.results import read_results

folder = Path(sys.argv[1])
records = read_results([folder / "conversation" / "results.jsonl"]).records
published = read_results([folder / "published" / "results.jsonl"]).records
records += [record | {"variant": f"chained {record['variant']}"} for record in published]
print(f"{folder.name}: {len(records)} answers")
Console(width=100).print(team_tables(records))
