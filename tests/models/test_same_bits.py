"""Training gives the same bits with any number of threads, more of them than cores among these."""

import pytest
from helpers import run_python

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
    digests = set()
    for threads in (1, 2, 5):
        digests.add(run_python(TRAINING.format(sizes=sizes, dropout=dropout, padded=padded), FASTATTN_NUM_THREADS=str(threads)))
    assert len(digests) == 1
