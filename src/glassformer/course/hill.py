"""One weight on its hill: the smallest network, and gradient descent with three strides."""

from __future__ import annotations

X, Y, START = 2.0, 1.0, 2.0  # one example for one weight: from 2 make 1; the weight begins at 2
RATES = {"too low": 0.005, "right": 0.1, "too high": 0.3}
STEPS = 8


def slope(w: float) -> float:
    """The derivative of (w x - y)^2."""
    return 2 * (w * X - Y) * X


def error(w: float) -> float:
    return (w * X - Y) ** 2


def descent(lr: float) -> list[float]:
    """A weight on its way: START, and after each of STEPS steps."""
    path = [START]
    for _ in range(STEPS):
        path.append(path[-1] - lr * slope(path[-1]))
    return path
