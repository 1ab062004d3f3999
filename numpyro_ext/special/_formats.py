"""The constants that depend on the floating-point format, float32 or float64."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np

from . import _tables as tables

Row = tuple[float, ...]
Table = tuple[Row, ...]
# 40 digits of log 2, to be split into parts of few bits.
LOG2 = Fraction(6931471805599453094172321214581765680755, 10**40)


@dataclass(frozen=True)
class Format:
    """Layout, polynomials and regime borders of one floating-point format.

    Attributes:
        dtype: The floating dtype.
        integer: The signed integer dtype of the same width.
        mantissa: Number of stored mantissa bits.
        bias: Exponent bias.
        split: Number of low bits to clear so that a product of two halves is exact.
        log2: log 2 as a short leading part (exact when multiplied by any exponent)
            and the rest.
        tiny: The smallest z that does not count as 0.
        huge: The largest |v| and z that do not count as infinite.
        steps_per_octave: Trapezoidal nodes in which exp(t) doubles.
        num_nodes: Trapezoidal nodes on t > 0; the integrand is negligible beyond.
        olver_radius: Olver's expansion serves kappa + olver_slope v >= olver_radius.
        olver_slope: See `olver_radius`.
        olver: Coefficients of the expansion's remainder in radius/kappa, (v/kappa)^2.
        even: Coefficients of Temme's even part in y = z^2/4 and mu^2; `odd` likewise.
        odd: See `even`.
        even_y: The derivative of the even part in y; `odd_y` likewise.
        odd_y: See `even_y`.
        reflection: Coefficients of log(pi mu/sin(pi mu))/mu^2 in mu^2.
        exp: Coefficients of exp on |x| <= log(2)/2.
        atanh: Coefficients of (atanh(r) - r)/r^3 in r^2.
    """

    dtype: Any
    integer: Any
    mantissa: int
    bias: int
    split: int
    log2: tuple[float, float]
    tiny: float
    huge: float
    steps_per_octave: int
    num_nodes: int
    olver_radius: float
    olver_slope: float
    olver: Table
    even: Table
    odd: Table
    even_y: Table
    odd_y: Table
    reflection: Row
    exp: Row
    atanh: Row

    @property
    def step(self) -> float:
        """The trapezoidal step h, with exp(h steps_per_octave) = 2."""
        return math.log(2.0) / self.steps_per_octave

    @property
    def max_order(self) -> float:
        """Orders at and above this always lie in the asymptotic regime."""
        return self.olver_radius / (1.0 + self.olver_slope)


def _split_log2(bits: int) -> tuple[float, float]:
    """Returns log 2 as a part of so many bits and the rest."""
    high = Fraction(math.floor(LOG2 * 2**bits), 2**bits)
    return float(high), float(LOG2 - high)


FLOAT64 = Format(
    dtype=jnp.float64,
    integer=jnp.int64,
    mantissa=52,
    bias=1023,
    split=27,
    log2=_split_log2(40),
    tiny=2.0**-1021,
    huge=2.0**1020,
    steps_per_octave=5,
    num_nodes=38,
    olver_radius=float(tables.OLVER_RADIUS_64),
    olver_slope=tables.OLVER_SLOPE_64,
    olver=tables.OLVER_64,
    even=tables.EVEN_64,
    odd=tables.ODD_64,
    even_y=tables.EVEN_Y_64,
    odd_y=tables.ODD_Y_64,
    reflection=tables.REFLECTION_64,
    exp=tables.EXP_64,
    atanh=tables.ATANH_64,
)

FLOAT32 = Format(
    dtype=jnp.float32,
    integer=jnp.int32,
    mantissa=23,
    bias=127,
    split=12,
    log2=_split_log2(14),
    tiny=2.0**-125,
    huge=2.0**124,
    steps_per_octave=2,
    num_nodes=12,
    olver_radius=float(tables.OLVER_RADIUS_32),
    olver_slope=tables.OLVER_SLOPE_32,
    olver=tables.OLVER_32,
    even=tables.EVEN_32,
    odd=tables.ODD_32,
    even_y=tables.EVEN_Y_32,
    odd_y=tables.ODD_Y_32,
    reflection=tables.REFLECTION_32,
    exp=tables.EXP_32,
    atanh=tables.ATANH_32,
)


def format_of(dtype: Any) -> Format:
    """Returns the format in which arguments of this dtype are computed."""
    return FLOAT64 if np.dtype(dtype) == np.float64 else FLOAT32
