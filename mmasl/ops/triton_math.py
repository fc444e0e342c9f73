"""The parts that the Triton kernels of all losses share: elementary functions in float32, and the sum over programs.

This module imports triton. So only triton_support.py and the kernels import it, and only when they are called.

One source serves Triton 2.1 to 3, because the kernels use public names that all of these have: ``tl.math.exp2`` instead
of ``tl.exp2``, ``.to`` instead of ``tl.cast``, and ``[:, None]`` instead of ``keep_dims``.
"""
# ruff: noqa: N803 (constants of the compiler are in capitals)

import torch
import triton
import triton.language as tl

from mmasl.ops import analytic

LOSS_UNIT = tl.constexpr(analytic.LOSS_UNIT)  # the unit of partial sums too, which are float32


@triton.jit
def exp_negative(x):
    """Return exp(-x) for x >= 0. Unlike tl.exp, exp2 of Triton 3 has no code for subnormals, and returns 0."""
    return tl.math.exp2(x * -1.44269504)


@triton.jit
def log1p_parts(e):
    """Return (f, k), as log_parts does, for 1 + e with e in [0, 1]. Small e keep their digits."""
    high = e > 0.41421356
    return tl.where(high, 0.5 * e - 0.5, e), tl.where(high, 8388608.0, 0.0)


@triton.jit
def log_parts(x):
    """Split a positive normal x into (f, k): x = (1 + f) * 2 ** (k / 2**23) with 1 + f in [sqrt(1/2), sqrt(2)]."""
    bits = x.to(tl.int32, bitcast=True)
    exponent = (bits - 0x3F3504F3) & -0x00800000
    f = (bits - exponent).to(tl.float32, bitcast=True) - 1.0
    return f, exponent.to(tl.float32)


@triton.jit
def log_of_parts(f, k):
    """Return log(1 + f) + k / 2**23 * log(2) to an ulp. The coefficients are those of Cephes' logf."""
    y = 7.0376836292e-2 * f + -1.1514610310e-1
    y = y * f + 1.1676998740e-1
    y = y * f + -1.2420140846e-1
    y = y * f + 1.4249322787e-1
    y = y * f + -1.6668057665e-1
    y = y * f + 2.0000714765e-1
    y = y * f + -2.4999993993e-1
    y = y * f + 3.3333331174e-1
    y = (f * f) * (y * f + -0.5)
    return k * (0.693359375 / 2**23) + (f + (y - k * (2.12194440e-4 / 2**23)))


@triton.jit
def log1p(x):
    """Return log(1 + x) to an ulp for x >= 0 below 2**126, or NaN for NaN."""
    f, k = log_parts(1.0 + x)
    f_small, k_small = log1p_parts(x)
    y = log_of_parts(tl.where(x < 1.0, f_small, f), tl.where(x < 1.0, k_small, k))
    return tl.where(x == x, y, x)


@triton.jit
def power(x, gamma):
    """Return x ** gamma for x in [0, 1]. exp is Cephes' expf, because exp2(y / log(2)) would round a large argument."""
    f, k = log_parts(tl.maximum(x, 1.1754944e-38))
    y = gamma * log_of_parts(f, k)
    clamped = tl.maximum(y, -87.0)
    n = (clamped * 1.44269504 + 12582912.0) - 12582912.0  # the nearest integer
    r = (clamped - n * 0.693359375) + n * 2.12194440e-4
    e = 1.9875691500e-4 * r + 1.3981999507e-3
    e = e * r + 8.3334519073e-3
    e = e * r + 4.1665795894e-2
    e = e * r + 1.6666665459e-1
    e = e * r + 5.0000001201e-1
    e = e * r * r + r + 1.0
    e = (e.to(tl.int32, bitcast=True) + (n.to(tl.int32) << 23)).to(tl.float32, bitcast=True)
    return tl.where(y > -87.0, e, 0.0)


@triton.jit
def focus(x, gamma, GAMMA: tl.constexpr):
    """Return x ** GAMMA if GAMMA is 1, 2, 3 or 4, and otherwise x ** gamma."""
    if GAMMA == 1:
        y = x
    elif GAMMA == 2:
        y = x * x
    elif GAMMA == 3:
        y = x * x * x
    elif GAMMA == 4:
        y = (x * x) * (x * x)
    else:
        y = power(x, gamma)
    return y


INTERPRETED = not isinstance(power, triton.JITFunction)

if torch.version.cuda is None or INTERPRETED or not hasattr(tl, 'inline_asm_elementwise'):  # Triton 2.1 lacks it

    @triton.jit
    def reciprocal(x):
        """Return 1 / x."""
        return 1.0 / x

else:

    @triton.jit
    def reciprocal(x):
        """Return 1 / x to an ulp for x between 2**-126 and 2**126. Triton's own division takes five instructions."""
        return tl.inline_asm_elementwise(
            'rcp.approx.ftz.f32 $0, $1;', '=f,f', [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def reduce_partials(
    partials, counts, scale, loss, used_scale, programs, COUNT: tl.constexpr, SCALE: tl.constexpr, BLOCK: tl.constexpr
):
    """Compute loss = scale * sum(partials), in float64 and always in the same order, and keep the scale for backward.

    SCALE is 'number', 'tensor' (0-d, which the kernel reads) or 'count' (one over the sum of ``counts``).
    """
    index = tl.arange(0, BLOCK)
    mask = index < programs
    total = tl.sum(tl.load(partials + index, mask=mask, other=0.0).to(tl.float64), 0) * LOSS_UNIT
    if SCALE == 'count':
        count = tl.sum(tl.load(counts + index, mask=mask, other=0).to(tl.float64), 0)
        factor = 1.0 / tl.maximum(count, 1.0)
    elif SCALE == 'tensor':
        factor = tl.load(scale).to(tl.float64)
    else:
        factor = scale
    tl.store(loss, total * factor)
    tl.store(used_scale, factor)
