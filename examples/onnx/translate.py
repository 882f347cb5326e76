"""Answers by a model that `fastattn export` wrote, with ONNX Runtime and NumPy, and nothing of fastattn.

    python translate.py GRAPHS TEXT ...
    python translate.py GRAPHS TEXT ... --beam 5

GRAPHS is the folder that `fastattn export DIR --onnx GRAPHS` wrote. One answer a line. With --beam the search is here, in
Python, and takes the encoder and single steps of the decoder; without it, one graph gives whole answers.
"""

from __future__ import annotations

import argparse
import json
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class Symbols:
    """The symbols of one side, numbered: four special ones, those of the text, then features."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.special, self.symbols = content["special"], content["symbols"]
        self.kind, features = content["token_kind"], content.get("features", [])
        self.ids = {symbol: number for number, symbol in enumerate(self.symbols, len(self.special))}
        self.features = {name: number for number, name in enumerate(features, len(self.special) + len(self.symbols))}

    def encode(self, text: str, features: Sequence[str] = ()) -> list[int]:
        """Features stand before the text's symbols. What is not known is the unknown symbol."""
        unknown = self.special.index("unknown")
        of_features = [self.features.get(name, unknown) for name in features]
        return of_features + [self.ids.get(symbol, unknown) for symbol in self._split(text)]

    def _split(self, text: str) -> list[str]:
        if self.kind == "grapheme":
            import regex

            return regex.findall(r"\X", text)
        return list(text) if self.kind == "char" else text.split()

    def decode(self, ids: Sequence[int]) -> str:
        """Up to the end symbol."""
        symbols = []
        for number in ids:
            if number == self.special.index("end"):
                break
            symbols.append(self.symbols[number - len(self.special)])
        return (" " if self.kind == "space" else "").join(symbols)


class Model:
    """The three graphs in a folder."""

    def __init__(self, folder: str | Path) -> None:
        self.encoder, self.step, self.greedy = (
            onnxruntime.InferenceSession(Path(folder) / f"{name}.onnx", providers=["CPUExecutionProvider"])
            for name in ("encoder", "decoder_step", "greedy")
        )
        self.about = json.loads(self.greedy.get_modelmeta().custom_metadata_map["fastattn"])
        self.source, self.target = (Symbols(self.about[f"{side}_vocabulary"]) for side in ("source", "target"))

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The texts as ids (N, T1), padded, and their lengths (N,)."""
        rows = [self._encode(text) for text in texts]
        if not all(rows):
            raise SystemExit("a text is empty")
        lengths = np.array([len(row) for row in rows])
        x = np.zeros((len(rows), lengths.max()), np.int64)
        for row, ids in zip(x, rows):
            row[: len(ids)] = ids
        return x, lengths

    def _encode(self, text: str) -> list[int]:
        reading, features = self.about["reading"], []
        if reading["features_column"] is not None:
            text, _, told = text.partition("\t")
            names = told.replace("\t", reading["features_separator"]).split(reading["features_separator"])
            features = [name.strip() for name in names if name.strip()]
        if reading["normalization"] != "none":
            text = unicodedata.normalize(reading["normalization"], text)
            features = [unicodedata.normalize(reading["normalization"], name) for name in features]
        ids = self.source.encode(text, features)
        return ids[::-1] if self.about["reverse_source"] else ids

    def translate(self, texts: Sequence[str]) -> list[str]:
        """The best token at each step, all texts at once."""
        x, lengths = self.encode(texts)
        ids, *_ = self.greedy.run(["ids"], {"x": x, "lengths": lengths})
        return [self.target.decode(row) for row in ids]

    def search(self, text: str, beam: int) -> str:
        """The most probable answer that a beam search finds: each step follows the ``beam`` most probable hypotheses."""
        x, lengths = self.encode([text])
        known = _run(self.encoder, {"x": x, "lengths": lengths})
        known["lengths"] = lengths
        last = self.about["max_target_tokens"] - 1
        end, best, totals, said = self.about["special"]["end"], (-np.inf, []), np.zeros(1), [[self.about["special"]["start"]]]
        for step in range(last + 1):
            given = _run(self.step, {**known, "tokens": np.array([ids[-1] for ids in said])})
            log_p = totals[:, None] + _log_softmax(given["scores"])  # (hypotheses, V)
            log_p[:, self.about["never_answered"]] = -np.inf
            places = np.argsort(-log_p, axis=None, kind="stable")[:beam]
            rows, tokens = np.divmod(places[log_p.flat[places] > -np.inf], log_p.shape[1])
            totals, said = log_p[rows, tokens], [[*said[row], token] for row, token in zip(rows, tokens)]
            ends = (tokens == end) | (step == last)
            best = max([best, *((total, ids) for total, ids, is_end in zip(totals, said, ends) if is_end)], key=lambda b: b[0])
            is_open = ~ends & (totals > best[0])
            if not is_open.any():
                break
            rows, totals = rows[is_open], totals[is_open]
            said = [ids for ids, goes_on in zip(said, is_open) if goes_on]
            known = dict(self._follow(known, given, rows))
        return self.target.decode(best[1][1:])

    def _follow(
        self, known: dict[str, np.ndarray], given: dict[str, np.ndarray], rows: np.ndarray
    ) -> Iterator[tuple[str, np.ndarray]]:
        """What the next step reads: a row for each hypothesis, those of these rows."""
        for name, array in known.items():
            after = given.get(f"next_{name}", array)
            yield name, after[:, rows] if name in ("h", "c") else after[rows]


def _run(session: onnxruntime.InferenceSession, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs by their names, of the inputs that the graph has."""
    wanted = {each.name: given[each.name] for each in session.get_inputs()}
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, wanted)))


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Answers by a model that `fastattn export` wrote.")
    parser.add_argument("graphs", metavar="GRAPHS", help="the folder with encoder.onnx, decoder_step.onnx and greedy.onnx")
    parser.add_argument("texts", metavar="TEXT", nargs="+", help="what to answer; features, if the model has some, after a tab")
    parser.add_argument("--beam", type=int, metavar="K", help="search with so many hypotheses")
    arguments = parser.parse_args()
    model = Model(arguments.graphs)
    if arguments.beam is None:
        answers = model.translate(arguments.texts)
    else:
        answers = [model.search(text, arguments.beam) for text in arguments.texts]
    print(*answers, sep="\n")


if __name__ == "__main__":
    main()
