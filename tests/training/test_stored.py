"""Training from a corpus on disk."""

import numpy as np
import pytest

from fastattn import Adam, AttentionSeq2seq, Trainer
from fastattn.data import Vocabulary, build_corpus, encode_pairs

PAIRS = [(word, word[::-1]) for word in ("ab", "abc", "ca", "b", "cabba", "aab", "bb", "cc", "acb", "bac")]
VOCABULARY = Vocabulary.from_texts(["abc"])


def trained(*data, **options):
    model = AttentionSeq2seq(len(VOCABULARY), 4, 6, dropout=0.2, seed=1)
    trainer = Trainer(model, Adam(0.01))
    records = trainer.fit(*data, max_epoch=3, batch_size=3, seed=2, progress=False, **options)
    return model, [(record.loss, record.valid_loss, record.valid_exact_match) for record in records]


def test_a_corpus_on_disk_gives_the_bits_of_the_one_in_memory(tmp_path):
    corpus = build_corpus(tmp_path / "all", PAIRS, VOCABULARY, VOCABULARY, made_of={})
    held_out = build_corpus(tmp_path / "held-out", PAIRS[:4], VOCABULARY, VOCABULARY, made_of={})
    x, source_lengths, t, target_lengths = encode_pairs(PAIRS, VOCABULARY, VOCABULARY)
    lengths = {"source_lengths": source_lengths, "target_lengths": target_lengths}
    in_memory = encode_pairs(PAIRS[:4], VOCABULARY, VOCABULARY)
    for options in ({}, {"batch_tokens": 30}, {"accumulate": 2, "keep": "best"}):
        model, records = trained(x, t, **lengths, validation_data=in_memory, **options)
        stored, records_of_stored = trained(corpus, validation_data=held_out, **options)
        assert records_of_stored == records
        for a, b in zip(stored.params, model.params, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_corpus_has_its_targets(tmp_path):
    corpus = build_corpus(tmp_path / "all", PAIRS, VOCABULARY, VOCABULARY, made_of={})
    with pytest.raises(TypeError, match="x is a StoredCorpus, which has targets"):
        trained(corpus, np.zeros((10, 3), int))
    with pytest.raises(TypeError, match="fit has x and no t"):
        trained(np.zeros((10, 3), int))
