"""Small models that are exported to ONNX, with what they are asked."""

import numpy as np

import fastattn
from fastattn.data import Reading, Vocabulary
from fastattn.training import Translator

# What each is asked, what it reads, and what kind of model it is; ``draw`` gives weights with which no two answers are alike.
MODELS = {
    "plain": {"texts": ["abc", "e", "aqd"]},
    "reversed": {"texts": ["abc", "e", "ddea"], "draw": 37, "reverse_source": True, "attention": None},
    "words": {"texts": ["ab cd", "x  ab"], "kind": "space", "symbols": ["ab", "cd", "e"], "bridge": "affine"},
    "features": {
        "draw": 8,
        "texts": ["ab\tV;PST", "E\u0301\tPST", "c\tN; V"],
        "features": ["PST", "V"],
        "reading": Reading(features_column=3, normalization="NFC"),
        "symbols": ["a", "b", "\u00c9"],
        "attention": "additive",
        "attentional_size": 5,
        "input_feeding": True,
        "decoder_layers": 2,
    },
}


def make(texts, kind="char", symbols="abcde", features=None, reading=None, reverse_source=False, draw=4, **options):
    source, target = Vocabulary(symbols, kind, features), Vocabulary(symbols, kind)
    options = {"target_vocabulary": len(target), "seed": 3, **options}
    model = fastattn.AttentionSeq2seq(len(source), 5, 7, **options)
    rng = np.random.default_rng(draw)
    for param in model.params:  # larger, so that the answers depend on the texts
        param += 1.5 * rng.standard_normal(param.shape)
    how = {} if reading is None else {"reading": reading}
    return Translator(model, source, target, reverse_source=reverse_source, max_target_tokens=6, **how)
