from interlat.report.figures import make_figures, write_figures
from interlat.report.summary import summarise


def test_figures_are_the_same_again_and_written_whole(make_records, tmp_path):
    summary = summarise(make_records())
    figures = make_figures(summary)
    again = make_figures(summary)
    assert [figure.svg for figure in figures] == [figure.svg for figure in again]
    write_figures(figures, tmp_path)
    for figure in figures:
        assert (tmp_path / f"{figure.name}.png").read_bytes()[:4] == b"\x89PNG"
        assert (tmp_path / f"{figure.name}.svg").stat().st_size > 1000
    assert not list(tmp_path.glob(".*"))
