"""What was measured on real pairs, as tables in Markdown, which can be read in a terminal, too."""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.peers import BASELINE
from benchmarks.peers.report import ENOUGH_OF_THE_CORES, machine_line, markdown_table, others

from .peer import BATCH_SIZES

Record = dict[str, Any]
Columns = Sequence[tuple[str, Callable[[Record], str]]]
COMPARED: Columns = (
    (f"{BASELINE} is faster", lambda r: f"{r['ratio_of_medians']:.2f}" if "ratio_of_medians" in r else ""),
    ("by rounds", lambda r: "{:.2f} to {:.2f}".format(*r["ratio_quartiles"][::2]) if "ratio_quartiles" in r else ""),
)
COLUMNS: dict[str, Columns] = {
    "train": (("real tokens/s", lambda r: f"{r['median_rate']:,.0f}"), *COMPARED),
    "search": (
        ("sources/s", lambda r: f"{r['median_rate']:,.0f}"),
        ("s", lambda r: f"{r['median_seconds']:.2f}"),
        ("batch", lambda r: str(r["batch_size"] or "all")),
        ("same answers", lambda r: f"{100 * r['share_of_equal_answers']:.2f} %" if "share_of_equal_answers" in r else ""),
        *COMPARED,
    ),
}
SIZES = ", ".join(map(str, BATCH_SIZES))
LEGEND = (
    f"Medians over the rounds; {BASELINE} is faster: its median rate over the peer's, and the middle half of the same ratio "
    "within each round. Real tokens: those that the encoder reads and those that the decoder is to say, without padding. "
    f"Batch: how many sources share one, of {SIZES} what the peer is fastest with. Same answers: as {BASELINE}'s."
)


def heading(results: Record, settings: Record) -> str:
    """One line: the work, and what it was measured with."""
    model, recipe = results["model"], results["recipe"]
    if results["kind"] == "train":
        what = f"{results['steps']} batches of {recipe['batch_size']} pairs a round, of like lengths"
    else:
        what = f"{max(record['done'][0] for record in results['peers'].values() if 'done' in record):,} sources a round"
        what += f", {settings['weights']}"
    line = (
        f"{results['title']}: {what}; {results['weights']:,} weights, embedding {model['embedding']}, encoder "
        f"{model['encoder_layers']} x {'2 x ' if model['bidirectional'] else ''}{model['encoder_hidden']}, decoder "
        f"{model['decoder_layers']} x {model['hidden']}; threads {settings['threads']}, rounds {settings['rounds']}"
    )
    if results["share_of_cores"] < ENOUGH_OF_THE_CORES:
        line += f"; OTHER PROGRAMS WERE RUNNING, and left {100 * results['share_of_cores']:.0f} % of the cores"
    return line


def text(results: Record, settings: Record) -> str:
    """The table of one kind of work."""
    measured = {name: record for name, record in results["peers"].items() if record["status"] == "measured"}
    columns = COLUMNS["train" if results["kind"] == "train" else "search"]
    rows = [[name, *(cell(record) for _, cell in columns)] for name, record in measured.items()]
    parts = [*others(results["peers"])]
    if measured:
        parts = [heading(results, settings), markdown_table([["peer", *(title for title, _ in columns)], *rows]), *parts]
    return "\n\n".join(parts)


def markdown(made: Record) -> str:
    """All of it, for a page of documentation."""
    parts = [text(results, made["settings"]) for results in made["results"]]
    return "\n\n".join([machine_line(made["machine"]), *parts]) + "\n"
