"""Rotary positions tell distances, not places."""

import torch

from glassformer.kernels.positions import rotary_angles
from glassformer.ops.rotary import rotary

# float64: sines and cosines of angles up to 60 radians, then two products
ROUNDING = 1e-12


def test_a_turned_dot_product_depends_on_the_distance_only():
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=generator, dtype=torch.float64).unbind(0)
    angles = rotary_angles(64, 8, 8, 100.0)

    def rotated(x, pos):
        at = angles[pos : pos + 1]
        return rotary.kernel(x, at.cos(), at.sin(), 8)

    close = (rotated(q, 7) * rotated(k, 4)).sum()
    far = (rotated(q, 60) * rotated(k, 57)).sum()
    assert abs(close - far) < ROUNDING
    assert abs(close - (rotated(q, 7) * rotated(k, 5)).sum()) > 1e-3


def test_turning_keeps_the_length():
    x = torch.randn(2, 5, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    angles = rotary_angles(5, 8, 8, 100.0)
    gap = rotary.kernel(x, angles.cos(), angles.sin(), 8).norm(dim=-1) - x.norm(dim=-1)
    assert gap.abs().max() < ROUNDING
