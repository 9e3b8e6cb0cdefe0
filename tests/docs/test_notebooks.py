"""The notebooks run from top to bottom, and print what is committed."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"


def printed(notebook):
    """What each cell prints on stdout."""
    return [
        "".join(one.get("text", "") for one in cell.outputs if one.get("name") == "stdout")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


SLOW = ("team-over-cache",)
"""Each kernel takes ten seconds to begin; the teams have tests of their own."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.stem in SLOW else [])
        for path in sorted(FOLDER.glob("*.ipynb"))
    ],
    ids=lambda path: path.stem,
)
def test_it_runs_and_prints_the_same(path, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    notebook = nbformat.read(path, as_version=4)
    committed = printed(notebook)
    client = NotebookClient(
        notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    # The number of lines and not their figures: rounding differs between processors.
    assert [text.count("\n") for text in printed(notebook)] == [text.count("\n") for text in committed]
