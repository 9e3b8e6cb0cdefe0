"""What MkDocs adds to the pages in `docs/`: recipes, examples, notebooks, the changelog, the help of every command.

It reads this repository alone, and the package for the help; `make docs` runs it as a hook.
"""

import base64
import contextlib
import io
import json
import logging
import os
import posixpath
import re
import sys
from pathlib import Path

from mkdocs.structure.files import File

log = logging.getLogger("mkdocs.hooks.site")  # a warning ends a strict build
ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]*)(#[^)]*)?\)")
BORDERS = re.compile(r"^[│╭╰]─?|─?[│╮╯]$")
OUTSIDE = {
    "CONTRIBUTING.md": "contributing/index.md",
    "SECURITY.md": "contributing/security.md",
    "CHANGELOG.md": "changelog.md",
    **{
        f"recipes/{path.parent.name}/README.md": f"recipes/{path.parent.name}.md"
        for path in ROOT.glob("recipes/*/*.md")
    },
    **{f"examples/{path.name}": f"examples/{path.stem}.md" for path in ROOT.glob("examples/*.py")},
}
"""Files outside `docs/` that are pages, and where."""
HELP = "reference/cli"


def on_files(files, config):
    """The pages that are made."""
    for source, place in OUTSIDE.items():
        if (ROOT / source).exists():
            text = (ROOT / source).read_text(encoding="utf-8")
            if source.endswith(".py"):
                text = f"# {Path(source).name}\n\n```python\n{text}```\n"
            files.append(File.generated(config, place, content=text))
    for group, text in help_pages().items():
        files.append(File.generated(config, f"{HELP}/{group}.md", content=text))
    for notebook in sorted(ROOT.glob("docs/notebooks/*.ipynb")):
        files.remove(files.get_file_from_path(f"notebooks/{notebook.name}"))
        text, pictures = notebook_page(notebook)
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def on_config(config):
    """The commands' pages in the navigation."""
    for entry in config.nav:
        for section in entry.get("Reference", []):
            if "Command line" in section:
                section["Command line"] = [{name: f"{HELP}/{name}.md"} for name in command_groups()]
    return config


def on_page_markdown(markdown, page, config, files):
    """Links that hold in the repository, as links of the site; what the site does not have is a name."""
    place = page.file.src_uri
    here = posixpath.dirname(next((source for source, made in OUTSIDE.items() if made == place), f"docs/{place}"))

    def link(found):
        text, target, anchor = found.groups(default="")
        if "://" in target or target.startswith("mailto:") or not target:
            return found.group()
        path = posixpath.normpath(posixpath.join(here, target))
        site = path.removeprefix("docs/") if path.startswith("docs/") else OUTSIDE.get(path)
        if not (ROOT / path).exists() and not path.startswith("docs/notebooks/"):
            log.warning("%s links to %s, which is not in the repository", place, target)
        if site is None:
            return text if text.startswith("`") else f"`{path}`" if text == target else text
        site = re.sub(r"\.ipynb$", ".md", site)
        return f"[{text}]({posixpath.relpath(site, posixpath.dirname(place))}{anchor})"

    markdown = re.sub(r"^<!-- docs: .*? -->\n", "", markdown, flags=re.MULTILINE)  # what tests/doc_blocks.py reads
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


def commands():
    """The commands of the package, as it is in this repository."""
    sys.path.insert(0, str(ROOT / "src"))
    from interlat.cli.main import COMMANDS

    return COMMANDS


def command_groups():
    """First words of all commands, in the order of `interlat --help`."""
    return list(dict.fromkeys(name.partition(".")[0] for name in commands().names()))


def help_pages():
    """A page for each first word, with what `--help` of its commands prints."""
    from interlat.cli import main

    os.environ.update(COLUMNS="88", NO_COLOR="1", TERM="dumb")
    pages = {}
    for name in commands().names():
        words = name.replace(".", " ")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main.main([*name.split("."), "--help"])
        lines = [BORDERS.sub("", line).rstrip() for line in printed.getvalue().splitlines()]
        text = "\n".join(line for line in lines if not re.fullmatch(r"[─ -]+", line))
        title = f"# interlat {name.partition('.')[0]}\n" if name.partition(".")[0] not in pages else ""
        section = f"\n## interlat {words}\n\n```text\n{re.sub(chr(10) + '{3,}', chr(10) * 2, text).strip()}\n```\n"
        group = name.partition(".")[0]
        pages[group] = pages.get(group, "") + title + section
    return pages


def notebook_page(path):
    """A notebook as Markdown, and its pictures by name."""
    lines, pictures = [], {}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        lines += [source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```", ""]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            text = "".join(output.get("text", data.get("text/plain", "")))
            if "image/png" in data:
                name = f"{path.stem}-{number}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                lines += [f"![Output of the cell]({name})", ""]
            elif text and output.get("name") != "stderr":
                lines += [f"```text\n{text.rstrip()}\n```", ""]
    lines += [f"The notebook itself is `docs/notebooks/{path.name}` in the repository."]
    return "\n".join(lines), pictures
