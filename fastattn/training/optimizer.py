"""Optimizers: each changes the parameters in place by their gradients, ``update(params, grads)``.

``params`` and ``grads`` are the lists that a layer or a model has: arrays of one dtype, float32 or float64, a
gradient of the shape of its parameter. The step itself is a kernel; what depends on the number of the step is worked
out here.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastattn import backend
from fastattn.layers.checks import FLOATS

from .state import State, StateError

Arrays = Sequence[np.ndarray]


def checked_number(name: str, value: float, low: float, high: float = math.inf, *, low_is_allowed: bool = True) -> float:
    """``value`` where it lies in [low, high), or in (low, high) when low is not allowed; ValueError elsewhere."""
    numeric = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not (numeric and (low <= value if low_is_allowed else low < value) and value < high):
        limits = f"{'at least' if low_is_allowed else 'more than'} {low:g}"
        limits += f" and less than {high:g}" if high < math.inf else " and finite"
        raise ValueError(f"{name} is {value!r}; expected a number {limits}")
    return float(value)


def _check_arrays(name: str, arrays: Arrays) -> None:
    """TypeError or ValueError unless the list holds what the kernels take."""
    for i, array in enumerate(arrays):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name}[{i}] is a {type(array).__name__}; expected a NumPy array")
        if array.dtype not in FLOATS or array.dtype != arrays[0].dtype:
            raise TypeError(f"{name}[{i}] is of {array.dtype}; expected float32 or float64, one for the whole list")
        if not array.flags.carray:
            raise ValueError(f"{name}[{i}] is not C-contiguous, aligned and writeable")


def _shapes(arrays: Arrays) -> str:
    """The shapes and the dtype of a list of arrays, to compare and to print."""
    return ", ".join(str(array.shape) for array in arrays) + (f" of {arrays[0].dtype}" if arrays else "none")


def _same(arrays: Arrays, others: Arrays) -> bool:
    """Whether two lists hold the same arrays, one by one: the objects, not the numbers."""
    return len(arrays) == len(others) and all(map(operator.is_, arrays, others))


class Optimizer:
    """What the optimizers have in common: the learning rate ``lr``, and one or more state arrays for each parameter.

    The state begins as zeros at the first update; from then on the list of parameters must keep its length, shapes and
    dtype. ``lr`` may be changed between updates.
    """

    _states_per_param = 0

    def __init__(self, lr: float):
        self.lr = checked_number("lr", lr, 0)
        self._states: list[list[np.ndarray]] | None = None
        self._checked: tuple[Arrays, Arrays] = [], []

    def __getstate__(self) -> dict[str, object]:
        """For copies and pickles, which have other arrays."""
        return {**self.__dict__, "_checked": ([], [])}

    def update(self, params: Arrays, grads: Arrays, *, max_norm: float | None = None) -> float | None:
        """One step: changes ``params[i][...]`` in place.

        With ``max_norm`` the step is that of gradients which :func:`clip_grads` has clipped, and their norm is returned, but
        ``grads`` stay as they are, which saves a pass over them. No step is made if the norm is NaN or infinite.

        ValueError when the two lists differ in length or shapes, or from those of the first update; TypeError when
        they hold anything but arrays of float32 or float64, one dtype in a list.
        """
        # The same arrays again need no second look.
        if not (_same(params, self._checked[0]) and _same(grads, self._checked[1])) or self._states is None:
            self._check(params, grads)
            self._checked = [*params], [*grads]
        assert self._states is not None
        norm, scale = (None, 1.0) if max_norm is None else _norm_and_scale(grads, max_norm)
        if params and (norm is None or math.isfinite(norm)):  # a layer without weights has no params
            self._step(params, grads, scale, *self._states)
        return norm

    def state(self) -> State:
        """To go on from: the learning rate, all other numbers, and the state arrays."""
        numbers = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        arrays = [array for states in self._states or [] for array in states]
        return State({"kind": type(self).__name__, "numbers": numbers}).with_parts(states=State.of_list(arrays))

    def put(self, state: State, params: Arrays) -> None:
        """Goes on from a state. ValueError unless it is that of such an optimizer, of such ``params``."""
        own = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        kind, numbers = state.number("kind", str), state.number("numbers", dict)
        types = {name: type(value) for name, value in numbers.items()}
        if kind != type(self).__name__ or types != {name: type(value) for name, value in own.items()}:
            raise StateError(f"the state is that of {kind} with {', '.join(types)}; the optimizer is {type(self).__name__}")
        self._check_numbers(numbers)
        states = state.part("states")
        assert states is not None
        if states.arrays or not params:
            arrays = states.as_list([*params] * self._states_per_param)
            self._states = [arrays[i * len(params) : (i + 1) * len(params)] for i in range(self._states_per_param)]
        else:
            self._states = None  # before the first update, or without any
        self._checked = [], []
        for name, value in numbers.items():
            setattr(self, name, value)

    def _check_numbers(self, numbers: dict[str, Any]) -> None:
        """StateError for a number of a state that the optimizer could not have."""
        for name, value in numbers.items():
            if isinstance(value, int | float) and not 0 <= value < (2**63 if isinstance(value, int) else math.inf):
                raise StateError(f"the {name} of the optimizer is {value!r:.50}; expected at least 0, and finite")
        known = inspect.signature(type(self)).parameters
        try:
            type(self)(**{name: value for name, value in numbers.items() if name in known})
        except ValueError as error:
            raise StateError(f"the state of the optimizer: {error}") from error

    def _check(self, params: Arrays, grads: Arrays) -> None:
        """The errors of ``update``; and the state, at the first one."""
        _check_arrays("params", params)
        _check_arrays("grads", grads)
        shapes = _shapes(params)
        if _shapes(grads) != shapes:
            raise ValueError(f"grads are {_shapes(grads)}; expected the shapes and dtype of the params, {shapes}")
        if self._states is None:
            self._states = [[np.zeros_like(p) for p in params] for _ in range(self._states_per_param)]
        for state in self._states:
            if _shapes(state) != shapes:
                raise ValueError(f"params are {shapes}; expected those of the first update, {_shapes(state)}")

    def _step(self, params: Arrays, grads: Arrays, scale: float, *states: Arrays) -> None:
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent: p -= lr g."""

    def __init__(self, lr: float = 0.01):
        super().__init__(lr)

    def _step(self, params: Arrays, grads: Arrays, scale: float, *states: Arrays) -> None:
        backend.kernels().sgd_update(params, grads, scale, self.lr)


class Momentum(Optimizer):
    """SGD with momentum (Polyak 1964): v = momentum v - lr g; p += v."""

    _states_per_param = 1

    def __init__(self, lr: float = 0.01, momentum: float = 0.9):
        super().__init__(lr)
        self.momentum = checked_number("momentum", momentum, 0, 1)

    def _step(self, params: Arrays, grads: Arrays, scale: float, *states: Arrays) -> None:
        backend.kernels().momentum_update(params, grads, *states, scale, self.lr, self.momentum)


class Nesterov(Momentum):
    """Nesterov's momentum (Bengio, Boulanger-Lewandowski and Pascanu 2013, "Advances in optimizing recurrent networks",
    equations 6 and 7): v = momentum v - lr g; p += momentum v - lr g."""

    def _step(self, params: Arrays, grads: Arrays, scale: float, *states: Arrays) -> None:
        backend.kernels().nesterov_update(params, grads, *states, scale, self.lr, self.momentum)


class AdaGrad(Optimizer):
    """AdaGrad (Duchi, Hazan and Singer 2011): s += g^2; p -= lr g / (sqrt(s) + eps)."""

    _states_per_param = 1

    def __init__(self, lr: float = 0.01, eps: float = 1e-7):
        super().__init__(lr)
        self.eps = checked_number("eps", eps, 0, low_is_allowed=False)

    def _step(self, params: Arrays, grads: Arrays, scale: float, *states: Arrays) -> None:
        backend.kernels().adagrad_update(params, grads, *states, scale, self.lr, self.eps)


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012): s = decay_rate s + (1 - decay_rate) g^2; p -= lr g / (sqrt(s) + eps)."""

    _states_per_param = 1

    def __init__(self, lr: float = 0.01, decay_rate: float = 0.99, eps: float = 1e-7):
        super().__init__(lr)
        self.decay_rate = checked_number("decay_rate", decay_rate, 0, 1)
        self.eps = checked_number("eps", eps, 0, low_is_allowed=False)

    def _step(self, params: Arrays, grads: Arrays, scale: float, *states: Arrays) -> None:
        backend.kernels().rmsprop_update(params, grads, *states, scale, self.lr, self.decay_rate, self.eps)


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1).

    m and v are running means of g and of g^2, divided by 1 - beta^k at step k because they began at zero:
    p -= lr m' / (sqrt(v') + eps). With ``eps_hat`` the root is that of v, not of v', before ``eps`` is added: the form at
    the end of the paper's section 2, p -= lr sqrt(1 - beta2^k) / (1 - beta1^k) m / (sqrt(v) + eps).
    """

    _states_per_param = 2

    def __init__(
        self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, *, eps_hat: bool = False
    ):
        super().__init__(lr)
        self.beta1 = checked_number("beta1", beta1, 0, 1)
        self.beta2 = checked_number("beta2", beta2, 0, 1)
        self.eps = checked_number("eps", eps, 0, low_is_allowed=False)
        self.eps_hat = eps_hat
        self.weight_decay = 0.0
        self.steps = 0

    def _step(self, params: Arrays, grads: Arrays, scale: float, *states: Arrays) -> None:
        self.steps += 1
        step_size = self.lr / (1 - self.beta1**self.steps)
        root_scale = 1 / math.sqrt(1 - self.beta2**self.steps)
        eps = root_scale * self.eps if self.eps_hat else self.eps  # the kernel's fraction is then expanded by root_scale
        decay = self.lr * self.weight_decay
        backend.kernels().adam_update(params, grads, *states, scale, step_size, self.beta1, self.beta2, root_scale, eps, decay)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2): p -= lr weight_decay p as well."""

    def __init__(
        self,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(lr, beta1, beta2, eps)
        self.weight_decay = checked_number("weight_decay", weight_decay, 0)


def clip_grads(grads: Arrays, max_norm: float, *, eps: float = 0.0) -> float:
    """Scales the gradients in place so that their global norm is at most ``max_norm``; returns the norm before that.

    The global norm is the square root of the sum of all squares of all arrays. The factor is exactly max_norm / norm:
    it is used only where norm > max_norm > 0, so that nothing need be added to the divisor, and no small ``max_norm``
    is missed. ``eps`` is added to the norm, for the same numbers as a program has that does so. A norm that is NaN or
    infinite is returned, and the gradients are left as they are: the caller sees what happened. ValueError when
    ``max_norm`` is not a positive number, TypeError when ``grads`` are not arrays of float32 or float64.
    """
    eps = checked_number("eps", eps, 0)
    _check_arrays("grads", grads)
    norm, scale = _norm_and_scale(grads, max_norm, eps)
    if scale != 1:
        backend.kernels().scale(grads, scale)
    return norm


def global_norm(grads: Arrays) -> float:
    """The square root of the sum of all squares of all arrays."""
    return math.sqrt(backend.kernels().squared_norm(grads)) if grads else 0.0


def _norm_and_scale(grads: Arrays, max_norm: float, eps: float = 0.0) -> tuple[float, float]:
    """The global norm, and what :func:`clip_grads` multiplies the gradients by."""
    max_norm = checked_number("max_norm", max_norm, 0, low_is_allowed=False)
    norm = global_norm(grads)
    return norm, max_norm / (norm + eps) if max_norm < norm + eps < math.inf else 1.0
