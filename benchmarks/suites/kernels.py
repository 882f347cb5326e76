"""Every kernel by itself, forward and backward: seconds a call."""

from typing import Any

import numpy as np

import fastattn

from . import cases


class _Kernel:
    """What the classes below share; asv passes over it, for its name begins with an underscore."""

    case = ""
    params = (cases.KERNEL_SETS, cases.SHAPES, cases.THREADS, cases.DTYPES)
    param_names = ("kernels", "shape", "threads", "dtype")
    timeout = 300
    warmup_time = 0.05
    min_run_count = 5

    def setup(self, kernels: str, shape: str, threads: int, dtype: str) -> None:
        if kernels == "reference" and threads != cases.THREADS[-1]:
            raise NotImplementedError("the reference set has NumPy's threads")
        if dtype == "float64" and shape != "tiny":
            raise NotImplementedError("float64 is for checking: one shape will do")
        self.call = cases.make(self.case, kernels, shape, threads, dtype)

    def time_forward(self, *_: Any) -> None:
        self.call.forward()

    def time_backward(self, *_: Any) -> None:
        self.call.backward()


class LSTM(_Kernel):
    """``time_backward`` is a forward and its backward: there is no second backward for one forward."""

    case = "lstm"


class AttentionWeight(_Kernel):
    """The scores of one target step, and their softmax."""

    case = "attention_weight"


class WeightSum(_Kernel):
    case = "weight_sum"


class Attention(_Kernel):
    """Scores, softmax and weighted sums of all target steps."""

    case = "attention"


class Affine(_Kernel):
    case = "affine"


class Embedding(_Kernel):
    case = "embedding"


class CrossEntropy(_Kernel):
    """Softmax and cross entropy in one."""

    case = "cross_entropy"


class Dropout(_Kernel):
    case = "dropout"


class Optimizer:
    """A step over the weights of the model at a shape; clipping, its norm and scaling."""

    params = (cases.KERNEL_SETS, ["SGD", "Momentum", "AdaGrad", "RMSprop", "Adam"], ["tiny", "g2p"])
    param_names = ("kernels", "optimizer", "shape")
    timeout = 300

    def setup(self, kernels: str, optimizer: str, shape: str) -> None:
        fastattn.set_backend(kernels)
        fastattn.set_num_threads(cases.THREADS[-1])
        s = cases.NAMED[shape]
        self.update = getattr(fastattn, optimizer)().update
        self.clip = fastattn.clip_grads
        self.weights = fastattn.AttentionSeq2seq(s.V, s.D, s.H, seed=0).params
        self.grads = [np.full_like(p, 1e-3) for p in self.weights]
        self.time_update()
        self.time_clip_grads()

    def time_update(self, *_: Any) -> None:
        self.update(self.weights, self.grads)

    def time_clip_grads(self, *_: Any) -> None:
        self.clip(self.grads, 1e-6)
