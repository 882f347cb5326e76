"""Random public calls; lists, parts, arrays and their metadata are changed in between. Any exception will do, a crash will not.

python random_calls.py BACKEND SEED ROUNDS
"""

import pickle
import sys
import warnings

import numpy as np

import fastattn
from fastattn.layers import (
    LSTM,
    Affine,
    Attention,
    AttentionLayer,
    BiLSTM,
    CEloss,
    Embedding,
    EmbeddingLSTM,
    InputFeedingLSTM,
    Softmax,
    SoftmaxCrossEntropy,
    SoftmaxLayer,
    StackedLSTM,
    Tanh,
    WeightSum,
)
from fastattn.models import AttentionSeq2seq
from fastattn.training import SGD, AdaGrad, Adam, RMSprop, clip_grads

warnings.simplefilter("ignore")
backend, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
fastattn.set_backend(backend)
rng = np.random.default_rng(seed)

SIZES = (1, 2, 3, 5, 8)
LARGE = 3000
OPTIONS = (
    {},
    {},
    {"bidirectional": True, "attention": "general", "bridge": "affine"},
    {"encoder_layers": 2, "decoder_layers": 2, "attention": "additive"},
    {"input_feeding": True, "attentional_size": 5},
    {"input_feeding": True, "attentional_size": 5, "decoder_layers": 2, "attention": "general", "recurrent_dropout": 0.2},
    {"tie_embeddings": True, "attentional_size": 4},
    {"attention": None, "bridge": "affine"},
)


def pick(*choices):
    return choices[rng.integers(len(choices))]


def size():
    return LARGE if rng.random() < 0.03 else int(pick(*SIZES))


def floats(*shape):
    return (rng.standard_normal(shape) * pick(1, 1, 1, 1e-40, 1e30)).astype(pick("f4", "f4", "f4", "f8"))


def lstm(D=None, H=None):
    D, H = D or size(), H or int(pick(*SIZES))
    return LSTM(
        *(array.astype("f4") for array in (floats(D, 4 * H), floats(H, 4 * H), floats(4 * H))), stateful=pick(True, False)
    )


def layer():
    D, H = int(pick(*SIZES)), int(pick(*SIZES))
    return pick(
        lambda: Embedding(floats(size(), size())),
        lambda: Affine(*(a.astype("f4") for a in (floats(D, H), floats(H)))),
        lambda: lstm(),
        lambda: BiLSTM(lstm(D, H), lstm(D, H)),
        lambda: StackedLSTM([lstm(D, H), lstm(H, H)]),
        lambda: EmbeddingLSTM(Embedding(floats(size(), D).astype("f4")), lstm(D, H)),
        lambda: InputFeedingLSTM([lstm(D + 3, H)], Attention("dot"), floats(2 * H, 3).astype("f4")),
        lambda: Attention("additive", W=floats(H, D).astype("f4"), W_query=floats(H, D).astype("f4"), v=floats(D).astype("f4")),
        lambda: Attention(join=True),
        *(AttentionLayer, WeightSum, SoftmaxLayer, Softmax, CEloss, SoftmaxCrossEntropy, Tanh),
        lambda: SoftmaxCrossEntropy(overwrite_scores=True, ignore_label=0),
    )()


def model():
    sizes = int(pick(2, 5, 9)), int(pick(*SIZES)), int(pick(*SIZES))
    return AttentionSeq2seq(*sizes, target_vocabulary=pick(None, 4, 7), seed=1, **pick(*OPTIONS))


class Subject:
    """Something that is called, and what its last call was given."""

    def __init__(self):
        self.thing = model() if rng.random() < 0.5 else layer()
        self.optimizer = pick(SGD, Adam, AdaGrad, RMSprop)()
        self.arrays = []

    def given(self, *shapes):
        """Mostly what fits, so that what does not is met at the next call."""
        arrays = [floats(*shape).astype("f4") for shape in shapes]
        self.arrays = [*self.arrays[-6:], *arrays]
        return arrays

    def call(self):
        thing, N, T, U = self.thing, int(pick(1, 2, 4)), int(pick(1, 3, 6)), int(pick(2, 3, 5))
        lengths = None if rng.random() < 0.5 else rng.integers(1, T + 1, N)
        if isinstance(thing, AttentionSeq2seq):
            x, t = rng.integers(0, thing.source_vocabulary, (N, T)), rng.integers(0, thing.target_vocabulary, (N, U))
            pick(
                lambda: thing.forward(x, t, source_lengths=lengths),
                lambda: thing.forward(x, t),
                lambda: thing.generate(x, 0, 4, lengths=lengths),
                lambda: thing.generate(x, 0, 4, beam=3, end_id=1),
                lambda: thing.sample(x, 0, 3, seed=1),
                lambda: thing.log_probabilities(x, t, source_lengths=lengths),
            )()
            return
        D = thing.params[0].shape[0] if thing.params else int(pick(*SIZES))
        if isinstance(thing, Embedding | EmbeddingLSTM):
            self.out = thing.forward(rng.integers(0, thing.params[0].shape[0], (N, T)), lengths=lengths)
        elif isinstance(thing, InputFeedingLSTM):
            H = thing.lstms[0].params[1].shape[0]
            self.out = thing.forward(*self.given((N, U, thing.input_width), (N, T, H)), source_lengths=lengths)
        elif isinstance(thing, Attention):
            H = thing.params[0].shape[0] if thing.params else D
            self.out = thing.forward(*self.given((N, T, H), (N, U, H)), source_lengths=lengths)
        elif isinstance(thing, AttentionLayer):
            self.out = thing.forward(*self.given((N, T, D), (N, D)), lengths=lengths)
        elif isinstance(thing, WeightSum):
            self.out = thing.forward(*self.given((N, T, D), (N, T)), lengths=lengths)
        elif isinstance(thing, SoftmaxLayer | CEloss):
            self.out = thing.forward(*self.given((N, T)), lengths=lengths)
        elif isinstance(thing, Softmax | SoftmaxCrossEntropy):
            self.out = thing.forward(*self.given((N, T, D)), rng.integers(0, D, (N, T)), lengths=lengths)
        elif isinstance(thing, Tanh):
            self.out = thing.forward(*self.given((N, T, D)))
        else:
            self.out = thing.forward(*self.given((N, T, D)), lengths=lengths)

    def back(self):
        if isinstance(self.thing, AttentionSeq2seq):
            self.thing.backward(pick(1, 0.5))
        elif isinstance(self.out, float):
            self.thing.backward()
        else:
            shape = self.out.shape if rng.random() < 0.8 else tuple(int(pick(*SIZES)) for _ in self.out.shape)
            self.thing.backward(*self.given(shape))

    def update(self):
        pick(
            lambda: self.optimizer.update(self.thing.params, self.thing.grads),
            lambda: self.optimizer.update(self.thing.params, self.thing.grads, max_norm=1.0),
            lambda: clip_grads(self.thing.grads, 0.1),
            lambda: self.optimizer.update(self.thing.params, self.thing.grads[::-1]),
        )()

    def holders(self):
        """All that has lists of weights."""
        parts = [self.thing]
        for part in parts:
            for name in ("encoder", "decoder", "embedding", "lstm", "affine", "attention", "bridge", "loss", "attentional"):
                each = getattr(part, name, None)
                if hasattr(each, "params") and not any(each is other for other in parts):
                    parts.append(each)
            parts += [each for each in getattr(part, "lstms", ()) if not any(each is other for other in parts)]
        return parts

    def change_list(self):
        holder = pick(*self.holders())
        i = int(rng.integers(len(holder.params)))
        new = floats(*(size() if rng.random() < 0.5 else n for n in holder.params[i].shape))
        new = new.astype(holder.params[i].dtype) if rng.random() < 0.8 else new
        if rng.random() < 0.8:
            holder.params[i] = new
        if rng.random() < 0.8:
            holder.grads[i] = np.zeros_like(new)
        if rng.random() < 0.05:
            holder.params[i] = pick(None, [1.0], new.tolist(), 3, new.T, new[::2], np.array(None))
        if rng.random() < 0.05:
            pick(holder.params.pop, holder.grads.pop, holder.params.reverse, lambda: holder.params.append(new))()

    def change_part(self):
        holder = pick(*self.holders())
        names = [name for name in ("embedding", "lstm", "affine", "attention", "encoder", "decoder") if hasattr(holder, name)]
        if names and rng.random() < 0.7:
            name = pick(*names)
            old = getattr(holder, name)
            V, D, H = size(), int(pick(*SIZES)), int(pick(*SIZES))
            new = {
                "embedding": lambda: Embedding(floats(V, old.params[0].shape[1] if rng.random() < 0.7 else D).astype("f4")),
                "lstm": lambda: lstm(old.params[0].shape[0], H),
                "affine": lambda: Affine(*(a.astype("f4") for a in (floats(old.params[0].shape[0], V), floats(V)))),
                "attention": lambda: Attention(pick("dot", "scaled_dot"), join=True),
            }.get(name, lambda: getattr(model(), name))()
            setattr(holder, name, new)
        for name in ("source_vocabulary", "target_vocabulary", "source_width"):
            if hasattr(holder, name) and rng.random() < 0.3:
                setattr(holder, name, size())

    def change_array(self):
        arrays = [*self.arrays, *(array for holder in self.holders() for array in (*holder.params, *holder.grads))]
        array = pick(*[array for array in arrays if isinstance(array, np.ndarray)])
        n = array.size

        def set_shape():
            array.shape = pick((n,), (1, n), (n, 1), (1, 1, n), (2, n // 2), (n // 2, 2), array.shape[::-1])

        def set_dtype():
            array.dtype = pick(np.float64, np.float32, np.int64, np.int32)

        def set_flags():
            array.flags.writeable = pick(True, False)

        def set_strides():
            array.strides = pick((0,) * array.ndim, array.strides[::-1])

        def set_state():
            other = np.ones(pick(array.shape, (1,), (3, 2)), "f4")
            array.__setstate__((1, other.shape, other.dtype, False, other.tobytes()))

        def set_numbers():
            array[...] = pick(np.nan, np.inf, -1e30, 1e-40, 0)

        pick(set_shape, set_dtype, set_flags, set_strides, set_state, set_numbers)()

    def copy(self):
        self.thing = pickle.loads(pickle.dumps(self.thing))

    def state(self):
        for each in getattr(self.thing, "lstms", ()):
            pick(lambda each=each: each.set_state(floats(2, int(pick(*SIZES)))), each.reset_state)()


counts = {}
for _ in range(rounds):
    subject = Subject()
    for _ in range(int(rng.integers(4, 14))):
        action = pick(
            *("call",) * 5, *("back",) * 4, "update", "update", "change_list", "change_part", "change_array", "copy", "state"
        )
        try:
            getattr(subject, action)()
            outcome = "done"
        except Exception as error:  # a crash would not be one
            outcome = type(error).__name__
        counts[action, outcome] = counts.get((action, outcome), 0) + 1
print(sum(n for (action, outcome), n in counts.items() if outcome == "done" and action in ("call", "back", "update")))
for key, n in sorted(counts.items()):
    print(*key, n, file=sys.stderr)
