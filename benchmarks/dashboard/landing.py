"""The page in front of asv's: how fast each kernel is today, what changed since the last release, and what is slow."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from math import log

from ..shapes import OF_LAYERS
from .series import Change, Commit, Machine, changes, geometric_mean

GRAPHS = "asv/index.html"
COMMITS_SHOWN = 12
CHANGES_SHOWN = 8
NOTABLE = 0.1  # a change of a time by less than a tenth is not listed

_TIMED = re.compile(
    r"^(?P<suite>kernels|training)\.(?P<work>\w+)\.time_(?P<call>\w+)\('compiled', (?:'(?P<model>\w+)', )?'(?P<which>\w+)'\)$"
)
_OPTIMIZERS_SHAPE = "g2p"  # which they have, where other benchmarks have a parameter for it

_STYLE = """
:root {
  color-scheme: light dark;
  --line: #8884; --soft: #888; --fast: #2a9d55; --slow: #d1495b; --bar: #4a90d955; --ink: #4a90d9;
}
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem; }
p, .soft { color: var(--soft); } p { margin: .3rem 0 .8rem; }
a { color: inherit; text-decoration-color: var(--line); }
nav a { margin-right: 1.2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; } th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem .3rem 0; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.name { white-space: nowrap; }
td.bar { padding-left: .5rem; white-space: nowrap; }
td.bar { background: linear-gradient(to right, var(--bar) var(--part), transparent var(--part)); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); gap: .8rem; margin: .6rem 0; }
.card { border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; }
.card b { display: block; font-size: 1.5rem; line-height: 1.3; }
.fast { color: var(--fast); } .slow { color: var(--slow); }
svg { vertical-align: middle; } svg circle { fill: var(--ink); }
svg polyline { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 0 2rem; }
"""


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def _graph(name: str, label: str) -> str:
    """A link to the graph of a benchmark."""
    return f'<a href="{GRAPHS}#{escape(name.partition("(")[0])}">{escape(label)}</a>'


def _label(name: str) -> str:
    """A benchmark of the compiled kernels in words: "Affine backward, g2p"."""
    match = _TIMED.match(name)
    assert match is not None
    return f"{match['work']} {match['call']}, {' '.join(filter(None, (match['model'], match['which'])))}"


def _sparkline(values: Sequence[float | None]) -> str:
    """The times as a line, the oldest left, zero at the bottom."""
    width, height, most = 110, 24, max(value for value in values if value is not None)
    step = (width - 6) / max(1, len(values) - 1)
    points = [(3 + i * step, height - 3 - (height - 6) * v / most) for i, v in enumerate(values) if v is not None]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="times of the last commits">'
        f'<polyline points="{line}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/></svg>'
    )


def _kind(ratio: float) -> str:
    """What a ratio of a time after to a time before is: "slow", "fast", or "soft" for neither."""
    return "slow" if ratio > 1 + NOTABLE else "fast" if ratio < 1 / (1 + NOTABLE) else "soft"


def _ratio(ratio: float) -> str:
    """Of a time after to a time before."""
    sign = "+" if ratio >= 1 else "−"
    return f'<span class="{_kind(ratio)}">{sign}{abs(100 * (ratio - 1)):.0f} %</span>'


class _Timed:
    """A benchmark of the compiled kernels on all threads at one shape, and what stands beside it."""

    def __init__(self, name: str, machine: Machine) -> None:
        match = _TIMED.match(name)
        assert match is not None
        self.work, self.call, self.shape, self.model = match["work"], match["call"], match["which"], match["model"]
        if self.shape not in OF_LAYERS:
            self.work, self.shape = self.shape, _OPTIMIZERS_SHAPE
        values = machine.last.values
        self.name, self.time = name, values[name]
        reference = values.get(name.replace("'compiled'", "'reference'"))
        self.speed_up = None if reference is None else reference / self.time
        if self.model is not None:
            tracked = f"family_step('{self.model}', "
        else:
            tracked = "training_step(" if match["suite"] == "training" else f"forward('{self.work.lower()}', "
        of_peak = values.get(f"tracked.FractionOfPeak.track_{tracked}'{self.shape}')")
        self.of_peak = of_peak if self.call in ("forward", "step") else None
        self.history = machine.series(name)[-COMMITS_SHOWN:]


def _card(timed: _Timed) -> str:
    beside = [
        f"{timed.speed_up:.1f} × the reference" if timed.speed_up else "",
        f"{timed.of_peak:.0%} of the peak" if timed.of_peak else "",
    ]
    label = timed.shape if timed.model is None else f"{timed.model} {timed.shape}"
    return (
        f'<div class="card">{_graph(timed.name, label)}<b>{_time(timed.time)}</b>'
        f'<span class="soft">{"<br>".join(filter(None, beside))}</span><br>{_sparkline(timed.history)}</div>'
    )


def _cell(timed: _Timed | None, most: float) -> str:
    if timed is None:
        return "<td></td>"
    speed_up = timed.speed_up or 1
    part = 100 * log(max(1, speed_up)) / log(most) if most > 1 else 0
    text = f"<b>{speed_up:.1f} ×</b> <span class='soft'>{_time(timed.time)}"
    text += f", {timed.of_peak:.0%}</span>" if timed.of_peak else "</span>"
    return f'<td class="bar" style="--part: {part:.0f}%">{text}</td>'


def _kernel_table(timed: Sequence[_Timed]) -> str:
    shapes = [shape for shape in OF_LAYERS if any(t.shape == shape for t in timed)]
    most = max((t.speed_up or 1) for t in timed)
    rows = []
    for work, call in dict.fromkeys((t.work, t.call) for t in timed):
        row = {t.shape: t for t in timed if (t.work, t.call) == (work, call)}
        last = row[max(row, key=shapes.index)]
        cells = "".join(_cell(row.get(shape), most) for shape in shapes)
        label = _graph(last.name, f"{work} {call}")
        rows.append(f"<tr><td class='name'>{label}</td>{cells}<td>{_sparkline(last.history)}</td></tr>")
    head = "".join(f"<th>{shape}</th>" for shape in shapes)
    return f"<table><tr><th>kernel</th>{head}<th>last {COMMITS_SHOWN} commits</th></tr>{''.join(rows)}</table>"


def _change_table(heading: str, found: Iterable[Change]) -> str:
    rows = [
        f"<tr><td>{_graph(c.name, _label(c.name))}</td><td class='number'>{_time(c.before)} → {_time(c.after)}</td>"
        f"<td class='number'>{_ratio(c.ratio)}</td></tr>"
        for c in found
    ]
    body = "".join(rows) or "<tr><td class='soft'>none by more than a tenth</td></tr>"
    return f"<div><h3>{heading}</h3><table>{body}</table></div>"


def _commit_table(commits: Sequence[Commit], names: Sequence[str]) -> str:
    rows = []
    for before, commit in zip((None, *commits), commits, strict=False):
        found = changes(before, commit, names) if before is not None else []
        if found:
            numbers = (geometric_mean([c.ratio for c in found]), found[0].ratio, found[-1].ratio)
            cells = "".join(f"<td class='number'>{_ratio(ratio)}</td>" for ratio in numbers)
        else:
            cells = "<td></td>" * 3
        rows.append(f"<tr><td>{escape(commit.title)}</td>{cells}</tr>")
    head = "".join(f"<th class='number'>{label}</th>" for label in ("all", "most slowed", "most sped up"))
    return f"<table><tr><th>commit</th>{head}</tr>{''.join(reversed(rows))}</table>"


def _slower_than_reference(timed: Sequence[_Timed]) -> list[_Timed]:
    """The kernels that take longer than their NumPy twins, the worst first."""
    found = [t for t in timed if t.speed_up is not None and t.speed_up < 1]
    return sorted(found, key=lambda t: t.speed_up or 1)


def _at_a_glance(machine: Machine, names: Sequence[str], timed: Sequence[_Timed]) -> str:
    """What became faster or slower since the last release, and which kernel is slower than its NumPy twin."""
    slow = _slower_than_reference(timed)
    with_twin = sum(t.speed_up is not None for t in timed)
    rows = [
        f"<tr><td>{_graph(t.name, _label(t.name))}</td><td class='number'>{_time(t.time)}</td>"
        f"<td class='number'><span class='slow'>{1 / (t.speed_up or 1):.2f} × as long</span></td></tr>"
        for t in slow
    ]
    body = "".join(rows) or f"<tr><td class='soft'>none of {with_twin}</td></tr>"
    twins = f"<div><h3>Slower than their NumPy twins</h3><table>{body}</table></div>" if with_twin else ""
    beside = machine.since_release()
    if beside is None:
        return f"<div class='columns'>{twins}</div>"
    name, before = beside
    found = changes(before, machine.last, names)
    slower = [c for c in found if _kind(c.ratio) == "slow"]
    faster = [c for c in reversed(found) if _kind(c.ratio) == "fast"]
    whole = f"all together {_ratio(geometric_mean([c.ratio for c in found]))}" if found else "nothing was measured of both"
    return (
        f"<h3>Since {escape(name)}</h3><p>Of {len(found)} times {len(faster)} are shorter and {len(slower)} longer by more "
        f"than a tenth; {whole}. Commits are measured one after the other, on a machine that others may be using: what matters "
        "is decided by the gate, which measures two in turns.</p>"
        f"<div class='columns'>{_change_table('Slower', slower[:CHANGES_SHOWN])}"
        f"{_change_table('Faster', faster[:CHANGES_SHOWN])}{twins}</div>"
    )


def _step_cell(timed: _Timed | None) -> str:
    if timed is None:
        return "<td></td>"
    beside = [f"{timed.speed_up:.1f} ×" if timed.speed_up else "", f"{timed.of_peak:.0%}" if timed.of_peak else ""]
    return f"<td>{_time(timed.time)} <span class='soft'>{', '.join(filter(None, beside))}</span></td>"


def _side_by_side(machines: Sequence[Machine]) -> str:
    """What the machines' training steps are, a column each. Only ratios of one machine can be compared with another's."""
    steps = [
        {(t.model, t.shape): t for t in (_Timed(n, m) for n in m.last.values if _TIMED.match(n)) if t.call == "step"}
        for m in machines
    ]
    rows = []
    for model, shape in dict.fromkeys(key for of_machine in steps for key in of_machine):
        label = shape if model is None else f"{model} {shape}"
        cells = "".join(_step_cell(of_machine.get((model, shape))) for of_machine in steps)
        rows.append(f"<tr><td class='name'>{escape(label)}</td>{cells}</tr>")
    head = "".join(f"<th><a href='#{escape(m.name)}'>{escape(m.name)}</a></th>" for m in machines)
    return (
        "<h2>The machines side by side</h2><p>A training step of the last commit that each has measured: its time, times as "
        "fast as the NumPy reference there, and how much of that machine's peak. Times of different machines say nothing of "
        f"commits, and stand in no line together.</p><table><tr><th>training step</th>{head}</tr>{''.join(rows)}</table>"
    )


def _section(machine: Machine) -> str:
    last = machine.last
    names = [name for name in last.values if _TIMED.match(name)]
    timed = [_Timed(name, machine) for name in names]
    steps = [t for t in timed if t.call == "step"]
    kernels = [t for t in timed if t.name.startswith("kernels.")]
    about = ", ".join(
        f"{machine.about[key]}{unit}" for key, unit in (("cpu", ""), ("num_cpu", " cores"), ("os", "")) if key in machine.about
    )
    name = escape(machine.name)
    parts = [
        f"<h2 id='{name}'>{name}: {escape(last.title)}</h2><p>{escape(about)}; compiled kernels on all threads, float32, "
        "of this commit. The lines are the times of the last commits that were measured, from zero.</p>",
        _at_a_glance(machine, names, timed),
    ]
    if steps:
        parts.append(f"<h3>A training step</h3><div class='cards'>{''.join(map(_card, steps))}</div>")
    if kernels:
        parts.append(
            "<h3>Each kernel, times as fast as the NumPy reference</h3>"
            "<p>At each shape: the ratio, whose bar is on a logarithmic scale, the time of a call, and for matrix products how "
            "much it is of what the machine's FMA units can do. Optimizers and clipping work on the weights of a model of the "
            "shape. An LSTM's backward has its forward before it.</p>"
            f"{_kernel_table(kernels)}"
        )
    if len(machine.commits) > 1:
        parts.append(
            "<h2>The last commits, each against the one before it here</h2>"
            f"{_commit_table(machine.commits[-COMMITS_SHOWN:], names)}"
        )
    return "".join(parts)


def page(machines: Sequence[Machine]) -> str:
    """The whole page, which needs no other file."""
    sections = (_side_by_side(machines) if len(machines) > 1 else "") + "".join(map(_section, machines))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>How fast fastattn is</title><link rel="icon" href="asv/swallow.ico"><style>{_STYLE}</style></head><body>'
        f"<h1>How fast fastattn is</h1><p>From commit to commit, by airspeed velocity.</p>"
        f'<nav><a href="{GRAPHS}">All benchmarks</a><a href="{GRAPHS}#summarylist">As a list</a>'
        f'<a href="{GRAPHS}#regressions">Regressions</a></nav>{sections}</body></html>\n'
    )
