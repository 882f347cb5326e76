"""Vocabularies of 1 and of 200,000, sequences of 1 and of 10,000, and what is larger than the memory."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import skip_without_compiled_kernels

import fastattn
from fastattn.data import Vocabulary
from fastattn.training import Adam, Trainer, Translator


def trained(V, T, U, N=2, **choices):
    """A model after one step on random tokens, and what it read."""
    rng = np.random.default_rng(0)
    model = fastattn.AttentionSeq2seq(V, 4, 6, seed=0, **choices)
    before = [param.copy() for param in model.params]
    x, t = rng.integers(0, V, (N, T)), rng.integers(0, V, (N, U))
    (record,) = Trainer(model, Adam(0.01)).fit(x, t, max_epoch=1, batch_size=N, progress=False)
    assert np.isfinite(record.loss)
    assert abs(record.loss - np.log(V)) < 0.2
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.params, strict=True)]
    assert all(np.isfinite(param).all() for param in model.params)
    assert all(changed) or V == 1  # there is nothing to learn
    return model.eval(), x


FEEDING = {"input_feeding": True, "attentional_size": 5, "attention": "additive"}


@pytest.mark.parametrize("choices", [{}, FEEDING], ids=["plain", "feeding"])
@pytest.mark.parametrize(("V", "T", "U"), [(1, 1, 2), (1, 5, 4), (200_000, 3, 3), (20, 10_000, 5)])
def test_a_step_and_a_search(V, T, U, choices, backend):
    model, x = trained(V, T, U, **choices)
    ids = model.generate(x, 0, 3)
    assert ids.shape == (2, 3)
    assert ((ids >= 0) & (ids < V)).all()
    if V < 1000 or backend == "compiled":
        best = model.generate(x[:1], 0, 2, beam=2)
        assert ((best >= 0) & (best < V)).all()


@pytest.mark.slow
def test_an_answer_of_ten_thousand_to_a_source_of_ten_thousand(backend):
    model, x = trained(20, 10_000, 10_000, N=1)
    assert model.generate(x, 0, 10_000).shape == (1, 10_000)


def test_a_text_of_ten_thousand_symbols(backend):
    source, target = (Vocabulary.from_texts([text]) for text in ("ab", "xy"))
    model = fastattn.AttentionSeq2seq(len(source), 3, 4, target_vocabulary=len(target), seed=0)
    translator = Translator(model, source, target, reverse_source=False, max_target_tokens=7)
    answers = translator.translate(["ab" * 5000, "a"])
    assert answers[1] == translator.translate(["a"])[0]


TOO_LARGE = """
import json, resource
import numpy as np
import fastattn
fastattn.set_backend({backend!r})
model = fastattn.AttentionSeq2seq(20, 4, 6, seed=0)
small = np.ones((1, 3), int)
loss = model.forward(small, small)
model.backward()
answer = model.generate(small, 0, 3).tolist()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
said = []
for call in (
    lambda: model.forward(np.ones((1, 10_000), int), np.ones((1, 10_000), int)),
    lambda: model.forward(np.ones((1000, 3), int), np.ones((1000, 20_000), int)),
    lambda: fastattn.AttentionSeq2seq(2**24, 64, 8),
):
    try:
        call()
    except MemoryError as error:
        said.append(str(error))
assert model.forward(small, small) == loss
assert model.generate(small, 0, 3).tolist() == answer
print(json.dumps(said))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the limit needs Linux")
@pytest.mark.parametrize("name", ["compiled", "reference"])
def test_what_is_larger_than_the_memory_is_said_in_one_sentence(name):
    """How much of it there was no room for; and the model goes on."""
    if name == "compiled":
        skip_without_compiled_kernels()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OPENBLAS_NUM_THREADS": "1",
        "FASTATTN_NUM_THREADS": "1",
    }
    command = [sys.executable, "-W", "ignore", "-c", TOO_LARGE.format(backend=name)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert len(said) == 3
    for sentence in said:
        assert "Unable to allocate" in sentence
        assert "with shape" in sentence
