"""The Triton kernels of the single-label loss. Only triton.py imports this module, because it imports triton.

Values of the rows of a tile have the shape (ROWS, 1), and values of its entries have the shape (ROWS, WIDTH).
"""
# ruff: noqa: N803 (constants of the compiler are in capitals)

import torch
import triton
import triton.language as tl

from mmasl.ops.softmax_asymmetric_loss.reference import lowest_log_probability
from mmasl.ops.triton_math import LOSS_UNIT, exp_negative, focus, log1p, reciprocal

LARGEST = tl.constexpr(torch.finfo(torch.float32).max)
LOWEST = tl.constexpr(lowest_log_probability(torch.float32))
IGNORED = tl.constexpr(-1.0)  # is kept for an ignored row in place of its sum


@triton.jit
def _sum(entries):
    return tl.sum(entries, 1)[:, None]


@triton.jit
def _distance(z, highest):
    """Return z - highest, bounded before it would overflow. NaN is bounded too; the sum of the row already shows it."""
    d = tl.where(z > -LARGEST, z, -LARGEST) - highest
    return tl.where(d > LOWEST, d, LOWEST)


@triton.jit
def _softmax(pred, inside, COLUMNS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Return the largest logit of each row, and the sum of exp(z - largest) over all but one of the largest.

    This takes one pass. Each place of the tile has its own sum, relative to the largest logit so far, and its own count
    of this logit.
    """
    column = tl.arange(0, WIDTH)[None, :]
    local = tl.arange(0, ROWS)[:, None] * COLUMNS + column
    highest = tl.full((ROWS, 1), -LARGEST, tl.float32)
    others = tl.full((ROWS, WIDTH), 0.0, tl.float32)
    peaks = tl.full((ROWS, WIDTH), 0.0, tl.float32)
    for start in range(0, COLUMNS, WIDTH):
        mask = inside & (start + column < COLUMNS)
        z = tl.load(pred + local + start, mask=mask, other=0.0).to(tl.float32)
        bounded = tl.where(mask & (z > -LARGEST), z, -LARGEST)  # a class masked with -inf
        before = highest
        highest = tl.maximum(before, tl.max(bounded, 1)[:, None])
        peak = bounded == highest
        e = tl.where(peak, 0.0, exp_negative(-_distance(bounded, highest)))
        e = tl.where(z < float('inf'), e, float('nan'))  # also for a logit that is NaN
        passed = tl.where(highest == before, 0.0, peaks)  # no peaks any more
        others = (others + passed) * exp_negative(highest - before) + tl.where(mask, e, 0.0)
        peaks = peaks - passed + tl.where(mask & peak, 1.0, 0.0)
    rest = _sum(others) + (_sum(peaks) - 1.0)
    return highest, tl.where(inside, rest, 0.0)


@triton.jit
def _entries(z, highest, rest):
    """Return (-log p, p, 1 - p). 1 - p of the largest logit is the share of the others, which keeps its digits."""
    d = _distance(z, highest)
    e = exp_negative(-d)
    inverse = reciprocal(1.0 + rest)
    q = tl.where(e == 1.0, rest * inverse, 1.0 - e * inverse)
    return log1p(rest) - d, e * inverse, q


@triton.jit
def _positive(s, p, q, own, gamma, GAMMA: tl.constexpr, DETACH: tl.constexpr):
    """Return own * q ** gamma * s, the term of a labelled class, and its derivative by log p."""
    weight = own
    if GAMMA != 0:
        weight = own * focus(q, gamma, GAMMA)
    slope = -weight
    if GAMMA != 0 and not DETACH:
        normal = q > 1.1754944e-38  # towards 0 the ratio goes to 1
        ratio = tl.where(normal, s * reciprocal(tl.where(normal, q, 1.0)), 1.0)
        slope *= 1.0 + gamma * (p * ratio)  # the ratio may be 3e38 where p is 0
    return weight * s, slope


@triton.jit
def _negative(s, p, other, gamma, GAMMA: tl.constexpr, DETACH: tl.constexpr):
    """Return other * p ** gamma * s, the term of another class, and its derivative by log p."""
    if GAMMA == 0:
        weight = other
    elif GAMMA > 0:
        weight = other * focus(p, gamma, GAMMA)
    else:
        weight = other * exp_negative(gamma * s)
    value = weight * s
    slope = -weight
    if GAMMA != 0 and not DETACH:
        slope += gamma * value
    return value, slope


@triton.jit
def _labelled(
    pred, target, class_weight, inside, highest, rest, own, gamma_pos, ignore_index,
    GAMMA_POS: tl.constexpr, DETACH: tl.constexpr, CLASS_WEIGHT: tl.constexpr, UNIT: tl.constexpr,
    COLUMNS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Return, for class indices, the label, whether it is ignored, the term of its class over UNIT, and its slope."""
    row = tl.arange(0, ROWS)[:, None]
    index = tl.load(target + row, mask=inside, other=0).to(tl.int64)
    label = tl.minimum(tl.maximum(index, 0), COLUMNS - 1).to(tl.int32)
    z = tl.load(pred + row * COLUMNS + label, mask=inside, other=0.0).to(tl.float32)
    s, p, q = _entries(z, highest, rest)
    value, slope = _positive(s, p, q, own, gamma_pos, GAMMA_POS, DETACH)
    value *= 1.0 / UNIT
    if CLASS_WEIGHT:
        weight = tl.load(class_weight + label).to(tl.float32)
        value *= weight
        slope *= weight
    return label, index == ignore_index, value, slope


@triton.jit
def _block(
    pred, target, class_weight, start, inside, label, label_slope, highest, rest, own, other, gamma_pos, gamma_neg,
    GAMMA_POS: tl.constexpr, GAMMA_NEG: tl.constexpr, DETACH: tl.constexpr, INDEX: tl.constexpr, SMOOTH: tl.constexpr,
    CLASS_WEIGHT: tl.constexpr, UNIT: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Return offset, mask, dense label, term over UNIT, slope by log p, p and 1 - p of the classes from ``start`` on.

    For a class index, the term of its own class is left out, and its slope is ``label_slope``.
    """
    column = start + tl.arange(0, WIDTH)[None, :]
    local = tl.arange(0, ROWS)[:, None] * COLUMNS + column
    mask = inside & (column < COLUMNS)
    z = tl.load(pred + local, mask=mask, other=0.0).to(tl.float32)
    s, p, q = _entries(z, highest, rest)
    y, value, slope = 0.0, 0.0, 0.0
    if SMOOTH:
        value, slope = _negative(s, p, other, gamma_neg, GAMMA_NEG, DETACH)
    if not INDEX:
        y = tl.load(target + local, mask=mask, other=0).to(tl.float32)
        hit, hit_slope = _positive(s, p, q, own, gamma_pos, GAMMA_POS, DETACH)
        value = y * hit + (1.0 - y) * value
        slope = y * hit_slope + (1.0 - y) * slope
    value *= 1.0 / UNIT
    if CLASS_WEIGHT:
        weight = tl.load(class_weight + column, mask=column < COLUMNS, other=0.0).to(tl.float32)
        value *= weight
        slope *= weight
    if INDEX:
        here = column == label
        value, slope = tl.where(here, 0.0, value), tl.where(here, label_slope, slope)
    return local, mask, y, value, slope, p, q


@triton.jit
def softmax_loss(
    pred, target, weight, class_weight, out, counts, kept,
    total, own, other, gamma_pos, gamma_neg, ignore_index,
    GAMMA_POS: tl.constexpr, GAMMA_NEG: tl.constexpr, DETACH: tl.constexpr, INDEX: tl.constexpr, SMOOTH: tl.constexpr,
    IGNORE: tl.constexpr, WEIGHT: tl.constexpr, CLASS_WEIGHT: tl.constexpr, KEEP: tl.constexpr, COUNT: tl.constexpr,
    MODE: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute the loss of each row, in tiles of ROWS rows and WIDTH columns.

    Args:
        pred, target, weight, class_weight: The arguments of the op, contiguous.
        out, counts, MODE: See :class:`mmasl.ops.triton_support.Launch`.
        kept: (3, N), filled with KEEP: the largest logit of each row; the sum of exp(z - largest) of the other logits,
            or IGNORED; and the sum of the slopes by log p.
        total: The number of rows.
        own, other: What label smoothing gives to the labelled class and to each of the others.
        ignore_index: The class index of ignored rows.
        GAMMA_POS, GAMMA_NEG: The exponent if it is 0, 1, 2, 3 or 4; -1 reads it from gamma_pos and gamma_neg.
        INDEX: Whether the target holds class indices.
        SMOOTH: Whether ``other`` is not 0.
        IGNORE: Whether dense labels may hold -1.
        COLUMNS: C.
    """
    unit: tl.constexpr = LOSS_UNIT if MODE == 'sum' else 1.0
    row = tl.arange(0, ROWS)[:, None]
    first = tl.program_id(0).to(tl.int64) * ROWS  # 64 bits, while offsets inside a tile have 32
    stride = tl.num_programs(0).to(tl.int64) * ROWS
    losses = tl.full((ROWS, 1), 0.0, tl.float32)
    labelled = tl.full((ROWS, 1), 0, tl.int32)
    for _ in range(tl.program_id(0), (total - 1) // ROWS + 1, tl.num_programs(0)):
        inside = row < tl.minimum(total - first, ROWS).to(tl.int32)
        logits = pred + first * COLUMNS
        labels = target + (first if INDEX else first * COLUMNS)
        highest, rest = _softmax(logits, inside, COLUMNS, ROWS, WIDTH)
        if INDEX:
            label, ignored, value, slope = _labelled(
                logits, labels, class_weight, inside, highest, rest, own, gamma_pos, ignore_index,
                GAMMA_POS, DETACH, CLASS_WEIGHT, unit, COLUMNS, ROWS,
            )  # fmt: skip
            label_slope = slope
        else:
            label, label_slope, ignored = row, highest, row < 0
            value = tl.full((ROWS, 1), 0.0, tl.float32)
        if SMOOTH or not INDEX:
            values = tl.full((ROWS, WIDTH), 0.0, tl.float32)
            slopes = tl.full((ROWS, WIDTH), 0.0, tl.float32)
            unlabelled = tl.full((ROWS, WIDTH), 0, tl.int32)
            for start in range(0, COLUMNS, WIDTH):
                local, mask, y, more, more_slope, p, q = _block(
                    logits, labels, class_weight, start, inside, label, label_slope, highest, rest,
                    own, other, gamma_pos, gamma_neg,
                    GAMMA_POS, GAMMA_NEG, DETACH, INDEX, SMOOTH, CLASS_WEIGHT, unit, COLUMNS, ROWS, WIDTH,
                )  # fmt: skip
                values += tl.where(mask, more, 0.0)
                slopes += tl.where(mask, more_slope, 0.0)
                if IGNORE and not INDEX:
                    unlabelled += (y == -1.0).to(tl.int32)
            value += _sum(values)
            slope = _sum(slopes)
            if IGNORE and not INDEX:
                ignored = _sum(unlabelled) > 0
        if WEIGHT:
            value *= tl.load(weight + first + row, mask=inside, other=0.0).to(tl.float32)
        valid = inside & (ignored == 0)
        value = tl.where(valid, value, 0.0)
        if KEEP:
            tl.store(kept + first + row, highest, mask=inside)
            tl.store(kept + total + first + row, tl.where(ignored, IGNORED, rest), mask=inside)
            tl.store(kept + total + total + first + row, slope, mask=inside)
        if MODE == 'sum':
            losses += value
            labelled += valid.to(tl.int32)
        else:
            tl.store(out + first + row, value, mask=inside)
        first += stride

    if MODE == 'sum':
        tl.store(out + tl.program_id(0), tl.sum(tl.sum(losses, 1), 0))
        if COUNT:
            tl.store(counts + tl.program_id(0), tl.sum(tl.sum(labelled, 1), 0))


@triton.jit
def softmax_gradient(
    pred, target, weight, class_weight, out, kept, upstream, scale,
    total, own, other, gamma_pos, gamma_neg, ignore_index,
    GAMMA_POS: tl.constexpr, GAMMA_NEG: tl.constexpr, DETACH: tl.constexpr, INDEX: tl.constexpr, SMOOTH: tl.constexpr,
    WEIGHT: tl.constexpr, CLASS_WEIGHT: tl.constexpr, UPSTREAM: tl.constexpr,
    COLUMNS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute the gradient from what :func:`softmax_loss` has kept of each row. It has the same arguments.

    Args:
        out, upstream, scale, UPSTREAM: See :class:`mmasl.ops.triton_support.Launch`.
    """
    row = tl.arange(0, ROWS)[:, None]
    first = tl.program_id(0).to(tl.int64) * ROWS
    stride = tl.num_programs(0).to(tl.int64) * ROWS
    outer = 1.0
    if UPSTREAM != 'each':
        outer = tl.load(upstream).to(tl.float32)
    if UPSTREAM == 'scaled':
        outer = outer * tl.load(scale)
    for _ in range(tl.program_id(0), (total - 1) // ROWS + 1, tl.num_programs(0)):
        inside = row < tl.minimum(total - first, ROWS).to(tl.int32)
        logits = pred + first * COLUMNS
        labels = target + (first if INDEX else first * COLUMNS)
        highest = tl.load(kept + first + row, mask=inside, other=0.0)
        rest = tl.load(kept + total + first + row, mask=inside, other=0.0)
        slope_sum = tl.load(kept + total + total + first + row, mask=inside, other=0.0)
        ignored = rest == IGNORED
        factor = tl.full((ROWS, 1), 1.0, tl.float32) * outer
        if WEIGHT:
            factor *= tl.load(weight + first + row, mask=inside, other=0.0).to(tl.float32)
        if UPSTREAM == 'each':
            factor *= tl.load(upstream + first + row, mask=inside, other=0.0).to(tl.float32)
        label, label_slope = row, highest
        if INDEX:
            label, is_ignored, label_value, label_slope = _labelled(
                logits, labels, class_weight, inside, highest, rest, own, gamma_pos, ignore_index,
                GAMMA_POS, DETACH, CLASS_WEIGHT, 1.0, COLUMNS, ROWS,
            )  # fmt: skip
        for start in range(0, COLUMNS, WIDTH):
            local, mask, y, value, slope, p, q = _block(
                logits, labels, class_weight, start, inside, label, label_slope, highest, rest,
                own, other, gamma_pos, gamma_neg,
                GAMMA_POS, GAMMA_NEG, DETACH, INDEX, SMOOTH, CLASS_WEIGHT, 1.0, COLUMNS, ROWS, WIDTH,
            )  # fmt: skip
            # This is slope - p * slope_sum without the cancellation near p = 1.
            grad = (slope * q - p * (slope_sum - slope)) * factor
            grad = tl.where(ignored, 0.0, grad)
            tl.store(out + first * COLUMNS + local, grad.to(out.dtype.element_ty), mask=mask)
        first += stride
