"""What was measured, for people: tables as text and as Markdown, and a picture."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.shapes import Shape

from . import BASELINE

Record = dict[str, Any]
Results = dict[str, Any]  # of one model at one shape, as `measure` returns them

# Heading, and what stands below it for a peer that was measured.
COLUMNS: Sequence[tuple[str, Callable[[Record], str]]] = (
    ("ms", lambda r: _digits(1e3 * r["median_seconds"])),
    ("tokens/s", lambda r: f"{r['tokens_per_second']:,.0f}"),
    ("GFLOP/s", lambda r: _digits(r["gflops"])),
    ("of FMA peak", lambda r: f"{100 * r['fraction_of_peak']:.0f} %"),
    ("time ratio", lambda r: _ratio(r.get("ratio_of_medians"))),
    ("by rounds", lambda r: _ratio(r.get("ratio_quartiles", [None] * 3)[1])),
    ("peak MB", lambda r: "" if r["peak_memory_bytes"] is None else f"{r['peak_memory_bytes'] / 1e6:,.0f}"),
    ("first step, s", lambda r: f"{r['seconds_to_first_step']:.1f}"),
)
ENOUGH_OF_THE_CORES = 0.95
LEGEND = (
    f"Medians over the rounds. Time ratio: the peer's median over {BASELINE}'s, and the median of the same ratio within "
    "each round; above 1, the peer is slower. Peak MB: of the process, the library's own included. First step: seconds from "
    "the start of the process to the end of its first step. GFLOP/s: of the products that the model's definition has; "
    f"{BASELINE} leaves some of them out (docs/performance.md). numpy is the reference set of kernels."
)


def _digits(number: float) -> str:
    """Three digits that count, or all before the point."""
    return f"{number:.{max(0, 2 - int(f'{number:e}'[-3:]))}f}"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _model(results: Results) -> str:
    """Its name. What was written before there were others does not say it."""
    return results.get("model", "plain")


def heading(results: Results, settings: Record) -> str:
    """One line: the model, the shape, and what it was measured with."""
    shape = Shape(**results["shape"])
    what = "training step" if results["kind"] == "train" else "search"
    peak = statistics.median(results["fma_peak_gflops"])
    line = (
        f"{_model(results)}, {results['name']}: {shape}; {_digits(results['flop'] / 1e9)} GFLOP a {what}; "
        f"threads {settings['threads']}, rounds {settings['rounds']}, FMA peak {_digits(peak)} GFLOP/s"
    )
    if results["share_of_cores"] < ENOUGH_OF_THE_CORES:
        line += f"; OTHER PROGRAMS WERE RUNNING, and left {100 * results['share_of_cores']:.0f} % of the cores"
    return line


def _table(results: Results) -> list[list[str]]:
    """The heading and a row for each peer that was measured."""
    measured = {name: record for name, record in results["peers"].items() if record["status"] == "measured"}
    rows = [[name, *(cell(record) for _, cell in COLUMNS)] for name, record in measured.items()]
    return [["peer", *(title for title, _ in COLUMNS)], *rows]


def others(peers: Mapping[str, Record]) -> list[str]:
    """A sentence for each peer that was not measured."""
    out = {name: record for name, record in peers.items() if record["status"] != "measured"}
    return [f"{name} is {record['status']}: {record['reason']}" for name, record in out.items()]


def text(results: Results, settings: Record) -> str:
    """The table of one model at one shape, to read in a terminal."""
    table = _table(results)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    return "\n".join([heading(results, settings), *lines, *others(results["peers"])])


def machine_line(machine: Record) -> str:
    """A sentence of what was measured on, and with what, from `machine.facts`."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['cpu']} ({machine['llvm_cpu']}), Python {machine['python']}, {versions}; {machine['date']}."


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A heading and rows, in Markdown, which can be read in a terminal, too: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
    lines = [f"| {' | '.join(row)} |" for row in cells]
    rule = "|" + "-" * (widths[0] + 2) + "|" + "|".join("-" * (width + 1) + ":" for width in widths[1:]) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def markdown(report: Record) -> str:
    """All tables, for a page of documentation."""
    settings = report["settings"]
    parts = [machine_line(report["machine"]), LEGEND]
    for results in report["results"]:
        head, *rows = ("| " + " | ".join(row) + " |" for row in _table(results))
        rule = "|---|" + "---:|" * len(COLUMNS)
        parts += [heading(results, settings), "\n".join([head, rule, *rows]), *others(results["peers"])]
    if lead := summary(report["results"]):
        parts.append(lead)
    return "\n\n".join(parts) + "\n"


def summary(all_results: Sequence[Results]) -> str:
    """A sentence for each model: the best peer at each shape, and the geometric mean of its time ratios.

    Empty if nothing can be compared. Peers that compute less exactly than float32 are left out.
    """
    best: dict[str, dict[str, tuple[str, float]]] = {}
    for results in all_results:
        ratios = {
            name: record["ratio_of_medians"]
            for name, record in results["peers"].items()
            if name != BASELINE and "ratio_of_medians" in record and record["tolerance"] <= 1e-3
        }
        if ratios:
            best.setdefault(_model(results), {})[results["name"]] = min(ratios.items(), key=lambda item: item[1])
    sentences = []
    for model, of_shape in best.items():
        each = ", ".join(f"{name} {ratio:.2f} ({peer})" for name, (peer, ratio) in of_shape.items())
        mean = statistics.geometric_mean(ratio for _, ratio in of_shape.values())
        sentences.append(f"Time ratio of the best peer, {model}: {each}; geometric mean {mean:.2f}.")
    return "\n".join(sentences)


def plot(report: Record, path: Path) -> None:
    """Draws a bar for each model, shape and peer: the time ratio, with a line for the middle half of the rounds' own ratios."""
    from matplotlib.figure import Figure

    all_results = report["results"]
    names = list(dict.fromkeys(name for results in all_results for name in results["peers"] if name != BASELINE))
    figure = Figure(figsize=(max(6.4, 1.2 + 0.35 * len(names) * len(all_results)), 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / max(1, len(names))
    for i, name in enumerate(names):
        records = [results["peers"].get(name, {}) for results in all_results]
        measured = [(place, record) for place, record in enumerate(records) if "ratio_of_medians" in record]
        places = [place + (i - (len(names) - 1) / 2) * width for place, _ in measured]
        ratios, quartiles = ([record[key] for _, record in measured] for key in ("ratio_of_medians", "ratio_quartiles"))
        axes.bar(places, ratios, width, label=name)
        for at, ratio, (_, _, high) in zip(places, ratios, quartiles, strict=True):
            text = f"{ratio:.2f}"
            axes.annotate(text, (at, max(ratio, high)), (0, 2), textcoords="offset points", ha="center", fontsize=7)
        axes.vlines(places, [low for low, _, _ in quartiles], [high for _, _, high in quartiles], color="0.3")
    axes.axhline(1, color="black", linewidth=1)
    models = list(dict.fromkeys(map(_model, all_results)))
    labels = [results["name"] if len(models) == 1 else f"{_model(results)} {results['name']}" for results in all_results]
    axes.set_xticks(range(len(all_results)), [label.replace(" ", "\n") for label in labels])
    axes.set_ylabel(f"time, {BASELINE} = 1")
    axes.margins(y=0.12)
    axes.legend(fontsize=8, frameon=False, ncols=len(names))
    machine, settings = report["machine"], report["settings"]
    what = "a training step" if settings["kind"] == "train" else "a greedy search"
    axes.set_title(
        f"Time of {what} against {BASELINE}'s ({', '.join(models)}), float32, {settings['threads']} threads\n"
        f"{machine['cpu']} ({machine['llvm_cpu']}), medians of {settings['rounds']} rounds, {machine['date'][:10]}",
        fontsize=9,
    )
    figure.savefig(path, dpi=150)
