"""Optimizer steps, in place on lists of arrays: one launch for all; the formulas stand in ``reference/optimizer.py``."""

import math

import numpy as np
from numba import carray

from .engine.compiling import kernel
from .engine.jit import shared
from .engine.lists import block_range, line
from .engine.vector import pointer_to


@kernel
def _block(arrays, row, table, i, like):
    """Block i of the arrays of one list."""
    index, start, end = table[i]
    return carray(pointer_to(arrays[row, index], like), end)[start:end]


@shared
def _sgd(share, shares, arrays, table, numbers):
    first, last = block_range(share, shares, table)
    scale, lr = numbers
    for i in range(first, last):
        p, g = _block(arrays, 0, table, i, numbers), _block(arrays, 1, table, i, numbers)
        for j in range(p.size):
            p[j] -= lr * (scale * g[j])


@shared
def _momentum(share, shares, arrays, table, numbers):
    first, last = block_range(share, shares, table)
    scale, lr, momentum = numbers
    for i in range(first, last):
        p, g = _block(arrays, 0, table, i, numbers), _block(arrays, 1, table, i, numbers)
        v = _block(arrays, 2, table, i, numbers)
        for j in range(p.size):
            v[j] = momentum * v[j] - lr * (scale * g[j])
            p[j] += v[j]


@shared
def _nesterov(share, shares, arrays, table, numbers):
    first, last = block_range(share, shares, table)
    scale, lr, momentum = numbers
    for i in range(first, last):
        p, g = _block(arrays, 0, table, i, numbers), _block(arrays, 1, table, i, numbers)
        v = _block(arrays, 2, table, i, numbers)
        for j in range(p.size):
            step = lr * (scale * g[j])
            v[j] = momentum * v[j] - step
            p[j] += momentum * v[j] - step


@shared
def _adagrad(share, shares, arrays, table, numbers):
    first, last = block_range(share, shares, table)
    scale, lr, eps = numbers
    for i in range(first, last):
        p, g = _block(arrays, 0, table, i, numbers), _block(arrays, 1, table, i, numbers)
        s = _block(arrays, 2, table, i, numbers)
        for j in range(p.size):
            scaled = scale * g[j]
            s[j] += scaled * scaled
            p[j] -= lr * scaled / (math.sqrt(s[j]) + eps)


@shared
def _rmsprop(share, shares, arrays, table, numbers):
    first, last = block_range(share, shares, table)
    scale, lr, decay_rate, rest, eps = numbers
    for i in range(first, last):
        p, g = _block(arrays, 0, table, i, numbers), _block(arrays, 1, table, i, numbers)
        s = _block(arrays, 2, table, i, numbers)
        for j in range(p.size):
            scaled = scale * g[j]
            s[j] = decay_rate * s[j] + rest * scaled * scaled
            p[j] -= lr * scaled / (math.sqrt(s[j]) + eps)


@shared
def _adam(share, shares, arrays, table, numbers):
    first, last = block_range(share, shares, table)
    scale, step_size, rest1, rest2, root_scale, eps, keep = numbers
    for i in range(first, last):
        p, g = _block(arrays, 0, table, i, numbers), _block(arrays, 1, table, i, numbers)
        m, v = _block(arrays, 2, table, i, numbers), _block(arrays, 3, table, i, numbers)
        for j in range(p.size):
            scaled = scale * g[j]
            m[j] += rest1 * (scaled - m[j])
            v[j] += rest2 * (scaled * scaled - v[j])
            p[j] = keep * p[j] - step_size * m[j] / (root_scale * math.sqrt(v[j]) + eps)


def _update(function, lists, *numbers):
    """Run an update over lists of arrays: parameters, gradients, what the optimizer remembers; then its numbers."""
    addresses, table, size = line(*lists)
    function(addresses, table, np.array(numbers, lists[0][0].dtype), work=10 * size)


def sgd_update(params, grads, scale, lr):
    _update(_sgd, (params, grads), scale, lr)


def momentum_update(params, grads, velocities, scale, lr, momentum):
    _update(_momentum, (params, grads, velocities), scale, lr, momentum)


def nesterov_update(params, grads, velocities, scale, lr, momentum):
    _update(_nesterov, (params, grads, velocities), scale, lr, momentum)


def adagrad_update(params, grads, squares, scale, lr, eps):
    _update(_adagrad, (params, grads, squares), scale, lr, eps)


def rmsprop_update(params, grads, squares, scale, lr, decay_rate, eps):
    _update(_rmsprop, (params, grads, squares), scale, lr, decay_rate, 1 - decay_rate, eps)


def adam_update(params, grads, ms, vs, scale, step_size, beta1, beta2, root_scale, eps, decay):
    _update(_adam, (params, grads, ms, vs), scale, step_size, 1 - beta1, 1 - beta2, root_scale, eps, 1 - decay)
