"""What the models say to input that they cannot use, in the words of their own arguments."""

import numpy as np
import pytest

import fastattn

N, T1, T2, D, H = 3, 5, 4, 7, 11
V_SOURCE, V_TARGET = 13, 9
X, Y = np.zeros((N, T1), int), np.zeros((N, T2), int)


@pytest.fixture
def model(backend):
    return fastattn.AttentionSeq2seq(V_SOURCE, D, H, target_vocabulary=V_TARGET, seed=1)


def with_one(ids, place, value):
    changed = ids.copy()
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("x", "t", "lengths", "error", "match"),
    [
        (X[0], Y, {}, ValueError, r"x has shape \(5,\); expected \(N, T1\)"),
        (X, Y[0], {}, ValueError, r"t has shape \(4,\); expected \(3, T2\)"),
        (X, Y[:2], {}, ValueError, r"t has shape \(2, 4\); expected \(3, T2\)"),
        (X, Y[:, :1], {}, ValueError, r"t has shape \(3, 1\); expected at least 2 columns"),
        (X[:0], Y[:0], {}, ValueError, r"x is empty, of shape \(0, 5\)"),
        (X[:, :0], Y, {}, ValueError, r"x is empty, of shape \(3, 0\)"),
        (X.astype(float), Y, {}, TypeError, r"x has dtype float64; expected an integer dtype"),
        (X, Y.astype(bool), {}, TypeError, r"t has dtype bool; expected an integer dtype"),
        (with_one(X, (2, 3), V_SOURCE), Y, {}, IndexError, r"x\[2, 3\] is 13; expected a token id from 0 to 12"),
        (X, with_one(Y, (1, 0), V_TARGET), {}, IndexError, r"t\[1, 0\] is 9; expected a token id from 0 to 8"),
        (X, with_one(Y, (0, 3), -1), {}, IndexError, r"t\[0, 3\] is -1; expected a token id from 0 to 8"),
        (X, Y, {"source_lengths": [1, 6, 2]}, ValueError, r"source_lengths\[1\] is 6; expected a length from 1 to 5"),
        (X, Y, {"source_lengths": [1, 2]}, ValueError, r"source_lengths has shape \(2,\); expected \(3,\)"),
        (X, Y, {"target_lengths": [4, 4, 1]}, ValueError, r"target_lengths\[2\] is 1; expected a length from 2 to 4"),
        (X, Y, {"target_lengths": [4, 5, 2]}, ValueError, r"target_lengths\[1\] is 5; expected a length from 2 to 4"),
        (X, Y, {"target_lengths": [4.0, 4, 4]}, TypeError, r"target_lengths has dtype float64"),
    ],
)
def test_forward(model, x, t, lengths, error, match):
    with pytest.raises(error, match=match):
        model.forward(x, t, **lengths)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "match"),
    [
        ((X[0], 0, 4), {}, ValueError, r"x has shape \(5,\); expected \(N, T1\)"),
        ((X[:0], 0, 4), {}, ValueError, r"x is empty"),
        ((with_one(X, (0, 0), V_SOURCE), 0, 4), {}, IndexError, r"x\[0, 0\] is 13"),
        ((X, V_TARGET, 4), {}, IndexError, r"start_id is 9; expected a token id from 0 to 8"),
        ((X, 1.0, 4), {}, TypeError, r"start_id is 1.0; expected a token id"),
        ((X, 0, 0), {}, ValueError, r"sample_size is 0; expected at least 1"),
        ((X, 0, 2.5), {}, TypeError, r"sample_size is 2.5; expected a whole number"),
        ((X, 0, 4), {"end_id": -1}, IndexError, r"end_id is -1; expected a token id from 0 to 8"),
        ((X, 0, 4), {"end_id": True}, TypeError, r"end_id is True; expected a token id"),
        ((X, 0, 4), {"lengths": [1, 2, 9]}, ValueError, r"lengths\[2\] is 9; expected a length from 1 to 5"),
    ],
)
def test_generate(model, arguments, keywords, error, match):
    with pytest.raises(error, match=match):
        model.generate(*arguments, **keywords)


@pytest.mark.parametrize("make", [fastattn.Encoder, fastattn.Decoder, fastattn.AttentionSeq2seq])
@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "match"),
    [
        ((0, D, H), {}, ValueError, r"V is 0; expected at least 1"),
        ((5, -1, H), {}, ValueError, r"D is -1; expected at least 1"),
        ((5, D, 2.0), {}, TypeError, r"H is 2.0; expected a whole number"),
        ((5, D, H), {"dtype": "float16"}, TypeError, r"dtype is float16; expected float32 or float64"),
        ((5, D, H), {"dropout": 1.0}, ValueError, r"dropout is 1.0; expected 0 <= dropout < 1"),
    ],
)
def test_construction(make, arguments, keywords, error, match):
    with pytest.raises(error, match=match):
        make(*arguments, **keywords)


def test_target_vocabulary():
    with pytest.raises(ValueError, match=r"target_vocabulary is 0; expected at least 1"):
        fastattn.AttentionSeq2seq(5, D, H, target_vocabulary=0)


def test_backward_before_forward():
    for model, arguments in (
        (fastattn.AttentionSeq2seq(5, D, H), ()),
        (fastattn.Encoder(5, D, H), (np.zeros((N, T1, H), np.float32),)),
        (fastattn.Decoder(5, D, H), (np.zeros((N, T2, 5), np.float32),)),
    ):
        with pytest.raises(RuntimeError, match=r"backward was called before"):
            model.backward(*arguments)


def test_decoder_is_given_states_of_another_width(backend):
    decoder = fastattn.Decoder(V_TARGET, D, H)
    with pytest.raises(ValueError, match=r"hs_enc has shape \(3, 5, 12\); expected \(N, T1, 11\)"):
        decoder.forward(Y, np.zeros((N, T1, H + 1), np.float32))
    with pytest.raises(TypeError, match=r"hs_enc has dtype float64; expected float32"):
        decoder.forward(Y, np.zeros((N, T1, H)))
    with pytest.raises(ValueError, match=r"t has a batch of 2; expected 3, the batch of hs_enc"):
        decoder.forward(Y[:2], np.zeros((N, T1, H), np.float32))
