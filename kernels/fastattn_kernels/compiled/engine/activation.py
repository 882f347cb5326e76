"""exp, tanh and sigmoid that vectorise, for float32; for float64 they are the mathematics library's.

A loop over float32 numbers that calls these becomes vector code: no branch, no call, no table.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from .vector import multiply_add, power_of_two

_f = np.float32

_LOG2_E = _f(1.44269504)
_LN2_HIGH, _LN2_LOW = _f(0.693359375), _f(-2.12194440e-4)  # their sum is ln 2; n * high is exact
_EXP_LOWEST, _EXP_HIGHEST = _f(-87.0), _f(88.0)
_HALF, _ONE = _f(0.5), _f(1)
# exp(r) - 1 - r over r^2 for |r| <= ln(2)/2: the polynomial of the Cephes library's expf.
_EXP_0, _EXP_1, _EXP_2 = _f(5.0000001201e-1), _f(1.6666665459e-1), _f(4.1665795894e-2)
_EXP_3, _EXP_4, _EXP_5 = _f(8.3334519073e-3), _f(1.3981999507e-3), _f(1.9875691500e-4)

# tanh(x) = x P(x^2) / Q(x^2) for |x| <= 7.9, beyond which it rounds to 1: the rational function of the Eigen library.
TANH_LIMIT = _f(7.90531110763549805)
P_1, P_3, P_5 = _f(4.89352455891786e-03), _f(6.37261928875436e-04), _f(1.48572235717979e-05)
P_7, P_9, P_11, P_13 = (
    _f(5.12229709037114e-08),
    _f(-8.60467152213735e-11),
    _f(2.00018790482477e-13),
    _f(-2.76076847742355e-16),
)
Q_0, Q_2, Q_4, Q_6 = (
    _f(4.89352518554385e-03),
    _f(2.26843463243900e-03),
    _f(1.18534705686654e-04),
    _f(1.19825839466702e-06),
)


def exp(x):
    """e^x. float32: within 2 units in the last place between -87 and 88, which bound the result beyond."""


def tanh(x):
    """The hyperbolic tangent. float32: within some units in the last place."""


def sigmoid(x):
    """1 / (1 + e^-x), as 0.5 (1 + tanh(x / 2)), which cannot overflow."""


@overload(exp, inline="always")
def _exp(x):
    if x != types.float32:
        return lambda x: math.exp(x)

    def float32_exp(x):
        x = min(max(x, _EXP_LOWEST), _EXP_HIGHEST)
        n = np.floor(multiply_add(x, _LOG2_E, _HALF))
        r = multiply_add(n, -_LN2_LOW, multiply_add(n, -_LN2_HIGH, x))
        p = multiply_add(_EXP_5, r, _EXP_4)
        p = multiply_add(p, r, _EXP_3)
        p = multiply_add(p, r, _EXP_2)
        p = multiply_add(p, r, _EXP_1)
        p = multiply_add(p, r, _EXP_0)
        return multiply_add(p, r * r, r + _ONE) * power_of_two(np.int32(n))

    return float32_exp


@overload(tanh, inline="always")
def _tanh(x):
    if x != types.float32:
        return lambda x: math.tanh(x)

    def float32_tanh(x):
        x = min(max(x, -TANH_LIMIT), TANH_LIMIT)
        s = x * x
        p = multiply_add(s, P_13, P_11)
        p = multiply_add(p, s, P_9)
        p = multiply_add(p, s, P_7)
        p = multiply_add(p, s, P_5)
        p = multiply_add(p, s, P_3)
        p = multiply_add(p, s, P_1)
        q = multiply_add(s, Q_6, Q_4)
        q = multiply_add(q, s, Q_2)
        q = multiply_add(q, s, Q_0)
        return x * p / q

    return float32_tanh


@overload(sigmoid, inline="always")
def _sigmoid(x):
    if x != types.float32:
        return lambda x: 0.5 * (1 + math.tanh(0.5 * x))
    return lambda x: multiply_add(_HALF, tanh(_HALF * x), _HALF)
