"""The model in JAX: the whole step in one jit, its state donated.

What was tried and was no faster on the named shapes: unrolled scans, attention with time before batch, a one-hot product
for the loss. A backward of the LSTM written by hand (custom_vjp, the gradient of Wh as one product over all steps) takes
5 to 12 % less than the automatic one, but then it is our mathematics and no longer JAX's.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks.shapes import BETA1, BETA2, EPS, LR, MAX_NORM, make_batch

from .peer import Outcome, Peer, Task

Params = list[Array]  # in the order of AttentionSeq2seq's
State = tuple[Params, Params, Params, Array]  # params, Adam's m and v, the number of the step


def _lstm(xs: Array, h: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, Array]:
    """xs (T, N, D), h (N, H) -> hs (T, N, H), the last h (N, H)."""

    def step(state: tuple[Array, Array], z: Array) -> tuple[tuple[Array, Array], Array]:
        h, c = state
        f, g, i, o = jnp.split(z + h @ Wh, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jnp.tanh(g) * jax.nn.sigmoid(i)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    (h, _), hs = jax.lax.scan(step, (h, jnp.zeros_like(h)), xs @ Wx + b)
    return hs, h


def _loss(params: Params, x: Array, t: Array) -> Array:
    """x (N, T1), t (N, T2) -> the mean loss of a target token."""
    source, target, (W, b) = params[:4], params[4:8], params[8:]
    start = jnp.zeros((len(x), len(source[2])), W.dtype)
    hs_enc, h = _lstm(source[0][x.T], start, *source[1:])
    hs, _ = _lstm(target[0][t[:, :-1].T], h, *target[1:])
    hs_enc, hs = hs_enc.transpose(1, 0, 2), hs.transpose(1, 0, 2)  # (N, T1, H), (N, T2 - 1, H)
    weights = jax.nn.softmax(hs @ hs_enc.transpose(0, 2, 1), axis=-1)  # (N, T2 - 1, T1)
    scores = jnp.concatenate((weights @ hs_enc, hs), axis=-1) @ W + b  # (N, T2 - 1, V)
    of_target = jnp.take_along_axis(scores, t[:, 1:, None], axis=-1)[:, :, 0]
    return (jax.nn.logsumexp(scores, axis=-1) - of_target).mean()


@partial(jax.jit, donate_argnums=0)
def _step(state: State, x: Array, t: Array) -> tuple[State, Array, Array]:
    """One training step -> the new state, the loss, the gradient norm."""
    params, ms, vs, k = state
    loss, grads = jax.value_and_grad(_loss)(params, x, t)
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in grads))
    factor = jnp.minimum(1, MAX_NORM / norm)
    k += 1
    step_size, root_scale = LR / (1 - BETA1**k), 1 / jnp.sqrt(1 - BETA2**k)
    grads = [factor * g for g in grads]
    ms = [BETA1 * m + (1 - BETA1) * g for m, g in zip(ms, grads)]
    vs = [BETA2 * v + (1 - BETA2) * g * g for v, g in zip(vs, grads)]
    params = [p - step_size * m / (root_scale * jnp.sqrt(v) + EPS) for p, m, v in zip(params, ms, vs)]
    return (params, ms, vs, k), loss, norm


class Jit(Peer):
    """Everything in one compiled function."""

    def __init__(self, task: Task) -> None:
        params = [jnp.array(weight) for weight in task.weights()]
        ms, vs = ([jnp.zeros_like(param) for param in params] for _ in range(2))
        self.state: State = (params, ms, vs, jnp.zeros(()))
        self.x, self.t = (jnp.array(ids, jnp.int32) for ids in make_batch(task.shape))

    def train(self, steps: int) -> Outcome:
        for _ in range(steps):
            self.state, loss, norm = _step(self.state, self.x, self.t)
        jax.block_until_ready(self.state)
        return lambda: [float(loss), float(norm)]
