"""Arrays, lists and parts that a caller changes between two calls: an exception or the right numbers, never a crash."""

import contextlib

import numpy as np
import pytest
from helpers import CASES, SIZES, run_python, skip_without_compiled_kernels

import fastattn
from fastattn.layers import checks

BEGIN = """
import numpy as np
import fastattn
from fastattn.layers import LSTM, Affine, Attention, Embedding, EmbeddingLSTM, WeightSum
from fastattn.models import AttentionSeq2seq
from fastattn.training import SGD, Adam
def refused(function, *given, **named):
    try:
        function(*given, **named)
    except (ValueError, TypeError, IndexError) as error:
        print(type(error).__name__)
    else:
        print("taken")
class Hashed(Embedding):
    def forward(self, ids, *, lengths=None):
        return super().forward(np.asarray(ids) % 5, lengths=lengths)
"""

MODEL = """
m = AttentionSeq2seq(1_000_000, 8, 8, target_vocabulary=9, seed=1)
x, t = np.full((4, 10), 999_999), np.zeros((4, 3), int)
"""

HARM = {
    "a smaller embedding of another class": MODEL
    + "m.encoder.embedding = Hashed(np.zeros((5, 8), 'f4')); m.forward(x, t); refused(m.generate, x, 0, 5)",
    "a smaller embedding": MODEL + "m.encoder.embedding = Embedding(np.zeros((5, 8), 'f4')); refused(m.generate, x, 0, 5)",
    "a smaller embedding, beam": MODEL
    + "m.encoder.embedding = Embedding(np.zeros((5, 8), 'f4')); refused(m.generate, x, 0, 5, beam=3)",
    "a wider affine map": MODEL
    + "m.decoder.affine = Affine(np.ones((16, 4000), 'f4'), np.ones(4000, 'f4')); refused(m.generate, x, 0, 5)",
    "a wider affine map, beam": MODEL
    + "m.decoder.affine = Affine(np.ones((16, 4000), 'f4'), np.ones(4000, 'f4')); refused(m.generate, x, 0, 5, beam=3)",
    "an LSTM of another width": MODEL
    + "m.decoder.lstm = LSTM(np.ones((8, 400), 'f4'), np.ones((100, 400), 'f4'), np.ones(400, 'f4'))\n"
    + "refused(m.generate, x, 0, 5)",
    "a raised vocabulary": MODEL + "m.source_vocabulary = 10**9; refused(m.generate, x + 10**8, 0, 5)",
    "embedding: weight and gradient": "e = Embedding(np.zeros((1_000_000, 8))); e.forward([[999_999]])\n"
    "e.params[0], e.grads[0] = np.zeros((5, 8)), np.zeros((5, 8)); refused(e.backward, np.ones((1, 1, 8)))",
    "affine map: weight and gradient": "a = Affine(np.zeros((4, 5)), np.zeros(5)); a.forward(np.ones((2, 3, 4)))\n"
    "a.params[0] = np.zeros((4000, 5)); a.grads[0] = np.zeros((4000, 5)); refused(a.backward, np.ones((2, 3, 5)))",
    "affine map: a longer bias": "a = Affine(np.zeros((4, 5)), np.zeros(5))\n"
    "a.params[1], a.grads[1] = np.zeros(1), np.zeros(1); refused(a.forward, np.ones((2, 3, 4)))",
    "LSTM, forward": "l = LSTM(np.zeros((3, 16)), np.zeros((4, 16)), np.zeros(16))\n"
    "l.params[1], l.grads[1] = np.zeros((400, 1600)), np.zeros((400, 1600)); refused(l.forward, np.ones((2, 5, 3)))",
    "LSTM, a state of another width": "l = LSTM(np.zeros((3, 16)), np.zeros((4, 16)), np.zeros(16))\n"
    "l.set_state(np.zeros((2, 4)))\n"
    "for i, shape in enumerate([(3, 1600), (400, 1600), (1600,)]): l.params[i], l.grads[i] = np.zeros(shape), np.zeros(shape)\n"
    "refused(l.forward, np.ones((2, 5, 3)))",
    "LSTM, backward": "l = LSTM(np.zeros((3, 16)), np.zeros((4, 16)), np.zeros(16)); l.forward(np.ones((2, 5, 3)))\n"
    "for i, shape in enumerate([(3000, 16), (4, 16), (16,)]): l.params[i], l.grads[i] = np.zeros(shape), np.zeros(shape)\n"
    "refused(l.backward, np.ones((2, 5, 4)))",
    "the model as one": "m = AttentionSeq2seq(20, 8, 8, seed=1); x = np.ones((4, 6), int); m.forward(x, x)\n"
    "e = m.encoder.embedding; e.params[0], e.grads[0] = np.zeros((1, 8), 'f4'), np.zeros((1, 8), 'f4'); refused(m.backward)",
    "the model as one, an affine map": "m = AttentionSeq2seq(20, 8, 8, seed=1); x = np.ones((4, 6), int); m.forward(x, x)\n"
    "a = m.decoder.affine; a.params[0], a.grads[0] = np.zeros((16, 2), 'f4'), np.zeros((16, 2), 'f4'); refused(m.backward)",
    "optimizer: another dtype": "p, g, o = [np.zeros(1 << 22, 'f4')], [np.ones(1 << 22, 'f4')], SGD()\n"
    "o.update(p, g); p[0].dtype = np.float64; refused(o.update, p, g)",
    "optimizer: another memory": "p, g, o = [np.zeros(1 << 22, 'f4')], [np.ones(1 << 22, 'f4')], Adam()\n"
    "o.update(p, g); p[0].__setstate__((1, (2,), np.dtype('f4'), False, b'01234567')); refused(o.update, p, g)",
    "optimizer: read-only": "p, g, o = [np.zeros(100, 'f4')], [np.ones(100, 'f4')], Adam()\n"
    "o.update(p, g); before = p[0].copy(); p[0].flags.writeable = False; refused(o.update, p, g)\n"
    "assert (p[0] == before).all()",
    "a shape that is set": "l = WeightSum(); hs, a = np.ones((2, 600, 4)), np.ones((2, 600)); l.forward(hs, a)\n"
    "hs.shape = 1200, 2, 2; refused(l.backward, np.ones((1200, 2)))",
    "a dtype that is set": "a = Affine(np.zeros((4, 5)), np.zeros(5)); x = np.ones((2, 3, 4)); a.forward(x)\n"
    "x.dtype = np.float32; refused(a.backward, np.ones((2, 3, 5)))",
}


@pytest.mark.parametrize("name", ["compiled", "reference"])
def test_harm_is_refused(name):
    """One process, in which each harm comes once: a crash of one ends it."""
    if name == "compiled":
        skip_without_compiled_kernels()
    code = BEGIN + "".join(f"\nprint({what!r}, end=': ', flush=True)\n{harm}\n" for what, harm in HARM.items())
    out = run_python(code, FASTATTN_BACKEND=name).splitlines()
    assert [line.rpartition(": ")[0] for line in out] == list(HARM)
    assert not [line for line in out if line.endswith("taken")]


def test_weights_of_attention_can_be_read_and_not_overwritten(backend, rng):
    model = fastattn.AttentionSeq2seq(20, 8, 8, seed=1)
    feeding = fastattn.AttentionSeq2seq(20, 8, 8, seed=1, input_feeding=True, attentional_size=8)
    x, t = rng.integers(0, 20, (3, 5)), rng.integers(0, 20, (3, 4))
    for each in (model, feeding):
        each.forward(x, t)
        assert each.attention_weight.shape == (3, 3, 5)
        with pytest.raises(ValueError, match="read-only"):
            each.attention_weight[...] = 0
    layer = fastattn.AttentionLayer()
    layer.forward(rng.standard_normal((3, 5, 7)), rng.standard_normal((3, 7)))
    with pytest.raises(ValueError, match="read-only"):
        layer.attention_weight[...] = 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_was_handed_out_is_not_what_backward_reads(case, backend, rng):
    """Whatever a caller does with a layer's output before backward, it is an error or the gradients are the same."""
    sizes, seed = SIZES[0], rng.integers(2**32)

    def gradients(overwrites):
        drawn = np.random.default_rng(seed)
        layer = case.layer(drawn, sizes, np.float32)
        inputs, dout = case.draw_inputs(drawn, sizes, np.float32), case.draw_dout(drawn, sizes, np.float32)
        out = layer.forward(*inputs, **case.draw_lengths(drawn, sizes))
        if overwrites and isinstance(out, np.ndarray):
            with contextlib.suppress(ValueError):
                out[...] = 7
        given = layer.backward(dout)
        given = () if given is None else given if isinstance(given, tuple) else (given,)
        return [*given, *(grad.copy() for grad in layer.grads)]

    for left, overwritten in zip(gradients(False), gradients(True), strict=True):
        np.testing.assert_array_equal(overwritten, left)


@pytest.mark.parametrize("choices", [{}, {"word_dropout": 0.1}, {"dropout": 0.1, "decoder_layers": 2}], ids=str)
def test_a_model_copies_nothing_of_what_input_feeding_gives(choices, monkeypatch, rng):
    """Of an array that can only be read the next layer would make a copy."""
    model = fastattn.AttentionSeq2seq(20, 8, 8, seed=1, input_feeding=True, attentional_size=8, **choices)
    copied = []
    floats = checks.floats

    def counted(name, x, *more):
        found = floats(name, x, *more)
        copied.extend([name] if found is not x and found.ndim == 3 else [])
        return found

    monkeypatch.setattr(checks, "floats", counted)
    with fastattn.use_backend("reference"):
        model.forward(rng.integers(0, 20, (3, 5)), rng.integers(0, 20, (3, 4)))
        model.backward()
    assert copied == []
