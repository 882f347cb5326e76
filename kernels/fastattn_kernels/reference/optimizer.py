"""Optimizer steps, in place on lists of arrays: parameters, their gradients, and what the optimizer remembers of each.

The numbers that depend on the step (bias corrections) are worked out by the caller, so that a kernel is one pass. So is
``scale``: a gradient g is scale times what stands in ``grads``, which stays as it is.
"""

import numpy as np


def _scaled(grads, scale):
    return [g.dtype.type(scale) * g for g in grads]


def sgd_update(params, grads, scale, lr):
    """p -= lr g."""
    for p, g in zip(params, _scaled(grads, scale), strict=True):
        p -= p.dtype.type(lr) * g


def momentum_update(params, grads, velocities, scale, lr, momentum):
    """v = momentum v - lr g; p += v (Polyak 1964)."""
    for p, g, v in zip(params, _scaled(grads, scale), velocities, strict=True):
        v *= p.dtype.type(momentum)
        v -= p.dtype.type(lr) * g
        p += v


def nesterov_update(params, grads, velocities, scale, lr, momentum):
    """v = momentum v - lr g; p += momentum v - lr g (Bengio, Boulanger-Lewandowski and Pascanu 2013, equations 6 and 7)."""
    for p, g, v in zip(params, _scaled(grads, scale), velocities, strict=True):
        step = p.dtype.type(lr) * g
        v *= p.dtype.type(momentum)
        v -= step
        p += p.dtype.type(momentum) * v - step


def adagrad_update(params, grads, squares, scale, lr, eps):
    """s += g^2; p -= lr g / (sqrt(s) + eps) (Duchi, Hazan and Singer 2011)."""
    for p, g, s in zip(params, _scaled(grads, scale), squares, strict=True):
        s += g * g
        p -= p.dtype.type(lr) * g / (np.sqrt(s) + p.dtype.type(eps))


def rmsprop_update(params, grads, squares, scale, lr, decay_rate, eps):
    """s = decay_rate s + (1 - decay_rate) g^2; p -= lr g / (sqrt(s) + eps) (Tieleman and Hinton 2012)."""
    for p, g, s in zip(params, _scaled(grads, scale), squares, strict=True):
        s *= p.dtype.type(decay_rate)
        s += p.dtype.type(1 - decay_rate) * g * g
        p -= p.dtype.type(lr) * g / (np.sqrt(s) + p.dtype.type(eps))


def adam_update(params, grads, ms, vs, scale, step_size, beta1, beta2, root_scale, eps, decay):
    """Adam (Kingma and Ba 2015, algorithm 1), with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

    m += (1 - beta1) (g - m); v += (1 - beta2) (g^2 - v); p = (1 - decay) p - step_size m / (root_scale sqrt(v) + eps).

    At step k: step_size = lr / (1 - beta1^k), root_scale = 1 / sqrt(1 - beta2^k), decay = lr * weight_decay (0 for Adam).
    """
    for p, g, m, v in zip(params, _scaled(grads, scale), ms, vs, strict=True):
        number = p.dtype.type
        m += number(1 - beta1) * (g - m)
        v += number(1 - beta2) * (g * g - v)
        p *= number(1 - decay)
        p -= number(step_size) * m / (number(root_scale) * np.sqrt(v) + number(eps))
