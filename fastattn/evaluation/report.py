"""A file to look into errors: the worst answers, aligned with what was expected, and the most frequent confusions."""

from __future__ import annotations

import html
import os
import unicodedata
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

from fastattn.data import atomic_write
from fastattn.data.words import counted

from .alignment import Aligned, align, confusions, worst
from .evaluation import Evaluation

REPORT_ENDINGS = (".html", ".tsv")
ROWS = 200

COLUMNS = ("kind", "count", "expected", "given", "source", "alignment")


def write_report(path: str | os.PathLike[str], evaluation: Evaluation, *, title: str = "", rows: int = ROWS) -> None:
    """The report as the ending of ``path`` says, .html or .tsv; of worst answers and of confusions so many rows each.

    ValueError for another ending; OSError as `open` does.
    """
    ending = Path(path).suffix.lower()
    if ending not in REPORT_ENDINGS:
        raise ValueError(f"a report ends in {' or '.join(REPORT_ENDINGS)}, got {os.fspath(path)!r}")
    text = html_report(evaluation, title, rows) if ending == ".html" else tsv_report(evaluation, rows)
    # What is not UTF-8 in the name of a file comes as surrogates, which cannot be written.
    atomic_write(path, text.encode(errors="replace"))


def tsv_report(evaluation: Evaluation, rows: int = ROWS) -> str:
    """One table with a header line, the columns COLUMNS.

    Rows of kind "answer": a wrong answer, count its token errors; expected and given the texts; alignment the tokens,
    with [expected>given] for each error. Rows of kind "confusion": count how often the token expected was given as the
    other, either side empty where there is none; source the first that has it. In a text, a tab is written \\t, a line end
    \\n or \\r, a backslash \\\\.
    """
    lines: list[tuple[object, ...]] = [COLUMNS]
    for place in worst(evaluation.comparisons)[:rows]:
        comparison = evaluation.comparisons[place]
        aligned = evaluation.separator.join(map(_bracketed, align(comparison.answer, comparison.reference)))
        expected = evaluation.references[place][comparison.chosen]
        given, source = evaluation.answers[place], evaluation.sources[place]
        lines.append(("answer", comparison.token_errors, expected, given, source, aligned))
    for confusion in confusions(evaluation.comparisons)[:rows]:
        sides = ("" if token is None else token for token in (confusion.expected, confusion.given))
        lines.append(("confusion", confusion.count, *sides, evaluation.sources[confusion.example], ""))
    return "".join("\t".join(map(_escaped, line)) + "\n" for line in lines)


def _bracketed(pair: Aligned) -> str:
    expected, given = ("" if token is None else str(token) for token in pair)
    return expected if pair[0] == pair[1] else f"[{expected}>{given}]"


def _escaped(field: object) -> str:
    text = str(field).replace("\\", "\\\\")
    return text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


# Nothing is fetched and nothing is run, whatever a text holds.
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }}
body {{ color: #222; background: #fff }}
table {{ border-collapse: collapse; margin: 1em 0 2em }}
th, td {{ border-bottom: 1px solid #ccc; padding: .3em .8em; text-align: left; vertical-align: top }}
th {{ white-space: nowrap }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }}
.aligned {{ display: flex; flex-wrap: wrap; row-gap: .4em }}
.pair {{ display: inline-flex; flex-direction: column; padding: 0 .2em; text-align: center; min-width: .7em }}
.pair > * {{ min-height: 1.4em }}
.wrong {{ background: #fde4d0; outline: 1px solid #c04a00 }}
.none {{ color: #767676 }}
</style>
</head>
<body>
"""


def html_report(evaluation: Evaluation, title: str = "", rows: int = ROWS) -> str:
    """A page of its own: all texts escaped, no script, nothing from elsewhere."""
    title = title or "Evaluation"
    parts = [HEAD.format(title=html.escape(title)), f"<h1>{_text(title)}</h1>\n", *_figures(evaluation)]
    parts += _lengths(evaluation)
    places = worst(evaluation.comparisons)
    parts.append(
        f"<h2>Worst answers</h2>\n<p>{_count(len(places), rows, 'wrong answer')} The upper line is expected, the lower "
    )
    parts.append("given; what differs is marked, and ∅ stands where there is nothing.</p>\n")
    if places:
        parts.append(_row(("errors", "source", "answer", "expected", "aligned"), "th", start="<table>\n"))
    for place in places[:rows]:
        comparison = evaluation.comparisons[place]
        texts = evaluation.sources[place], evaluation.answers[place], evaluation.references[place][comparison.chosen]
        pairs = "".join(map(_pair, align(comparison.answer, comparison.reference)))
        cells = [f"<td>{_text(text)}</td>" for text in texts]
        parts.append(f'<tr><td class="number">{comparison.token_errors}</td>{"".join(cells)}')
        parts.append(f'<td><div class="aligned" dir="auto">{pairs}</div></td></tr>\n')
    parts.append("</table>\n" if places else "")
    found = confusions(evaluation.comparisons)
    parts.append(f"<h2>Most frequent confusions</h2>\n<p>{_count(len(found), rows, 'confusion')}</p>\n")
    if found:
        parts.append(_row(("count", "expected", "given", "for instance"), "th", start="<table>\n"))
    for confusion in found[:rows]:
        tokens = [f"<td>{_token(token)}</td>" for token in (confusion.expected, confusion.given)]
        example = _text(evaluation.sources[confusion.example])
        parts.append(f'<tr><td class="number">{confusion.count:,}</td>{"".join(tokens)}<td>{example}</td></tr>\n')
    parts.append("</table>\n" if found else "")
    return "".join([*parts, "</body>\n</html>\n"])


def _figures(evaluation: Evaluation) -> Iterator[str]:
    score, first = evaluation.score, evaluation.first_score
    several = evaluation.pairs > len(evaluation.sources)
    about = f" with {evaluation.pairs:,} targets; the nearest counts" if several else ""
    yield f"<p>{counted(score.pairs, 'source')}{about}.</p>\n"
    bounds = evaluation.intervals
    names = ["", "rate", *([f"{bounds.confidence:.0%} interval"] if bounds else []), "counts"]
    yield _row([*names, *(["by the first target alone"] if several else [])], "th", start="<table>\n")
    counts = {
        "exact_match": f"{score.exact_matches:,} of {score.pairs:,}",
        "token_error_rate": f"{counted(score.token_errors, 'error')} in {score.reference_tokens:,}",
        "character_error_rate": f"{counted(score.character_errors or 0, 'error')} in {score.reference_characters or 0:,}",
    }
    for name, count in counts.items():
        cells = [name.replace("_", " "), f"{getattr(score, name):.2%}"]
        if bounds:
            cells.append("{:.2%} to {:.2%}".format(*getattr(bounds, name)))
        yield _row([*cells, count, *([f"{getattr(first, name):.2%}"] if several else [])])
    yield "</table>\n"
    for figure in filter(None, (evaluation.bleu, evaluation.chrf)):
        yield f"<p>{html.escape(figure.name)} {figure.score:.2f} ({html.escape(figure.signature)})</p>\n"


def _lengths(evaluation: Evaluation) -> Iterator[str]:
    yield "<h2>By length of the source</h2>\n"
    yield _row(("tokens", "sources", "exact match", "token error rate"), "th", start="<table>\n")
    for bucket in evaluation.by_length:
        score = bucket.score
        sizes = f"{bucket.low} to {bucket.high}" if bucket.low < bucket.high else f"{bucket.low}"
        yield _row((sizes, f"{score.pairs:,}", f"{score.exact_match:.2%}", f"{score.token_error_rate:.2%}"))
    yield "</table>\n"


def _row(cells: Iterable[str], tag: str = "td", start: str = "") -> str:
    first, *others = map(html.escape, cells)
    kind = "" if tag == "th" else ' class="number"'
    return f"{start}<tr><{tag}>{first}</{tag}>{''.join(f'<{tag}{kind}>{cell}</{tag}>' for cell in others)}</tr>\n"


def _count(number: int, rows: int, name: str) -> str:
    if number > rows:
        return f"{number:,} {name}s; here are the first {rows:,}."
    return f"{number:,} {name}{'' if number == 1 else 's'}."


def _pair(pair: Aligned) -> str:
    wrong = "" if pair[0] == pair[1] else " wrong"
    return f'<span class="pair{wrong}">{_token(pair[0])}{_token(pair[1])}</span>'


def _token(token: Hashable | None) -> str:
    """A token that is seen, even a space or an accent alone."""
    if token is None:
        return '<span class="none">∅</span>'
    text = str(token)
    if text == " ":
        return "<bdi>␣</bdi>"
    if len(text) == 1 and unicodedata.category(text) in ("Cf", "Zs"):
        return f"<bdi>U+{ord(text):04X}</bdi>"
    # A mark without its letter is drawn on a circle, as in Unicode's own tables.
    return _text(f"◌{text}" if len(text) == 1 and unicodedata.category(text).startswith("M") else text)


def _text(text: str) -> str:
    """Escaped, control characters by their number; its direction of writing stays its own."""
    # A tab stands before each feature of a source.
    shown = "".join(f"U+{ord(c):04X}" if unicodedata.category(c) == "Cc" else c for c in text.replace("\t", " ⇥ "))
    return f"<bdi>{html.escape(shown)}</bdi>"
