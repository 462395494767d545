import base64
import re
import sys
from dataclasses import replace

import pytest
from fakes import Fakes

from atman_bench.cli import app
from atman_bench.core.errors import DataError, StoreError
from atman_bench.report import page
from atman_bench.report.page import Section, Stored
from atman_bench.report.render import TextTable
from atman_bench.report.verdicts import Ending, Verdict

TABLE = TextTable(
    "Numbers", "A note.", ("method", "mAP"), (("atman", "50.0 [40.0, 60.0]"), ("random", "9.0")), (False, True)
)
SECTION = Section(
    name="table1a",
    title="A <title> & more",
    paper="Table 1a",
    preset="tiny",
    command="atman-bench reproduce table1a",
    tables=(TABLE,),
    figures={"bars": "mAP of methods"},
    verdicts=(Verdict("AtMan is better", Ending.OPPOSITE, "mAP −3.0 [−4.0, −2.0]."),),
    notes=("Skipped samples: 2.",),
    manifest={"model": "tiny-text"},
)
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"


@pytest.fixture
def stored(tmp_path) -> Stored:
    page.write(tmp_path, SECTION)
    folder = page.folder_of(tmp_path, SECTION.name)
    (folder / "bars.svg").write_bytes(SVG)
    (folder / "bars.png").write_bytes(b"png")
    (found,) = page.read(tmp_path)
    return found


def test_a_section_is_read_as_it_was_written(stored):
    assert stored.section == SECTION


def test_the_page_loads_nothing(stored):
    made = page.html_page([stored])
    (image,) = re.findall(r'src="([^"]*)"', made)
    kind, _, data = image.partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == b"png"
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', made))
    assert "<script" not in made


def test_a_figure_that_is_an_svg_alone_is_shown(stored, tmp_path):
    (stored.folder / "bars.png").unlink()
    assert f"data:image/svg+xml;base64,{base64.b64encode(SVG).decode()}" in page.html_page([stored])
    assert "(experiments/table1a/bars.svg)" in page.markdown_page([stored], tmp_path)


def test_the_page_shows_numbers_floors_claims_and_the_command(stored):
    made = page.html_page([stored])
    assert "50.0 <small>[40.0, 60.0]</small>" in made
    assert '<tr class="floor"><th scope="row">random</th>' in made
    assert "AtMan is better (sanity check): contradicted here." in made
    assert "mAP −3.0 [−4.0, −2.0]." in made
    assert "atman-bench reproduce table1a" in made
    assert "tiny-text" in made


def test_text_is_escaped(stored):
    made = page.html_page([stored])
    assert "A &lt;title&gt; &amp; more" in made
    assert "<title> & more" not in made


def test_no_text_of_a_section_becomes_markup(stored):
    evil = "\"'><script>&amp;"
    table = TextTable(evil, evil, (evil, evil), ((evil, evil),), (False,))
    texts = dict.fromkeys(("name", "title", "paper", "preset", "command"), evil)
    section = replace(
        SECTION,
        **texts,
        tables=(table,),
        figures={"bars": evil},
        verdicts=(Verdict(evil, Ending.HOLDS, evil),),
        notes=(evil,),
        manifest={evil: evil},
    )
    for shown in (section, replace(section, missing=evil)):
        made = page.html_page([Stored(shown, stored.folder)], title=evil)
        assert "<script" not in made
        assert "&amp;amp;" in made
        assert evil[:3] not in re.sub(r"<[^>]*>", "", made)
        assert all('"' not in value for value in re.findall(r'(?:id|href|title|alt)="([^>]*?)"[ >]', made))


def test_what_was_not_run_says_why(stored):
    lacking = Stored(
        replace(SECTION, name="fig9", missing="no weights", tables=(), figures={}, verdicts=()), stored.folder
    )
    made = page.html_page([stored, lacking])
    assert "Not run: no weights" in made
    assert "1 of 2 experiments were run." in made
    assert "Not run: fig9." in made


def test_markdown_links_to_figures_from_where_it_is(stored, tmp_path):
    made = page.markdown_page([stored], tmp_path)
    (link,) = re.findall(r"!\[[^]]*\]\(([^)]*)\)", made)
    assert (tmp_path / link).read_bytes() == b"png"
    assert "| atman | 50.0 [40.0, 60.0] |" in made
    assert "**AtMan is better (sanity check): contradicted here.**" in made


def test_tables_come_first_and_figures_by_number():
    names = ["fig10", "fig2a", "gqa", "table1b", "fig2b", "table1a"]
    assert page.in_order(names) == ["table1a", "table1b", "gqa", "fig2a", "fig2b", "fig10"]


@pytest.mark.parametrize("content", ['{"schema": 99}', "{}", "[]", "no json"])
def test_files_that_are_no_sections_are_refused(tmp_path, content):
    page.write(tmp_path, SECTION)
    (page.folder_of(tmp_path, "table1a") / "section.json").write_text(content)
    with pytest.raises(StoreError, match="run atman-bench reproduce again"):
        page.read(tmp_path)


def test_a_missing_figure_is_named(stored):
    for path in stored.folder.glob("bars.*"):
        path.unlink()
    with pytest.raises(StoreError, match=r"bars\.png"):
        page.html_page([stored])


def test_an_empty_report_says_what_to_run():
    with pytest.raises(DataError, match="atman-bench reproduce"):
        page.html_page([])


def test_results_of_eval_alone_are_reported_with_their_figures(monkeypatch, tmp_path, capsys):
    Fakes().install(monkeypatch.setitem, monkeypatch.setattr)
    monkeypatch.chdir(tmp_path)
    for arguments in (["eval", "--limit", "3", "-q", "--results", "out"], ["report", "out", "-o", "page.html"]):
        monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            app.main()
        assert not ended.value.code, capsys.readouterr().err
    made = (tmp_path / "page.html").read_text()
    assert "facts · fake-model" in made
    assert "noise" in made
    assert "data:image/" in made


def test_sections_in_one_file_are_read_as_before_and_newer_ones_replace_them(tmp_path):
    other = replace(SECTION, name="fig2", title="Another")
    for section in (SECTION, other):
        page.write(tmp_path, section)
    before = page.read(tmp_path)
    assert page.gather(tmp_path) == 2
    assert not list(tmp_path.rglob("section.json"))
    assert page.read(tmp_path) == before
    page.write(tmp_path, replace(other, title="Newer"))
    assert [stored.section.title for stored in page.read(tmp_path)] == [SECTION.title, "Newer"]
    page.gather(tmp_path)
    assert [stored.section.title for stored in page.read(tmp_path)] == [SECTION.title, "Newer"]
