"""The self-contained HTML page of a run: tables, figures, and every game to be read turn by turn."""

import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader

from interlat.report.table import compare, is_controlled, splits_of, summarise, variants_of


def render_page(
    records: Sequence[dict[str, Any]],
    inspections: dict[str, Any],
    figures: dict[str, str],
    title: str,
    command: str,
) -> str:
    """The page as text. Data is embedded once, as JSON in which no ``<`` can end the script element.

    Args:
        records: result records.
        inspections: item -> task, evidence, plan and the decoded rows of the latents; may be empty.
        figures: caption -> SVG.
        title: heading of the page.
        command: the command that made the run.
    """
    environment = Environment(loader=PackageLoader("interlat.report", "templates"), autoescape=True)
    games: dict[str, Any] = {}
    for record in records:
        game = games.setdefault(
            record["item"], {"split": record["split"], "task_type": record["task_type"], "variants": {}}
        )
        game["variants"][record["variant"]] = {
            "success": record["success"],
            "steps": record["steps"],
            "cap": record["max_steps"],
            "turns": [[turn["action"], turn["observation"]] for turn in record["turns"]],
        }
    for item, game in games.items():
        game["inspection"] = inspections.get(item)
    data = json.dumps({"variants": variants_of(records), "games": games}, ensure_ascii=False)
    return environment.get_template("report.html").render(
        title=title,
        command=command,
        hashes=sorted({record["config_hash"] for record in records}),
        seeds=sorted({record["seed"] for record in records}),
        machine=f"{platform.machine()}, Python {platform.python_version()}",
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        rows=summarise(records),
        comparisons=compare(records),
        splits=splits_of(records),
        controlled=is_controlled(records),
        figures=figures,
        data=data.replace("<", "\\u003c"),
    )
