"""The card of a repository: what is in it, how to load it, and the numbers that were measured; nothing else."""

import re
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, ModelCard, ModelCardData

from interlat.errors import InputError
from interlat.files import sha256_of
from interlat.sharing.kinds import CARD_FILE, Description, Kind
from interlat.store.index import INDEX_FILE

NOTHING_MEASURED = "Nothing was measured: no results of an evaluation came with it."
_SIGNATURE = re.compile(r"\n<!-- written by interlat push: ([0-9a-f]{64}) -->\n\Z")
_BEGIN, _END = "<!-- results of interlat push -->", "<!-- end of results -->"
_TEMPLATE = """---
{{ card_data }}
---

# {{ repository }}

{{ about }}
{%- if facts %}

| | |
| --- | --- |
{%- for name, value in facts.items() %}
| {{ name }} | {{ value | replace("|", "/") | replace("\n", " ") | replace("<", "&lt;") }} |
{%- endfor %}
{%- endif %}
{%- if more %}

{{ more }}
{%- endif %}

## How to use it

```sh
interlat pull {{ repository }} --output {{ name }}
```

```python
{{ use }}
```
{%- if results %}

{{ results }}
{%- endif %}
"""


def new_card(kind: Kind, described: Description, repository: str, *, license: str = "", results: str = "") -> str:
    """A card with a signature, by which a later push knows that nobody has changed it.

    Args:
        kind: what is described.
        described: what its files say.
        repository: hub id.
        license: identifier of the licence; empty where none is known.
        results: the section of `results_section`; empty where nothing was measured.
    """
    data: dict[str, Any] = {"license": license or None, "library_name": "interlat"}
    tags = ["interlat", *described.tags]
    values: dict[str, Any] = {
        "repository": repository,
        "name": repository.rpartition("/")[2],
        "about": described.about,
        "facts": described.facts,
        "more": described.more,
        "use": described.use,
    }
    if kind.repository_type == "dataset":
        # The viewer of the hub shows the index as a table.
        index = {"config_name": "index", "data_files": INDEX_FILE}
        card: Any = DatasetCard.from_template(
            DatasetCardData(tags=tags, configs=[index], **data), template_str=_TEMPLATE, results="", **values
        )
    else:
        section = results or results_section(NOTHING_MEASURED)
        card = ModelCard.from_template(
            ModelCardData(tags=tags, base_model=described.base_model or None, **data),
            template_str=_TEMPLATE,
            results=section,
            **values,
        )
    text = str(card).rstrip() + "\n"
    return f"{text}\n<!-- written by interlat push: {sha256_of(text.encode())} -->\n"


def is_unchanged(card: str) -> bool:
    """Whether `new_card` wrote a card and nobody has changed it since."""
    found = _SIGNATURE.search(card)
    return found is not None and sha256_of(card[: found.start()].encode()) == found[1]


def results_section(body: str) -> str:
    """A section with measured numbers, with marks around it by which `with_results` finds it again."""
    return f"{_BEGIN}\n## Results\n\n{body}\n{_END}"


def with_results(card: str, section: str) -> str:
    """A card of somebody else with a section of results: in the place of an earlier one, or at the end."""
    begin, end = card.find(_BEGIN), card.find(_END)
    if 0 <= begin < end:
        return card[:begin] + section + card[end + len(_END) :]
    return f"{card.rstrip()}\n\n{section}\n"


def chosen_card(
    folder: Path, remote_card: str, written: str, *, section: str = "", license: str = "", replace: bool = False
) -> tuple[str, str]:
    """The card to upload, and whose it is: ``written``, ``of the folder`` or ``of the repository``.

    A card that somebody wrote goes before ours: that of the folder, then that of the repository.

    Args:
        folder: what is pushed.
        remote_card: ``README.md`` in the repository; empty where there is none.
        written: what `new_card` made.
        section: results that are added to a card that is kept.
        license: what the user gave.
        replace: take ``written`` whatever there is.

    Raises:
        InputError: a licence is given for a card that is kept, or the card is not UTF-8.
    """
    path = folder / CARD_FILE
    own = _text(path) if path.is_file() else ""
    kept = {"of the folder": own, "of the repository": remote_card}
    for whose, card in kept.items():
        if replace or not card or is_unchanged(card):
            continue
        if license:
            raise InputError(
                f"license is {license!r}, but the {CARD_FILE} {whose} is kept as it is; write the licence there, or "
                "have a new card written with --replace-card"
            )
        return (with_results(card, section) if section else card), whose
    return written, "written"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
