"""Training gives the same bits with any number of threads, more of them than cores among these."""

import os
import sys

import family
import pytest
from helpers import run_python, skip_without_compiled_kernels

TRAINING = """
import hashlib
import numpy as np
import fastattn
N, T1, T2, V, D, H = {sizes}
rng = np.random.default_rng(3)
x, t = rng.integers(0, V, (N, T1)), rng.integers(0, V, (N, T2))
lengths = dict(source_lengths=1 + np.arange(N) % T1, target_lengths=2 + np.arange(N) % (T2 - 1)) if {padded} else {{}}
model, optimizer = fastattn.AttentionSeq2seq(V, D, H, seed=1, dropout={dropout}), fastattn.Adam()
digest = hashlib.sha256()
for _ in range(20):
    loss = model.forward(x, t, **lengths)
    model.backward()
    norm = fastattn.clip_grads(model.grads, 1.0)
    optimizer.update(model.params, model.grads)
    digest.update(np.array([loss, norm]).tobytes())
for array in (*model.params, *model.grads):
    digest.update(array.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize(
    ("sizes", "dropout"),
    [((13, 9, 8, 70, 20, 67), 0.1), ((33, 5, 7, 50, 30, 150), 0.1), ((13, 9, 8, 70, 20, 67), 0)],
    ids=["own weights", "shared weights", "as one"],
)
def test_twenty_steps_give_the_same_bits_for_1_2_and_5_threads(sizes, dropout, padded):
    skip_without_compiled_kernels()
    digests = set()
    for threads in (1, 2, 5):
        digests.add(run_python(TRAINING.format(sizes=sizes, dropout=dropout, padded=padded), FASTATTN_NUM_THREADS=str(threads)))
    assert len(digests) == 1


FAMILY = """
import hashlib
import numpy as np
import fastattn
from family import FAMILY, make_batch, make_model
N, T1, T2 = 17, 6, 5
padded = dict(source_lengths=1 + np.arange(N) % T1, target_lengths=2 + np.arange(N) % (T2 - 1))
for name, choices in FAMILY.items():
    wide = {} if "H" in choices else dict(D=11, H=36)
    model, optimizer, digest = make_model({**choices, **wide}), fastattn.Adam(), hashlib.sha256()
    for lengths in 5 * ({}, padded):
        loss = model.forward(*make_batch(np.random.default_rng(3), model, N, T1, T2), **lengths)
        model.backward()
        norm = optimizer.update(model.params, model.grads, max_norm=1.0)
        digest.update(np.array([loss, norm]).tobytes())
    for array in (*model.params, *model.grads):
        digest.update(array.tobytes())
    print(name, digest.hexdigest())
"""


def test_ten_steps_of_each_member_of_the_family_give_the_same_bits_for_1_2_and_5_threads():
    skip_without_compiled_kernels()
    path = os.pathsep.join(sys.path)
    outputs = [
        run_python(FAMILY, FASTATTN_NUM_THREADS=str(threads), FASTATTN_BACKEND="compiled", PYTHONPATH=path)
        for threads in (1, 2, 5)
    ]
    assert len(outputs[0].splitlines()) == len(family.FAMILY)
    assert outputs[0] == outputs[1] == outputs[2]
