"""The models in JAX: the whole step in one jit, its state donated.

What was tried and was no faster on the named shapes: unrolled scans, attention with time before batch, a one-hot product
for the loss. A backward of the LSTM written by hand (custom_vjp, the gradient of Wh as one product over all steps) takes
5 to 12 % less than the automatic one, but then it is our mathematics and no longer JAX's.

Both directions: a scan for each is as fast as one scan of both with two products in it, and faster than one of stacked
weights or with the products of x in one. Input feeding: to compute the tanh of the scores again for the backward, and keep
the products alone, takes less than half the time on long; other policies, unrolled steps, and v as a sum instead of a product
gain nothing. What changes the order of the products that the model's definition has is left alone: W of "general" on the
decoder's side is worth nothing that could be measured on date; the context's part of Wc on the encoder's states beforehand
takes 15 to 20 % less on long, and 7 % more on date.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks.models import Model
from benchmarks.shapes import BETA1, BETA2, EPS, LR, MAX_NORM, make_batch

from .peer import Outcome, Peer, Task

Params = dict[str, Array]  # by the names of AttentionSeq2seq's
State = tuple[Params, Params, Params, Array]  # params, Adam's m and v, the number of the step


def _cell(z: Array, c: Array) -> tuple[Array, Array]:
    """z (N, 4H), c (N, H) -> h, c (N, H)."""
    f, g, i, o = jnp.split(z, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jnp.tanh(g) * jax.nn.sigmoid(i)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _lstm(params: Params, name: str, xs: Array, h: Array, c: Array, reverse: bool = False) -> tuple[Array, Array, Array]:
    """xs (T, N, D), h, c (N, H) -> hs (T, N, H), the last h and c (N, H)."""
    Wx, Wh, b = (params[f"{name}.{own}"] for own in ("Wx", "Wh", "b"))

    def step(state: tuple[Array, Array], z: Array) -> tuple[tuple[Array, Array], Array]:
        h, c = _cell(z + state[0] @ Wh, state[1])
        return (h, c), h

    (h, c), hs = jax.lax.scan(step, (h, c), xs @ Wx + b, reverse=reverse)
    return hs, h, c


def _encode(params: Params, x: Array, model: Model) -> tuple[Array, list[tuple[Array, Array]]]:
    """x (N, T1) -> hs_enc (T1, N, E); h and c of each layer, (N, E)."""
    xs = params["encoder.embedding.W"][x.T]
    directions = {"forward": False, "backward": True} if model.bidirectional else {"forward": False}
    states = []
    for layer in range(model.encoder_layers):
        start = jnp.zeros((len(x), len(params["encoder.lstm.0.forward.Wh"])), xs.dtype)
        lstms = (
            _lstm(params, f"encoder.lstm.{layer}.{name}", xs, start, start, reverse) for name, reverse in directions.items()
        )
        hs, h, c = (jnp.concatenate(parts, axis=-1) for parts in zip(*lstms))
        xs = hs + xs if model.residual and layer else hs
        states.append((h, c))
    return xs, states


def _bridge(params: Params, states: list[tuple[Array, Array]], model: Model) -> list[tuple[Array, Array]]:
    """The first h and c of each of the decoder's layers, (N, H)."""
    if model.bridge == "last":
        return [(h, jnp.zeros_like(h)) for h, _ in states]

    def affine(part: Array, name: str) -> Array:
        return jnp.tanh(part @ params[f"decoder.bridge.{name}.W"] + params[f"decoder.bridge.{name}.b"])

    return [(affine(h, f"{layer}.h"), affine(c, f"{layer}.c")) for layer, (h, c) in enumerate(states)]


def _decode(params: Params, ys: Array, hs_enc: Array, states: list[tuple[Array, Array]], model: Model) -> Array:
    """ys (T2 - 1, N, D), hs_enc (T1, N, E), first states -> what the scores are made from, (N, T2 - 1, E + H)."""
    for layer, (h, c) in enumerate(states):
        hs, _, _ = _lstm(params, f"decoder.lstm.{layer}.forward", ys, h, c)
        ys = hs + ys if model.residual and layer else hs
    hs_enc, hs = hs_enc.transpose(1, 0, 2), ys.transpose(1, 0, 2)  # (N, T1, E), (N, T2 - 1, H)
    keys = hs_enc @ params["decoder.attention.W"] if model.attention == "general" else hs_enc
    weights = jax.nn.softmax(hs @ keys.transpose(0, 2, 1), axis=-1)  # (N, T2 - 1, T1)
    return jnp.concatenate((weights @ hs_enc, hs), axis=-1)


def _decode_feeding(params: Params, ys: Array, hs_enc: Array, states: list[tuple[Array, Array]], model: Model) -> Array:
    """As `_decode`, of one layer with input feeding and additive attention -> h~ (N, T2 - 1, H). All steps are one scan."""
    if model.decoder_layers != 1 or model.attention != "additive":
        raise NotImplementedError("this decoder has one layer and additive attention")
    Wx, Wh, b = (params[f"decoder.lstm.0.forward.{own}"] for own in ("Wx", "Wh", "b"))
    W_query, v, Wc = (params[f"decoder.{own}"] for own in ("attention.W_query", "attention.v", "attentional.W"))
    D = ys.shape[-1]
    recurrent = jnp.concatenate((Wx[D:], Wh))  # (2H, 4H)
    hs_enc = hs_enc.transpose(1, 0, 2)  # (N, T1, E)
    keys = hs_enc @ params["decoder.attention.W"]  # (N, T1, H)

    # Nothing of a step stays for the backward but its products: the tanh of (N, T1, H) is quicker computed than fetched.
    @partial(jax.checkpoint, policy=jax.checkpoint_policies.dots_saveable, prevent_cse=False)
    def step(state: tuple[Array, Array, Array], z: Array) -> tuple[tuple[Array, Array, Array], Array]:
        out, h, c = state
        h, c = _cell(z + jnp.concatenate((out, h), axis=-1) @ recurrent, c)
        weights = jax.nn.softmax(jnp.tanh(keys + (h @ W_query)[:, None]) @ v, axis=-1)  # (N, T1)
        context = (weights[:, None] @ hs_enc)[:, 0]  # (N, E)
        out = jnp.tanh(jnp.concatenate((context, h), axis=-1) @ Wc)
        return (out, h, c), out

    ((h, c),) = states
    _, outs = jax.lax.scan(step, (jnp.zeros_like(h), h, c), ys @ Wx[:D] + b)
    return outs.transpose(1, 0, 2)


def _loss(params: Params, x: Array, t: Array, model: Model) -> Array:
    """x (N, T1), t (N, T2) -> the mean loss of a target token."""
    hs_enc, states = _encode(params, x, model)
    ys, states = params["decoder.embedding.W"][t[:, :-1].T], _bridge(params, states, model)
    decode = _decode_feeding if model.input_feeding else _decode
    outs = decode(params, ys, hs_enc, states, model)
    scores = outs @ params["decoder.affine.W"] + params["decoder.affine.b"]  # (N, T2 - 1, V)
    of_target = jnp.take_along_axis(scores, t[:, 1:, None], axis=-1)[:, :, 0]
    return (jax.nn.logsumexp(scores, axis=-1) - of_target).mean()


@partial(jax.jit, static_argnames="model", donate_argnums=0)
def _step(state: State, x: Array, t: Array, model: Model) -> tuple[State, Array, Array]:
    """One training step -> the new state, the loss, the gradient norm."""
    params, ms, vs, k = state
    loss, grads = jax.value_and_grad(_loss)(params, x, t, model)
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in grads.values()))
    factor = jnp.minimum(1, MAX_NORM / norm)
    k += 1
    step_size, root_scale = LR / (1 - BETA1**k), 1 / jnp.sqrt(1 - BETA2**k)
    grads = {name: factor * g for name, g in grads.items()}
    ms = {name: BETA1 * m + (1 - BETA1) * grads[name] for name, m in ms.items()}
    vs = {name: BETA2 * v + (1 - BETA2) * grads[name] * grads[name] for name, v in vs.items()}
    params = {name: p - step_size * ms[name] / (root_scale * jnp.sqrt(vs[name]) + EPS) for name, p in params.items()}
    return (params, ms, vs, k), loss, norm


class Jit(Peer):
    """Everything in one compiled function."""

    def __init__(self, task: Task) -> None:
        with task.named_weights() as weights:
            params = {name: jnp.array(weight) for name, weight in weights.items()}
        ms, vs = ({name: jnp.zeros_like(param) for name, param in params.items()} for _ in range(2))
        self.state: State = (params, ms, vs, jnp.zeros(()))
        self.x, self.t = (jnp.array(ids, jnp.int32) for ids in make_batch(task.shape))
        self.model = task.model

    def train(self, steps: int) -> Outcome:
        for _ in range(steps):
            self.state, loss, norm = _step(self.state, self.x, self.t, self.model)
        jax.block_until_ready(self.state)
        return lambda: [float(loss), float(norm)]
