"""The Markdown that the measurements write."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common import percent, table, write_section


def test_table_aligns_figures_right() -> None:
    assert table(["layer", "cycles"], [["C1", 7]]) == "| layer | cycles |\n| --- | ---: |\n| C1 | 7 |"


def test_percent() -> None:
    assert (percent(0.9049), percent(None)) == ("90.5 %", "")


def test_sections_are_replaced_in_place(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    for title in ("Speed", "Speed: more", "Parameters (a+b)"):
        write_section(path, title, f"old {title}")
    write_section(path, "Speed", "new\n")
    assert path.read_text() == (
        "# Results\n\n## Speed\n\nnew\n\n## Speed: more\n\nold Speed: more\n\n"
        "## Parameters (a+b)\n\nold Parameters (a+b)\n"
    )
    write_section(path, "Parameters (a+b)", "last")
    assert path.read_text().endswith("## Parameters (a+b)\n\nlast\n")
