"""A model's card: what it is, what it was trained on and how well it does, for people and for hubs of models.

The front matter is YAML as https://huggingface.co/docs/hub/model-cards has it. Every text in it is written as JSON writes it,
which YAML reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastattn.data import Vocabulary
from fastattn.models import ModelConfig

from .records import EpochRecord
from .text_model import TextModel

# Figures of held-out pairs: as `config.json` has them, as the type of a metric, in words.
FIGURES = (
    ("exact_match", "exact_match", "exact match"),
    ("token_error_rate", "token_error_rate", "token error rate"),
    ("loss", "loss", "loss, nats a token"),
)
HELD_OUT, LICENSE = "held_out", "license"
TOKENS = {"char": "characters", "space": "symbols between spaces", "grapheme": "graphemes"}
SIZES = ("source_vocabulary", "target_vocabulary")


def facts(translator: TextModel, history: Sequence[EpochRecord], about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and facts. about: what `config.json` says of the run."""
    config = translator.model.config
    yield "task", "text to text"
    for side in ("source", "target"):
        yield side, _symbols(getattr(translator, f"{side}_vocabulary"))
    if translator.reading.normalization != "none":
        yield "normalization", translator.reading.normalization
    yield "reads", "from the last token to the first" if translator.reverse_source else "from the first token to the last"
    yield "longest answer", f"{translator.max_target_tokens} tokens"
    yield "model", ", ".join(_choices(config))
    yield "weights", f"{sum(array.size for array in translator.model.named_params().values()):,} ({config.dtype})"
    for name, value in about.items():
        if name != HELD_OUT:
            yield name.replace("_", " "), _said(value)
    if history:
        yield "epochs made", str(len(history))
    if epochs := held_out(about).get("epochs"):
        yield "epochs kept", ", ".join(map(str, epochs))
    for field, _, name in FIGURES:
        if (value := held_out(about).get(field)) is not None:
            yield f"held-out {name}", f"{value:.4f}" if field == "loss" else f"{value:.2%}"


def held_out(about: Mapping[str, Any]) -> Mapping[str, Any]:
    """The epochs whose weights are kept, and what the held-out pairs say of these weights; empty where that is not told."""
    told = about.get(HELD_OUT)
    if not isinstance(told, Mapping):
        return {}
    return {name: value for name, value in told.items() if isinstance(value, list if name == "epochs" else float | int)}


def card(translator: TextModel, history: Sequence[EpochRecord], about: Mapping[str, Any]) -> str:
    """A document in Markdown with front matter."""
    corpus = str(about.get("corpus", "pairs of text"))
    table = "\n".join(f"| {_cell(name)} | {_cell(fact)} |" for name, fact in facts(translator, history, about))
    return f"""---
{_front_matter(about, corpus)}
---

# Text to text, from {_cell(corpus)}

A model that turns a text into another, an LSTM encoder-decoder trained by fastattn.

| | |
|---|---|
{table}

The figures are those of these weights on pairs that were held out from training, by greedy search. `history.jsonl` has those of
every epoch, `config.toml` all settings of the run, if the model was trained by one.

## How to use it

```python
from fastattn import Translator

translator = Translator.load("DIR")  # this folder
translator.translate(["a text", "another"])
translator.translate(["a text"], beam=5, n_best=3, scores=True)
```

or, in a shell, `fastattn translate DIR "a text"`. The files hold numbers and text, no code: weights in safetensors, the rest in
JSON.

## Licence, limits

{_licence(about)} Whoever publishes the model says, too, where the pairs are from, and what it is not fit for.
"""


def _licence(about: Mapping[str, Any]) -> str:
    if LICENSE in about:
        return f"The licence is {_cell(str(about[LICENSE]))}."
    return (
        'No licence is given. `fastattn train --license cc-by-4.0` or, in Python, `license="cc-by-4.0"` gives one with the '
        "training; afterwards write it into this file, at the top and here: nothing else reads it."
    )


def _front_matter(about: Mapping[str, Any], corpus: str) -> str:
    lines = [
        "library_name: fastattn",
        f"license: {_yaml(str(about[LICENSE])) if LICENSE in about else 'unknown'}",
        "pipeline_tag: translation",
        "tags: [seq2seq, lstm, attention, cpu]",
    ]
    told = held_out(about)
    metrics = [(kind, name, told[field]) for field, kind, name in FIGURES if told.get(field) is not None]
    if metrics:
        lines += [
            "model-index:",
            f"- name: {_yaml(f'fastattn, {corpus}')}",
            "  results:",
            "  - task: {type: translation, name: text to text}",
            f"    dataset: {{type: pairs, name: {_yaml(corpus)}, split: held out}}",
            "    metrics:",
        ]
        lines += [f"    - {{type: {kind}, name: {_yaml(name)}, value: {value:.6f}}}" for kind, name, value in metrics]
    return "\n".join(lines)


def _symbols(vocabulary: Vocabulary) -> str:
    features = "" if vocabulary.features is None else f" and {len(vocabulary.features):,} features"
    return f"{len(vocabulary.symbols):,} different {TOKENS[vocabulary.token_kind]}{features}"


def _choices(config: ModelConfig) -> Iterator[str]:
    """The widths, and what is not at its default."""
    plain = ModelConfig(config.source_vocabulary, config.embedding, config.hidden).to_json()
    yield f"embedding {config.embedding}"
    yield f"hidden {config.hidden}"
    for name, value in config.to_json().items():
        if name not in (*SIZES, "dtype") and value != plain[name]:
            yield f"{name.replace('_', ' ')}{'' if value is True else f' {_said(value)}'}"


def _said(value: Any) -> str:
    """A value of JSON's types in words."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, Mapping):
        return "; ".join(f"{key} {_said(each)}" for key, each in value.items() if each)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cell(text: str) -> str:
    """In a line of a table."""
    return " ".join(text.replace("|", "\\|").split())


def _yaml(text: str) -> str:
    return json.dumps(text)
