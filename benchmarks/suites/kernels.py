"""Every kernel by itself, forward and backward: seconds a call."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

import fastattn
from benchmarks.shapes import NAMED, Shape

from . import cases


class _Kernel:
    """What the classes below share; asv passes over it, for its name begins with an underscore."""

    case: ClassVar[Callable[[Shape, str], cases.Case]]
    params = (cases.SETS, ["one", "tiny", "date", "g2p"])
    param_names = ("kernels", "shape")
    timeout = 300
    rounds = 1
    repeat = (2, 6, 0.3)  # seconds at most

    def setup(self, kernels: str, shape: str) -> None:
        self.call = cases.make(type(self).case, kernels, shape)

    def time_forward(self, *_: Any) -> None:
        self.call.forward()

    def time_backward(self, *_: Any) -> None:
        self.call.backward()


class LSTM(_Kernel):
    """A whole sequence. ``time_backward`` is a forward and its backward: there is no second backward for one forward."""

    case = cases.lstm


class EmbeddingLSTM(_Kernel):
    """An embedding and a whole sequence, in one. ``time_backward`` as in LSTM."""

    case = cases.embedding_lstm


class BiLSTM(_Kernel):
    """A whole sequence in both directions. ``time_backward`` as in LSTM."""

    case = cases.bi_lstm


class StackedLSTM(_Kernel):
    """Two layers of both directions. ``time_backward`` as in LSTM."""

    case = cases.stacked_lstm
    params = (cases.SETS, ["one", "tiny", "date"])


class _SlowReference(_Kernel):
    """Where the reference set takes seconds for a long target, or gigabytes."""

    params = (cases.SETS, ["one", "tiny", "date", "g2p", "long"])

    def setup(self, kernels: str, shape: str) -> None:
        if (kernels, shape) == (cases.REFERENCE, "long"):
            raise NotImplementedError("the reference set is not for targets of this length")
        super().setup(kernels, shape)


class InputFeedingLSTM(_SlowReference):
    """A whole target with additive attention inside the recurrence. ``time_backward`` as in LSTM."""

    case = cases.input_feeding_lstm


class AttentionWeight(_Kernel):
    """The scores of one target step, and their softmax."""

    case = cases.attention_score_softmax


class Softmax(_Kernel):
    case = cases.softmax


class WeightSum(_Kernel):
    """The weighted sum of one target step."""

    case = cases.weighted_sum


class Attention(_Kernel):
    """Scores, softmax and weighted sums of all target steps in one."""

    case = cases.attention
    params = (cases.SETS, ["one", "tiny", "date", "long"])


class AttentionGeneral(_Kernel):
    """The same with a matrix between the states of both directions and the decoder's."""

    case = cases.attention_general
    params = (cases.SETS, ["one", "tiny", "date", "long"])


class AttentionAdditive(_SlowReference):
    """The same with a tanh for each pair of steps and each unit."""

    case = cases.attention_additive


class Affine(_Kernel):
    case = cases.affine
    params = (cases.SETS, ["one", "tiny", "g2p", "mt"])


class Attentional(_Kernel):
    """An affine map without a bias, and a tanh."""

    case = cases.attentional


class Embedding(_Kernel):
    case = cases.embedding


class CrossEntropy(_Kernel):
    """Softmax and cross entropy in one."""

    case = cases.cross_entropy
    params = (cases.SETS, ["one", "tiny", "g2p", "mt"])


class Dropout(_Kernel):
    case = cases.dropout


class Float64:
    """A forward and a backward of each kernel in float64, which is for checking gradients."""

    _CASES: ClassVar[dict[str, Callable[[Shape, str], cases.Case]]] = {
        "lstm": cases.lstm,
        "bi_lstm": cases.bi_lstm,
        "input_feeding_lstm": cases.input_feeding_lstm,
        "attention": cases.attention,
        "attention_additive": cases.attention_additive,
        "affine": cases.affine,
        "cross_entropy": cases.cross_entropy,
    }
    params = (list(_CASES),)
    param_names = ("kernel",)
    timeout = 300
    rounds = 1
    repeat = (2, 6, 0.3)

    def setup(self, kernel: str) -> None:
        self.call = cases.make(self._CASES[kernel], cases.COMPILED, "date", "float64")

    def time_forward_backward(self, _: str) -> None:
        self.call.forward()
        self.call.backward()


class _OnWeights:
    """What works on the weights of a whole model, and on their gradients."""

    timeout = 300
    rounds = 1
    repeat = (2, 6, 0.3)

    def prepare(self, kernels: str, shape: str) -> None:
        cases.choose(kernels)
        s = NAMED[shape]
        self.weights = fastattn.AttentionSeq2seq(s.V, s.D, s.H, seed=0).params
        self.grads = [np.full_like(p, 1e-3) for p in self.weights]


class Optimizer(_OnWeights):
    params = (cases.SETS, ["SGD", "Momentum", "AdaGrad", "RMSprop", "Adam"])
    param_names = ("kernels", "optimizer")

    def setup(self, kernels: str, optimizer: str) -> None:
        self.prepare(kernels, "g2p")
        self.optimizer = getattr(fastattn, optimizer)()
        self.time_update()

    def time_update(self, *_: Any) -> None:
        self.optimizer.update(self.weights, self.grads)


class Clipping(_OnWeights):
    """The norm of all gradients, and their scaling."""

    params = (cases.SETS, ["tiny", "g2p"])
    param_names = ("kernels", "shape")

    def setup(self, kernels: str, shape: str) -> None:
        self.prepare(kernels, shape)
        self.time_clip_grads()

    def time_clip_grads(self, *_: Any) -> None:
        fastattn.clip_grads(self.grads, 1e-6)
