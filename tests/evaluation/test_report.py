"""Reports: what stands in them, and that no text can do more than stand there."""

import csv
import io
from html.parser import HTMLParser

import pytest

from fastattn.evaluation import evaluate, write_report

SOURCES = ["either", "route", "cat", "dog"]
ANSWERS = ["AY DH", "R UW T", "K AE D S", "D AO D"]
REFERENCES = [["IY DH ER", "AY DH ER"], ["R UW T", "R AW T"], ["K AE T"], ["D AO G"]]


@pytest.fixture
def evaluation():
    return evaluate(SOURCES, ANSWERS, REFERENCES, target_tokens="space", bleu_tokenize="none")


def rows_of(path):
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t", quoting=csv.QUOTE_NONE))


class Page(HTMLParser):
    """The texts of all cells, the elements and the attributes of a page, all of whose elements end where they should."""

    def __init__(self, path):
        super().__init__()
        self.rows, self.tags, self.attributes, self.pairs, self.open = [], [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        self.attributes += attributes
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "span" and dict(attributes)["class"].startswith("pair"):
            self.pairs.append(dict(attributes)["class"])

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip("\n")


def test_a_table_has_answers_and_confusions(evaluation, tmp_path):
    write_report(tmp_path / "report.tsv", evaluation)
    assert rows_of(tmp_path / "report.tsv") == [
        ["kind", "count", "expected", "given", "source", "alignment"],
        ["answer", "2", "K AE T", "K AE D S", "cat", "K AE [>D] [T>S]"],
        ["answer", "1", "AY DH ER", "AY DH", "either", "AY DH [ER>]"],
        ["answer", "1", "D AO G", "D AO D", "dog", "D AO [G>D]"],
        ["confusion", "1", "ER", "", "either", ""],
        ["confusion", "1", "", "D", "cat", ""],
        ["confusion", "1", "T", "S", "cat", ""],
        ["confusion", "1", "G", "D", "dog", ""],
    ]


def test_so_many_rows_of_each(evaluation, tmp_path):
    write_report(tmp_path / "report.TSV", evaluation, rows=2)
    assert [row[0] for row in rows_of(tmp_path / "report.TSV")] == ["kind", "answer", "answer", "confusion", "confusion"]
    write_report(tmp_path / "report.html", evaluation, rows=2)
    text = (tmp_path / "report.html").read_text()
    assert "3 wrong answers; here are the first 2." in text
    assert "4 confusions; here are the first 2." in text
    assert "D AO D" not in text


def test_tabs_and_line_ends_and_backslashes_are_written_so_that_a_row_stays_a_row(tmp_path):
    write_report(tmp_path / "r.tsv", evaluate(["a\tb\\"], ["x\ny"], [["x\ry"]]))
    assert rows_of(tmp_path / "r.tsv")[1] == ["answer", "1", "x\\ry", "x\\ny", "a\\tb\\\\", "x[\\r>\\n]y"]


def test_a_page_has_figures_lengths_answers_and_confusions(evaluation, tmp_path):
    write_report(tmp_path / "report.html", evaluation, title="model on pairs.tsv")
    page = Page(tmp_path / "report.html")
    low, high = evaluation.intervals.exact_match
    interval = f"{low:.2%} to {high:.2%}"
    assert ["exact match", "25.00%", interval, "1 of 4", "25.00%"] in page.rows
    assert ["3", "2", "0.00%", "50.00%"] in page.rows  # cat and dog: 3 errors in 6 phones
    assert ["errors", "source", "answer", "expected", "aligned"] in page.rows
    assert ["1", "either", "AY DH", "AY DH ER", "AYAYDHDHER∅"] in page.rows
    assert ["1", "T", "S", "cat"] in page.rows
    assert page.pairs.count("pair wrong") == 4
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h1><bdi>model on pairs.tsv</bdi></h1>" in text
    assert "4 sources with 6 targets" in text
    assert f"BLEU {evaluation.bleu.score:.2f}" in text


def test_what_is_all_right_leaves_nothing_to_list(tmp_path):
    write_report(tmp_path / "r.html", evaluate(["a"], ["b"], [["b"]]))
    Page(tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "0 wrong answers." in text
    assert "0 confusions." in text
    assert text.count("<table>") == text.count("</table>") == 2


def test_no_text_becomes_an_element_and_nothing_is_fetched(tmp_path):
    evil = "<script>alert(1)</script><img src=x onerror=a>\"'&lt;"
    write_report(tmp_path / "r.html", evaluate([evil], [evil + "<b>"], [[evil]]), title=evil)
    page = Page(tmp_path / "r.html")
    assert not {"script", "img", "b", "link", "iframe"} & set(page.tags)
    assert not {"src", "href", "onerror"} & {name for name, _ in page.attributes}
    text = (tmp_path / "r.html").read_text()
    assert "default-src 'none'" in text
    assert "http:" not in text
    assert "https:" not in text
    assert any(row[1:4] == [evil, evil + "<b>", evil] for row in page.rows if len(row) == 5)


def test_what_is_not_seen_is_named(tmp_path):
    """A space, a joiner, an accent alone, a control character, and a lone half of a character."""
    answer, reference = " \u200d\u0301\x07", "abcd"
    write_report(tmp_path / "r.html", evaluate(["x"], [answer], [[reference]]), title="\udcff")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    for shown in ("␣", "U+200D", "◌\u0301", "U+0007"):
        assert f"<bdi>{shown}</bdi>" in text
    assert "\x07" not in text


def test_texts_keep_their_own_direction(tmp_path):
    write_report(tmp_path / "r.html", evaluate(["ابتث"], ["ث"], [["ث ت"]]))
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<bdi>ابتث</bdi>" in text
    assert 'class="aligned" dir="auto"' in text


def test_another_ending_is_refused(evaluation, tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.html or \.tsv, got .*report\.pdf"):
        write_report(tmp_path / "report.pdf", evaluation)
    assert not list(tmp_path.iterdir())
