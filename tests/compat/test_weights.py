"""Weights that travel: safetensors and pickles, and what is refused before it can do anything."""

import os
import pickle
import re
import resource
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fastattn.compat import dlfs2

V, D, H = 13, 7, 11


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model():
    return dlfs2.AttentionSeq2seq(V, D, H)


def copies(model):
    return [p.copy() for p in model.params]


def same(params, others):
    return all(np.array_equal(p, q) for p, q in zip(params, others, strict=True))


@pytest.mark.parametrize("name", [None, "weights.safetensors", "weights.pkl"])
def test_what_was_saved_is_loaded_to_the_bit(model, name):
    expected, held = copies(model), list(model.params)
    model.save_params(name)
    assert os.listdir() == [name or "AttentionSeq2seq.safetensors"]
    tensors = load_file(os.listdir()[0])
    assert same([tensors[str(i)] for i in range(10)], expected)
    other = dlfs2.AttentionSeq2seq(V, D, H)
    assert not same(other.params, expected)
    other.load_params(name)
    assert same(other.params, expected)
    for p in model.params:
        p[...] = 0
    model.load_params(name)
    assert same(model.params, expected)
    assert all(p is q for p, q in zip(model.params, held, strict=True))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_pickles_of_a_list_of_arrays(model, protocol, dtype):
    weights = [p.astype(dtype) for p in model.params]
    weights[1] = np.asfortranarray(weights[1])
    with open("AttentionSeq2seq.pkl", "wb") as file:
        pickle.dump(weights, file, protocol)
    for p in model.params:
        p[...] = 0
    model.load_params()
    assert {p.dtype for p in model.params} == {np.dtype("float32")}
    assert same(model.params, [w.astype("float32") for w in weights])


def test_pickles_of_numpy_1(model):
    """Which called its modules otherwise."""
    with open("old.pkl", "wb") as file:
        file.write(pickle.dumps(model.params, 2).replace(b"numpy._core", b"numpy.core"))
    expected = copies(model)
    for p in model.params:
        p[...] = 0
    model.load_params("old.pkl")
    assert same(model.params, expected)


class Malicious:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


PICKLES = {
    "a command": Malicious(os.system, "touch was-run"),
    "a command among arrays": [np.zeros(3), Malicious(os.system, "touch was-run")],
    "code": Malicious(eval, "open('was-run', 'w')"),
    "an import": Malicious(__import__, "this"),
    "a function of NumPy's that loads": Malicious(np.load, "other.npy"),
    "a codec": Malicious(__import__("_codecs").encode, "ab", "rot13"),
    "objects": [np.array([1, "a", None], object)],
    "objects that run": [np.array([Malicious(os.system, "touch was-run")], object)],
    "whole numbers": [np.arange(3)],
    "text": [np.array(["a"])],
    "structures": [np.zeros(3, [("a", "f4")])],
    "a scalar": [np.float32(1)],
    "a dictionary": {"W": np.zeros(3)},
    "one array": np.zeros(3),
    "numbers": [1.0, 2.0],
    "a dtype": [np.dtype("f4")],
    "nothing": None,
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", PICKLES)
def test_other_pickles_are_refused_before_they_run(model, name, protocol):
    before = copies(model)
    with open("model.pkl", "wb") as file:
        pickle.dump(PICKLES[name], file, protocol)
    with pytest.raises(ValueError, match=r"model\.pkl cannot be read as weights: neither safetensors nor a pickle"):
        model.load_params("model.pkl")
    assert os.listdir() == ["model.pkl"]
    assert same(model.params, before)


# By hand: what no pickler writes. The stand-ins are called, and given a state, in ways that were not meant.
BY_HAND = {
    "a name with dots": b"\x80\x04\x8c\x05numpy\x8c\x0bndarray.dot\x93.",
    "attributes of a stand-in": b"\x80\x02c_codecs\nencode\nN}U\x04bomb\x4b\x01s\x86b.",
    "a class instead of an array": b"\x80\x02]cnumpy\nndarray\na.",
    "an array that was never filled": b"\x80\x02]cnumpy\nndarray\n)Ra.",
    "an array made without its constructor": b"\x80\x02]cnumpy\nndarray\n)\x81a.",
    "a state of the wrong kind": b"\x80\x02]cnumpy\nndarray\n)RK\x01ba.",
    "a persistent id": b"\x80\x02]K\x01Qa.",
    "a memo of 16 GB": b"\x80\x02]r\xff\xff\xff\x7fK\x01a.",
    "a huge array": b"\x80\x05]\x96\x00\x00\x00\x00\x00\x00\x00\x70a.",
}


@pytest.mark.parametrize("name", BY_HAND)
def test_pickles_written_by_hand_are_refused(model, name):
    with open("model.pkl", "wb") as file:
        file.write(BY_HAND[name])
    with pytest.raises(ValueError, match=r"model\.pkl cannot be read as weights"):
        model.load_params("model.pkl")


def nested(levels, width):
    """A list of lists of lists, each ``width`` times the one below: operations of a pickle that leave one object."""
    levels_above = (b"](" + b"h\x00" * width + b"eq\x00" for _ in range(levels))
    return b"]K\x00aq\x00" + b"".join(b"0" + level for level in levels_above)


NESTED_TUPLE = b")q\x00" + b"0h\x00h\x00\x86q\x00" * 40  # 2^40 steps to hash it
F4 = b"X\x02\x00\x00\x00f4"

# A few bytes that ask for hours or gigabytes.
BOMBS = {
    "a dtype code whose repr is huge": b"\x80\x02]cnumpy\ndtype\n(" + nested(15, 10) + b"\x89\x88tRa.",
    "an encoding whose repr is huge": b"\x80\x02]c_codecs\nencode\n(X\x01\x00\x00\x00a" + nested(15, 10) + b"tRa.",
    "a key that is hashed for ever": b"\x80\x02}" + NESTED_TUPLE + b"K\x01s.",
    "a state whose keys are hashed for ever": b"\x80\x02cnumpy\ndtype\n(" + F4 + b"tR}" + NESTED_TUPLE + b"K\x01sb.",
    "a set whose members are hashed for ever": b"\x80\x04\x8f(" + NESTED_TUPLE + b"\x90.",
    "a bytearray of 3 GiB": b"\x80\x05\x96\x00\x00\x00\xc0\x00\x00\x00\x00.",
    "one string encoded 4,000 times": b"\x80\x02]c_codecs\nencode\nq\x010X\x40\x42\x0f\x00"
    + b"a" * 1_000_000
    + b"X\x06\x00\x00\x00latin1\x86q\x020"
    + b"h\x01h\x02Ra" * 4000
    + b".",
    "arguments that are copied for ever": b"\x80\x02]("
    + (F4 + b"N" * 9000 + b"tq\x000cnumpy\ndtype\nq\x010")
    + b"h\x01h\x00R0" * 1_000_000
    + b".",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_once(model, name):
    with open("model.pkl", "wb") as file:
        file.write(BOMBS[name])
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ValueError, match=r"model\.pkl cannot be read as weights") as refused:
        model.load_params("model.pkl")
    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
    assert len(str(refused.value)) < 1000


def test_a_file_far_larger_than_the_weights_is_not_read(model):
    with open("model.pkl", "wb") as file:
        file.write(b"\x80\x02")
        file.truncate(1 << 40)  # a hole: it takes no room on the disk
    with pytest.raises(
        ValueError, match=r"model\.pkl cannot be read as weights: it has 1,099,511,627,776 bytes; expected at most"
    ):
        model.load_params("model.pkl")


def test_a_pipe_and_a_device_are_not_opened(model):
    os.mkfifo("pipe")
    for name in ("pipe", "/dev/zero"):
        with pytest.raises(ValueError, match="cannot be read as weights: it is no regular file"):
            model.load_params(name)


def test_bytes_that_do_not_fill_the_shape_are_refused(model):
    content = pickle.dumps([np.zeros((3, 5), "f4")], 3)
    assert content.count(b"K\x03K\x05") == 1
    with open("model.pkl", "wb") as file:
        file.write(content.replace(b"K\x03K\x05", b"K\x63K\x63"))
    with pytest.raises(ValueError, match="cannot reshape array of size 15"):
        model.load_params("model.pkl")


@pytest.mark.parametrize("kind", ["safetensors", "pickle"])
def test_a_truncated_file_is_refused_wherever_it_ends(model, kind):
    before = copies(model)
    model.save_params("whole")
    if kind == "pickle":
        with open("whole", "wb") as file:
            pickle.dump([p.astype("f2") for p in model.params], file)
    with open("whole", "rb") as file:
        content = file.read()
    for size in [0, 1, 7, 8, 9, 30, len(content) // 3, len(content) // 2, len(content) - 1]:
        with open("part", "wb") as file:
            file.write(content[:size])
        with pytest.raises(ValueError, match="part cannot be read as weights"):
            model.load_params("part")
    assert same(model.params, before)


@pytest.mark.parametrize("kind", ["safetensors", "pickle"])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda w: w[:-1], r"weights holds arrays of shapes .*; expected \[\(13, 7\), \(7, 44\)"),
        (lambda w: [*w, w[0]], "holds arrays of shapes"),
        (lambda w: [w[0].T.copy(), *w[1:]], r"\[\(7, 13\), \(7, 44\)"),
        (lambda w: [np.full_like(w[0], np.nan), *w[1:]], "weights holds NaN or infinity"),
        (lambda w: [np.full(w[0].shape, 1e300), *w[1:]], "weights holds NaN or infinity"),
    ],
    ids=["too few", "too many", "transposed", "NaN", "too large"],
)
def test_other_weights_are_refused(model, kind, change, match):
    before = copies(model)
    weights = change(copies(model))
    if kind == "pickle":
        with open("weights", "wb") as file:
            pickle.dump(weights, file)
    else:
        save_file({str(i): w for i, w in enumerate(weights)}, "weights")
    with pytest.raises(ValueError, match=match):
        model.load_params("weights")
    assert same(model.params, before)


@pytest.mark.parametrize(
    ("tensors", "match"),
    [({"W": np.zeros(3, "f4")}, "cannot be read as weights"), ({"0": np.arange(3)}, "holds int64; expected floats")],
    ids=["other names", "whole numbers"],
)
def test_other_safetensors_are_refused(model, tensors, match):
    save_file(tensors, "other")
    with pytest.raises(ValueError, match=match):
        model.load_params("other")


def test_a_file_that_is_not_there(model):
    with pytest.raises(FileNotFoundError, match=re.escape("AttentionSeq2seq.safetensors")):
        model.load_params()
    with pytest.raises(OSError):
        model.load_params(os.getcwd())
