"""The layers over time: fastattn's own, under their names here."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastattn import layers
from fastattn.layers import checks
from fastattn.layers.checks import Array


class TimeEmbedding(layers.Embedding):
    """A row of W (V, D) for each token id: (N, T) -> (N, T, D)."""


class TimeAffine(layers.Affine):
    """x W + b at every position: (N, T, K) -> (N, T, V), with W (K, V) and b (V,).

    W may be the transpose of another layer's weights, as in ``TimeAffine(embed_W.T, b)``. Then it stays that array: what
    changes the one changes the other, and `remove_duplicate` merges their gradients.
    """

    def __init__(self, W: ArrayLike, b: ArrayLike) -> None:
        super().__init__(W, b)
        if isinstance(W, np.ndarray) and W.T.flags.carray:
            self.params[0] = W

    def weights(self) -> list[Array]:
        """``params``, for a kernel, which wants them in the order of C: a transpose is copied as it is now."""
        return self._checked([np.ascontiguousarray(p) for p in self.params])


class TimeDropout(layers.Dropout):
    """While ``train_flg`` is True, zeroes each number with probability ``dropout_ratio``, and scales up the others.

    The masks follow ``np.random.seed``, as the initial weights do.
    """

    def __init__(self, dropout_ratio: float = 0.5) -> None:
        bits = np.random.get_bit_generator()  # type: ignore[attr-defined] # NumPy's types leave it out
        super().__init__(dropout_ratio, seed=np.random.Generator(bits))

    @property
    def dropout_ratio(self) -> float:
        """The probability, from 0 to less than 1."""
        return self.ratio

    @property
    def train_flg(self) -> bool:
        """Whether to drop."""
        return self.training

    @train_flg.setter
    def train_flg(self, train_flg: bool) -> None:
        self.training = train_flg


class TimeLSTM(layers.LSTM):
    """LSTM over a whole sequence, with the gates in the order f, g, i, o along 4H: (N, T, D) -> (N, T, H).

    Wx (D, 4H), Wh (H, 4H), b (4H,). After ``backward``, ``dh`` (N, H) holds the gradient of the state that it started
    from.
    """


class TimeBiLSTM:
    """Two LSTMs, one of which reads the sequence from its end: (N, T, D) -> (N, T, 2H), the forward one's states first."""

    def __init__(
        self,
        Wx1: ArrayLike,
        Wh1: ArrayLike,
        b1: ArrayLike,
        Wx2: ArrayLike,
        Wh2: ArrayLike,
        b2: ArrayLike,
        stateful: bool = False,
    ) -> None:
        self.forward_lstm = TimeLSTM(Wx1, Wh1, b1, stateful)
        self.backward_lstm = TimeLSTM(Wx2, Wh2, b2, stateful)
        self.params = self.forward_lstm.params + self.backward_lstm.params
        self.grads = self.forward_lstm.grads + self.backward_lstm.grads

    def forward(self, xs: ArrayLike) -> Array:
        """xs (N, T, D) -> hs (N, T, 2H)."""
        xs = np.asarray(xs)
        if xs.ndim != 3:
            raise ValueError(f"xs has shape {xs.shape}; expected (N, T, D)")
        reversed_hs = self.backward_lstm.forward(xs[:, ::-1])
        return np.concatenate((self.forward_lstm.forward(xs), reversed_hs[:, ::-1]), axis=2)

    def backward(self, dhs: ArrayLike) -> Array:
        """dhs (N, T, 2H) -> dxs (N, T, D). Once for each forward."""
        _, Wh, _ = self.forward_lstm.params
        H1, H2 = len(Wh), len(self.backward_lstm.params[1])
        dhs = checks.floats("dhs", dhs, ("N", "T", H1 + H2), Wh.dtype)
        reversed_dxs = self.backward_lstm.backward(dhs[:, ::-1, H1:])
        return self.forward_lstm.backward(dhs[:, :, :H1]) + reversed_dxs[:, ::-1]


class TimeSoftmaxWithLoss(layers.SoftmaxCrossEntropy):
    """Softmax and cross entropy: the mean loss of the labels that are not ``ignore_label``, 0 if there are none."""

    def __init__(self) -> None:
        super().__init__(ignore_label=-1)

    def forward(self, xs: ArrayLike, ts: ArrayLike, *, lengths: ArrayLike | None = None) -> float:
        """xs (N, T, V), the scores; ts (N, T), integers from 0 to V - 1 or ``ignore_label``, or one-hot (N, T, V)."""
        ts = np.asarray(ts)
        if ts.ndim == 3:
            if ts.shape != np.shape(xs):
                raise ValueError(f"ts has shape {ts.shape}; expected (N, T), or {np.shape(xs)}, the shape of xs")
            ts = ts.argmax(axis=2)
        return super().forward(xs, ts, lengths=lengths)

    def backward(self, dout: float = 1) -> Array:
        """dout, the gradient of the loss -> dxs (N, T, V)."""
        return super().backward(dout)
