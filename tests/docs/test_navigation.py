"""Every page of the site is in its navigation, and every page of the navigation is there."""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
MADE = ("recipes/", "contributing/index.md", "contributing/security.md", "changelog.md")
"""Pages that scripts/site.py makes of files outside `docs/`; it makes those of notebooks, too."""


def places(entry):
    """The pages of a part of the navigation."""
    if isinstance(entry, str):
        return [entry]
    return [place for one in (entry.values() if isinstance(entry, dict) else entry) for place in places(one)]


def test_the_navigation_has_every_page():
    navigation = places(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert len(set(navigation)) == len(navigation)
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    notebooks = {f"notebooks/{path.stem}.md" for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")}
    assert {place for place in navigation if not place.startswith(MADE)} == pages | notebooks
    recipes = {f"recipes/{path.parent.name}.md" for path in ROOT.glob("recipes/*/README.md")}
    assert {place for place in navigation if place.startswith("recipes/")} == recipes
