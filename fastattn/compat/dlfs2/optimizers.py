"""Optimizers with the defaults that the book has, and what it does to gradients before they are used."""

from __future__ import annotations

from collections.abc import Sequence

from fastattn import training
from fastattn.layers.checks import Array
from fastattn.training import SGD, AdaGrad, Momentum, Nesterov, RMSprop

__all__ = ["SGD", "AdaGrad", "Adam", "Momentum", "Nesterov", "RMSprop", "clip_grads", "remove_duplicate"]

EPS = 1e-7  # added to the root in Adam
NORM_EPS = 1e-6  # added to the norm in clipping


class Adam(training.Adam):
    """p -= lr sqrt(1 - beta2^k) / (1 - beta1^k) m / (sqrt(v) + 1e-7) (Kingma and Ba 2015, the end of section 2)."""

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> None:
        super().__init__(lr, beta1, beta2, EPS, eps_hat=True)


def clip_grads(grads: Sequence[Array], max_norm: float) -> float:
    """Scales the gradients in place by max_norm / (norm + 1e-6) where that is less than 1; returns the norm before that."""
    return training.clip_grads(grads, max_norm, eps=NORM_EPS)


def remove_duplicate(params: Sequence[Array], grads: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """Every weight once, with the sum of its gradients, which is put into one of them in place.

    Two arrays are one weight if they are the same memory, or the transpose of the same memory: of a pair of transposes the
    one in the order of C stays. Equal numbers in two arrays are two weights.
    """
    kept_params: list[Array] = []
    kept_grads: list[Array] = []
    place: dict[object, int] = {}  # where in the lists a piece of memory stands
    added: set[int] = set()  # the gradients, by identity: a layer may stand in the lists twice
    for p, g in zip(params, grads, strict=True):
        i = place.get(_memory(p), place.get(_memory(p.T), len(kept_params)) if p.ndim == 2 else len(kept_params))
        place[_memory(p)] = i
        if i == len(kept_params):
            kept_params.append(p)
            kept_grads.append(g)
        elif id(g) in added:
            continue
        elif kept_params[i].strides == p.strides:
            kept_grads[i] += g
        elif p.flags.c_contiguous and not kept_params[i].flags.c_contiguous:
            g += kept_grads[i].T
            kept_params[i], kept_grads[i] = p, g
        else:
            kept_grads[i] += g.T
        added.add(id(g))
    return kept_params, kept_grads


def _memory(array: Array) -> object:
    """What two arrays have in common only if they are the same numbers in the same places."""
    return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype
