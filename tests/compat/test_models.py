"""Models under these names: composing and subclassing them, generating, and what they say to bad input."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import skip_without_compiled_kernels

import fastattn
from fastattn.compat import dlfs2
from fastattn.compat.dlfs2 import *  # noqa: F403 - that it works is what is tested

V, D, H = 13, 7, 11
N, T1, T2 = 4, 6, 5
MODELS = ["Seq2seq", "PeekySeq2seq", "AttentionSeq2seq"]


@pytest.fixture
def data(rng):
    x = rng.integers(1, V, (40, T2 - 1))
    return x, np.concatenate((np.zeros((40, 1), int), x[:, ::-1]), axis=1)


def test_every_name_comes_by_the_star():
    for name in dlfs2.__all__:
        assert globals()[name] is getattr(dlfs2, name)


def test_the_document_has_every_name_and_no_other():
    text = (Path(fastattn.__file__).parents[1] / "docs" / "drop-in.md").read_text(encoding="utf-8")
    table = text.split("<!-- names -->")[1].split("<!-- end -->")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    names = [name for row in rows for name in re.findall(r"`(\w+)", row.split("|")[1])]
    assert sorted(names) == sorted(dlfs2.__all__)


SIGNATURES = {
    "TimeEmbedding": ["W"],
    "TimeAffine": ["W", "b"],
    "TimeSoftmaxWithLoss": [],
    "TimeDropout": ["dropout_ratio"],
    "TimeLSTM": ["Wx", "Wh", "b", "stateful"],
    "TimeBiLSTM": ["Wx1", "Wh1", "b1", "Wx2", "Wh2", "b2", "stateful"],
    "LSTM": ["Wx", "Wh", "b"],
    "Embedding": ["W"],
    **{name: ["vocab_size", "wordvec_size", "hidden_size"] for name in dlfs2.__all__ if re.search("coder|2seq$", name)},
    "eval_seq2seq": ["model", "question", "correct", "id_to_char", "verbos", "is_reverse"],
    "Trainer": ["model", "optimizer"],
    "Adam": ["lr", "beta1", "beta2"],
    "clip_grads": ["grads", "max_norm"],
    "remove_duplicate": ["params", "grads"],
}


@pytest.mark.parametrize("name", [name for name in SIGNATURES if name != "eval_seq2seq"])
def test_signatures(name):
    assert list(inspect.signature(getattr(dlfs2, name)).parameters) == SIGNATURES[name]


class TwoStoreyDecoder:
    """A decoder of a user's own, in the book's manner: two LSTMs, the second after the attention."""

    def __init__(self, V, D, H):
        rn = np.random.default_rng(3).standard_normal
        W = [rn(s).astype("f") / 5 for s in ((V, D), (D, 4 * H), (H, 4 * H), (2 * H, 4 * H), (H, 4 * H), (H, V))]
        self.embed = TimeEmbedding(W[0])  # noqa: F405
        self.lstm = TimeLSTM(W[1], W[2], np.zeros(4 * H, "f"), stateful=True)  # noqa: F405
        self.attention = TimeAttention()  # noqa: F405
        self.upper = TimeLSTM(W[3], W[4], np.zeros(4 * H, "f"))  # noqa: F405
        self.affine = TimeAffine(W[5], np.zeros(V, "f"))  # noqa: F405
        layers = self.embed, self.lstm, self.upper, self.affine
        self.params = [p for layer in layers for p in layer.params]
        self.grads = [g for layer in layers for g in layer.grads]

    def forward(self, xs, enc_hs):
        self.lstm.set_state(enc_hs[:, -1])
        dec_hs = self.lstm.forward(self.embed.forward(xs))
        c = self.attention.forward(enc_hs, dec_hs)
        return self.affine.forward(self.upper.forward(np.concatenate((c, dec_hs), axis=2)))

    def backward(self, dscore):
        dout = self.upper.backward(self.affine.backward(dscore))
        half = dout.shape[2] // 2
        denc_hs, ddec_hs = self.attention.backward(dout[:, :, :half])
        self.embed.backward(self.lstm.backward(dout[:, :, half:] + ddec_hs))
        denc_hs[:, -1] += self.lstm.dh
        return denc_hs


class EncoderWithABackwardOfItsOwn(AttentionEncoder):  # noqa: F405
    """It changes one method, and relies on what the other one has left in ``embed`` and ``lstm``."""

    def backward(self, dhs):
        self.embed.backward(self.lstm.backward(2 * dhs))


def test_a_users_own_backward_finds_what_our_forward_left(rng):
    ids, dhs = rng.integers(0, 5, (4, 6)), rng.standard_normal((4, 6, 3)).astype("f")
    encoders = [AttentionEncoder(5, 2, 3), EncoderWithABackwardOfItsOwn(5, 2, 3)]  # noqa: F405
    for param, own in zip(*(encoder.params for encoder in encoders), strict=True):
        own[...] = param
    for encoder in encoders:
        encoder.forward(ids)
        encoder.backward(dhs)
    for grad, own in zip(*(encoder.grads for encoder in encoders), strict=True):
        np.testing.assert_allclose(own, 2 * grad, rtol=1e-5, atol=1e-6)


class MySeq2seq(Seq2seq):  # noqa: F405
    def __init__(self, vocab_size, wordvec_size, hidden_size):
        sizes = vocab_size, wordvec_size, hidden_size
        self.encoder = AttentionEncoder(*sizes)  # noqa: F405
        self.decoder = TwoStoreyDecoder(*sizes)
        self.softmax = TimeSoftmaxWithLoss()  # noqa: F405
        self.params = self.encoder.params + self.decoder.params
        self.grads = self.encoder.grads + self.decoder.grads


class MyDecoder(AttentionDecoder):  # noqa: F405
    """A decoder that changes one thing of ours: it drops out of what the affine map is given."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.dropout = TimeDropout(0.1)  # noqa: F405

    def forward(self, xs, enc_hs):
        self.lstm.set_state(enc_hs[:, -1])
        dec_hs = self.lstm.forward(self.embed.forward(xs))
        c = self.attention.forward(enc_hs, dec_hs)
        return self.affine.forward(self.dropout.forward(np.concatenate((c, dec_hs), axis=2)))

    def backward(self, dscore):
        dout = self.dropout.backward(self.affine.backward(dscore))
        half = dout.shape[2] // 2
        denc_hs, ddec_hs = self.attention.backward(dout[:, :, :half])
        self.embed.backward(self.lstm.backward(dout[:, :, half:] + ddec_hs))
        denc_hs[:, -1] += self.lstm.dh
        return denc_hs


class MyAttentionSeq2seq(AttentionSeq2seq):  # noqa: F405
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.decoder = MyDecoder(*sizes)
        self.params = self.encoder.params + self.decoder.params
        self.grads = self.encoder.grads + self.decoder.grads


@pytest.mark.parametrize("make", [MySeq2seq, MyAttentionSeq2seq])
def test_a_users_own_model_trains(make, data, capsys):
    np.random.seed(0)  # noqa: NPY002
    model = make(V, D, H)
    trainer = Trainer(model, Adam(0.01))  # noqa: F405
    trainer.fit(*data, max_epoch=30, batch_size=10, max_grad=5.0)
    assert trainer.loss_list[-1] < 0.6 * trainer.loss_list[0]
    assert len(model.decoder.attention.attention_weights) == T2 - 1


def test_a_users_own_gradients_are_right(rng):
    """In float64, against differences, through a decoder that is composed of these layers."""
    model = MySeq2seq(5, 3, 4)
    layers = [
        model.encoder.embed,
        model.encoder.lstm,
        *(getattr(model.decoder, n) for n in ("embed", "lstm", "upper", "affine")),
    ]
    for layer in layers:
        layer.params[:] = [p.astype(float) for p in layer.params]
        layer.grads[:] = [g.astype(float) for g in layer.grads]
    x, t = rng.integers(0, 5, (2, 3)), rng.integers(0, 5, (2, 4))
    model.forward(x, t)
    model.backward()
    for layer in layers:
        for p, g in zip(layer.params, layer.grads, strict=True):
            direction = rng.standard_normal(p.shape)
            before = p.copy()
            p += 1e-6 * direction
            above = model.forward(x, t)
            p[...] = before - 1e-6 * direction
            slope = (above - model.forward(x, t)) / 2e-6
            p[...] = before
            assert slope == pytest.approx((g * direction).sum(), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_a_weight_changed_in_place_changes_the_loss_and_the_answer(name, data, backend):
    model = getattr(dlfs2, name)(V, D, H)
    x, t = data
    before = model.forward(x, t)
    for i in range(len(model.params)):
        held = model.params[i].copy()
        model.params[i][...] += 0.5 * np.arange(held.size).reshape(held.shape) / held.size
        assert model.forward(x, t) != before
        model.params[i][...] = held
    assert model.forward(x, t) == before
    model.params[-1][...] = 0
    model.params[-1][3] = 1e3  # the affine map's bias
    assert model.generate(x[:1], 0, 4) == [3] * 4


class AttentionOfOnesOwn:
    """As the book writes it: a layer of one step for each target step."""

    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, hs_enc, hs_dec):
        self.layers = [dlfs2.Attention() for _ in range(hs_dec.shape[1])]
        return np.stack([layer.forward(hs_enc, hs_dec[:, t]) for t, layer in enumerate(self.layers)], axis=1)

    def backward(self, dout):
        grads = [layer.backward(dout[:, t]) for t, layer in enumerate(self.layers)]
        return sum(dhs for dhs, _ in grads), np.stack([dh for _, dh in grads], axis=1)


def test_an_attention_of_ones_own_in_the_decoder(data):
    x, t = data
    model = dlfs2.AttentionSeq2seq(V, D, H)
    loss = model.forward(x, t)
    model.backward()
    grads, answer = [g.copy() for g in model.grads], model.generate(x[:1], 0, 4)
    model.decoder.attention = AttentionOfOnesOwn()
    assert model.forward(x, t) == pytest.approx(loss, rel=1e-5)
    model.backward()
    for g, expected in zip(model.grads, grads, strict=True):
        np.testing.assert_allclose(g, expected, rtol=1e-4, atol=1e-7)
    assert model.generate(x[:1], 0, 4) == answer


class Own(AttentionSeq2seq):  # noqa: F405
    pass


def test_the_attention_model_runs_as_one_and_else_layer_by_layer(data):
    skip_without_compiled_kernels()
    x, t = data
    model, own = AttentionSeq2seq(V, D, H), Own(V, D, H)  # noqa: F405
    for mine, theirs in zip(own.params, model.params, strict=True):
        mine[...] = theirs
    results = []
    with fastattn.use_backend("compiled"):
        for each in (model, own):
            loss = each.forward(x, t)
            assert (each._as_one is not None) == (each is model)
            each.backward(0.5)
            results.append([loss, *each.decoder.attention.attention_weights, *(grad.copy() for grad in each.grads)])
        for as_one, by_layers in zip(*results, strict=True):
            np.testing.assert_allclose(as_one, by_layers, rtol=0, atol=3e-6 * max(np.abs(by_layers).max(), 0.1))
        model.forward(x, t)
        t[3, 2] = -1
        for bad, error in (
            ((x, t), "is -1; expected a token id"),
            ((x + V, abs(t)), "xs.* is 1"),
            ((x, t[:, :1]), "ts has shape"),
        ):
            with pytest.raises((IndexError, ValueError), match=error):
                model.forward(*bad)
        model.backward(0.5)  # of the forward before these
        for again, once in zip(model.grads, results[0][T2:], strict=True):
            np.testing.assert_array_equal(again, once)
        t[3, 2], t[3, -1] = 1, -1  # no target, and no input of the decoder
        assert model.forward(x, t) == own.forward(x, t)
        assert model._as_one is None


@pytest.mark.parametrize("name", MODELS)
def test_labels_to_ignore_in_the_target_alone(name, data):
    """A decoder is not given -1; the loss may be."""
    model = getattr(dlfs2, name)(V, D, H)
    x, t = data
    labels = t[:, 1:].copy()
    labels[1::2] = -1
    scores = model.decoder.forward(t[:, :-1], model.encoder.forward(x))
    expected = model.decoder.forward(t[::2, :-1], model.encoder.forward(x[::2]))
    loss = model.softmax.forward(scores, labels)
    assert loss == pytest.approx(model.softmax.forward(expected, labels[::2]), rel=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_bad_input(name, data):
    model = getattr(dlfs2, name)(V, D, H)
    x, t = data
    for call, error, match in (
        (lambda: model.forward(x + V, t), IndexError, "expected a token id from 0 to 12"),
        (lambda: model.forward(x, t - 1), IndexError, r"is -1; expected a token id from 0 to 12"),
        (lambda: model.forward(x.astype(float), t), TypeError, "(ids|xs) has dtype float64; expected an integer"),
        (lambda: model.forward(x, t[:, :1]), ValueError, r"ts has shape \(40, 1\); expected \(N, T2\), at least 2 columns"),
        (lambda: model.forward(x[:3], t), ValueError, "has a batch of|expected"),
        (lambda: model.generate(x[:2], 0, 3), ValueError, r"xs has shape \(2, 4\); expected \(1, T1\)"),
        (lambda: model.generate(x[:1], V, 3), IndexError, "start_id is 13; expected a token id from 0 to 12"),
        (lambda: model.generate(x[:1], "0", 3), TypeError, "start_id is '0'"),
        (lambda: model.generate(x[:1], 0, 0), ValueError, "sample_size is 0; expected at least 1"),
        (lambda: model.decoder.generate(np.zeros((2, H), "f"), 0, 3), ValueError, r"h.* has shape \(2, 11\); expected \(1, "),
        (lambda: type(model)(V, 0, H), ValueError, "wordvec_size is 0; expected at least 1"),
        (lambda: type(model)(V, D, 2.0), TypeError, "hidden_size is 2.0; expected a whole number"),
        (lambda: type(model)(V, D, H).backward(), RuntimeError, "backward was called before"),
    ):
        with pytest.raises(error, match=match):
            call()
    assert np.isfinite(model.forward(x, t))


def test_the_encoders_backward_wants_a_forward_and_the_shape_of_its_output(data):
    encoder = dlfs2.Encoder(V, D, H)
    with pytest.raises(RuntimeError, match=r"Encoder\.backward was called before Encoder\.forward"):
        encoder.backward(np.zeros((N, H), "f"))
    encoder.forward(data[0])
    with pytest.raises(ValueError, match=r"dh has shape \(11,\); expected \(40, 11\)"):
        encoder.backward(np.zeros(H, "f"))


def test_a_base_model_says_what_it_has_not():
    for call in (dlfs2.BaseModel().forward, dlfs2.BaseModel().backward):
        with pytest.raises(NotImplementedError, match="BaseModel has no"):
            call()


class Answering:
    def __init__(self, ids):
        self.ids = ids

    def generate(self, question, start_id, sample_size):
        assert (question.shape, start_id, sample_size) == ((1, 4), 0, 2)
        return self.ids


@pytest.mark.parametrize(("ids", "right", "colour"), [([3, 4], 1, "\033[92m"), ([3, 3], 0, "\033[91m")])
@pytest.mark.parametrize("is_reverse", [False, True])
def test_eval_seq2seq(ids, right, colour, is_reverse, capsys):
    id_to_char = dict(enumerate("_+123"))
    arguments = Answering(ids), np.array([[2, 1, 3, 4]]), np.array([[0, 3, 4]]), id_to_char
    assert dlfs2.eval_seq2seq(*arguments) == right
    assert not capsys.readouterr().out
    assert dlfs2.eval_seq2seq(*arguments, verbos=True, is_reverse=is_reverse) == right
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Q " + ("32+1" if is_reverse else "1+23"), "T 23"]
    assert lines[2].startswith(colour)
    assert lines[2].endswith(" 23" if right else " 22")
    assert lines[3] == "---"
