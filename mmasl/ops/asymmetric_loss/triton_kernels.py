"""The Triton kernel of the asymmetric loss. Only triton.py imports this module, because it imports triton."""
# ruff: noqa: N803, SIM108 (constants of the compiler are in capitals, and it chooses between blocks, not values)

import triton
import triton.language as tl

from mmasl.ops.triton_math import (
    LOSS_UNIT,
    exp_negative,
    focus,
    log1p_parts,
    log_of_parts,
    log_parts,
    power,
    reciprocal,
)


@triton.jit
def _one_minus_exp(d):
    """Return 1 - exp(-d) for d > 0. Small d keep their digits."""
    near = tl.minimum(d, 0.7)
    series = 2.4801587e-5 - 2.7557319e-6 * near
    series = 1.9841270e-4 - series * near
    series = 1.3888889e-3 - series * near
    series = 8.3333333e-3 - series * near
    series = 4.1666667e-2 - series * near
    series = 1.6666667e-1 - series * near
    series = 0.5 - series * near
    series = 1.0 - series * near
    return tl.where(d < 0.7, near * series, 1.0 - exp_negative(d))


@triton.jit
def _loss_or_slope(
    z, label, gamma_pos, gamma_neg, clip, margin_hi, margin_lo, weight_pos, weight_neg,
    GAMMA_POS: tl.constexpr, GAMMA_NEG: tl.constexpr, MARGIN: tl.constexpr, ALPHA: tl.constexpr,
    DETACH: tl.constexpr, HARD: tl.constexpr, SLOPE: tl.constexpr,
):  # fmt: skip
    """Return the unweighted loss of float32 logits z, or with SLOPE its derivative. The compiler drops the other one.

    With HARD, ``label`` is a condition (positive or not), and otherwise a float in [0, 1].
    """
    e = exp_negative(tl.abs(z))
    r = reciprocal(1.0 + e)
    s = e * r
    p = tl.where(z < 0, s, r)
    q = tl.where(z < 0, r, s)

    f, k = log1p_parts(e)
    if MARGIN == 'all':
        u = q + clip  # 1 - p_m, without cancellation near p = 1
        f_u, k_u = log_parts(u)
        if HARD and (GAMMA_POS != 0 or not SLOPE):  # one logarithm serves both sides
            log = log_of_parts(tl.where(label, f, f_u), tl.where(label, k, k_u))
            loss_pos = tl.maximum(-z, 0.0) + log
            loss_neg = tl.maximum(-log, 0.0)
        else:
            loss_pos = tl.maximum(-z, 0.0) + log_of_parts(f, k)
            loss_neg = tl.maximum(-log_of_parts(f_u, k_u), 0.0)
    else:
        log = log_of_parts(f, k)
        loss_pos = tl.maximum(-z, 0.0) + log
        loss_neg = tl.maximum(z, 0.0) + log
        if MARGIN == 'some':
            u = q + clip
            f_u, k_u = log_parts(u)
            loss_neg = tl.where(clip > 0, tl.maximum(-log_of_parts(f_u, k_u), 0.0), loss_neg)

    slope_pos = -q
    if GAMMA_POS != 0:
        w = focus(q, gamma_pos, GAMMA_POS)
        if not DETACH:  # the inner product comes first, because the outer one overflows at z = -3e38
            slope_pos -= gamma_pos * (p * loss_pos)
        slope_pos *= w
        loss_pos *= w

    if MARGIN == 'some':  # computes both of the cases below, for any exponent
        active = z - margin_hi > margin_lo
        distance = tl.where(active, (z - margin_hi) - margin_lo, 1.0)
        p_m = (1.0 - clip) * p * _one_minus_exp(distance)
        v = tl.maximum(tl.where(clip > 0, 1.0 - u, p), 1.1754944e-38)
        ratio = tl.where(u < 1.0, loss_neg * reciprocal(v), 1.0)
        slope_neg = p * tl.where(clip > 0, q * reciprocal(tl.maximum(u, 1.1754944e-38)), 1.0)
        if not DETACH:
            slope_neg += gamma_neg * (p * q * ratio)
        loss_neg = p_m * ratio
        w = tl.where(active, power(p_m, gamma_neg), 0.0)
        slope_neg *= w
        loss_neg *= w
    elif MARGIN == 'all':
        active = z - margin_hi > margin_lo
        if GAMMA_NEG >= 0:  # with p_m ** (gamma - 1), s / p_m is not needed
            p_m = tl.maximum(p - clip, 0.0)
            w = 1.0
            if GAMMA_NEG > 1:
                w = focus(p_m, gamma_neg, GAMMA_NEG - 1)
            w = tl.where(active, w, 0.0)
            slope_neg = reciprocal(u)
            if GAMMA_NEG > 0:
                slope_neg *= p_m
                if not DETACH:
                    slope_neg += gamma_neg * loss_neg
                loss_neg *= p_m
        else:  # p - m loses digits next to the margin, which exponents below 1 make visible
            distance = tl.where(active, (z - margin_hi) - margin_lo, 1.0)
            p_m = (1.0 - clip) * p * _one_minus_exp(distance)
            v = tl.maximum(1.0 - u, 2.98023224e-8)
            ratio = tl.where(u < 1.0, loss_neg * reciprocal(v), 1.0)  # at the rounded u, where 1 - u is exact (Kahan)
            slope_neg = reciprocal(u)
            if not DETACH:
                slope_neg += gamma_neg * ratio
            loss_neg = p_m * ratio
            w = tl.where(active, power(p_m, gamma_neg), 0.0)
        slope_neg *= (p * q) * w
        loss_neg *= w
    else:
        slope_neg = p
        if GAMMA_NEG != 0:
            w = focus(p, gamma_neg, GAMMA_NEG)
            if not DETACH:
                slope_neg += gamma_neg * (q * loss_neg)
            slope_neg *= w
            loss_neg *= w

    if ALPHA:
        loss_pos *= weight_pos
        slope_pos *= weight_pos
        loss_neg *= weight_neg
        slope_neg *= weight_neg
    positive = slope_pos if SLOPE else loss_pos
    negative = slope_neg if SLOPE else loss_neg
    if MARGIN != 'none':  # the comparison with the margin finds NaN inactive, and would hide a diverged model
        negative = tl.where(z == z, negative, z)
    if HARD:
        result = tl.where(label, positive, negative)
    else:
        result = label * positive + (1.0 - label) * negative
    return result


@triton.jit
def asymmetric_loss(
    pred, target, weight, class_weight, upstream, scale, out, counts,
    total, gamma_pos, gamma_neg, clip, margin_hi, margin_lo, weight_pos, weight_neg,
    GAMMA_POS: tl.constexpr, GAMMA_NEG: tl.constexpr, MARGIN: tl.constexpr, ALPHA: tl.constexpr, DETACH: tl.constexpr,
    GAMMA_IS: tl.constexpr, CLIP_IS: tl.constexpr, TARGET: tl.constexpr, IGNORE: tl.constexpr, WEIGHT: tl.constexpr,
    CLASS_WEIGHT: tl.constexpr, UPSTREAM: tl.constexpr, COUNT: tl.constexpr, MODE: tl.constexpr,
    COLUMNS: tl.constexpr, SEGMENTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Compute the loss or the gradient in tiles of SEGMENTS x WIDTH neighbours, which the programs take in turns.

    Args:
        pred, target, weight, class_weight: The arguments of the op, contiguous.
        upstream, scale, out, counts: See :class:`mmasl.ops.triton_support.Launch`.
        total: The number of logits.
        gamma_neg: A number, or a pointer to one number if GAMMA_IS is 'one', or to (C,) if it is 'class'.
        clip: A number, or a pointer to the margin and both parts of its logit: (3,) if CLIP_IS is 'one', and (3, C) if
            it is 'class'.
        GAMMA_POS, GAMMA_NEG: The exponent if it is 0, 1, 2, 3 or 4; -1 reads it from gamma_pos and gamma_neg.
        MARGIN: 'none' or 'all' of the classes, or 'some' if ``clip`` is a pointer and may hold zeros.
        TARGET: 'index', 'hard' (dense integers) or 'soft' (dense floats).
        WEIGHT: 'none', 'row' or 'element'.
        COLUMNS: C if the tiles need rows and columns, and otherwise 0. WIDTH divides C, so a row begins with a segment,
            and values of a row are read once per segment.
    """
    block: tl.constexpr = SEGMENTS * WIDTH
    segment = tl.arange(0, SEGMENTS)
    within = tl.arange(0, WIDTH)
    local = segment[:, None] * WIDTH + within[None, :]
    # Offsets of a tile have 64 bits, and offsets inside a tile have 32.
    base = tl.program_id(0).to(tl.int64) * block
    stride = tl.num_programs(0).to(tl.int64) * block
    if GAMMA_IS == 'one':
        gamma_neg = tl.load(gamma_neg)
    if CLIP_IS == 'one':
        margin_hi, margin_lo = tl.load(clip + 1), tl.load(clip + 2)
        clip = tl.load(clip)
    if MODE == 'sum':
        losses = tl.full((SEGMENTS, WIDTH), 0.0, tl.float32)
        labelled = tl.full((SEGMENTS, WIDTH), 0, tl.int32)
    if MODE == 'grad':
        outer = 1.0
        if UPSTREAM != 'each':
            outer = tl.load(upstream).to(tl.float32)
        if UPSTREAM == 'scaled':
            outer = outer * tl.load(scale)

    for _ in range(tl.program_id(0), (total - 1) // block + 1, tl.num_programs(0)):
        left = tl.minimum(total - base, block).to(tl.int32)
        mask = local < left
        if COLUMNS > 0:
            first_row = base // COLUMNS
            start = (base - first_row * COLUMNS).to(tl.int32) + segment * WIDTH
            row = start // COLUMNS  # counted from first_row
            column = (start - row * COLUMNS)[:, None] + within[None, :]
            in_row = segment * WIDTH < left
            mask = in_row[:, None] & (within < WIDTH)[None, :]
        z = tl.load(pred + base + local, mask=mask, other=0.0).to(tl.float32)
        if TARGET == 'index':
            own = tl.load(target + first_row + row, mask=in_row, other=0).to(tl.int32)
            label = own[:, None] == column
            valid = mask & (own != -1)[:, None]
        else:
            y = tl.load(target + base + local, mask=mask, other=-1 if IGNORE else 0)
            valid = y != -1 if IGNORE else mask
            label = y > 0 if TARGET == 'hard' else y.to(tl.float32)
        gamma_of = tl.load(gamma_neg + column) if GAMMA_IS == 'class' else gamma_neg
        if CLIP_IS == 'class':
            clip_of = tl.load(clip + column)
            hi_of, lo_of = tl.load(clip + COLUMNS + column), tl.load(clip + 2 * COLUMNS + column)
        else:
            clip_of, hi_of, lo_of = clip, margin_hi, margin_lo
        result = _loss_or_slope(
            z, label, gamma_pos, gamma_of, clip_of, hi_of, lo_of, weight_pos, weight_neg,
            GAMMA_POS, GAMMA_NEG, MARGIN, ALPHA, DETACH, TARGET != 'soft', MODE == 'grad',
        )  # fmt: skip
        result = tl.where(valid, result, 0.0)
        if MODE == 'sum':
            result *= 1.0 / LOSS_UNIT
        if WEIGHT == 'row':
            result *= tl.load(weight + first_row + row, mask=in_row, other=0.0).to(tl.float32)[:, None]
        if WEIGHT == 'element':
            result *= tl.load(weight + base + local, mask=mask, other=0.0).to(tl.float32)
        if CLASS_WEIGHT:
            result *= tl.load(class_weight + column).to(tl.float32)
        if MODE == 'sum':
            losses += result
            if COUNT:
                labelled += valid.to(tl.int32)
        else:
            if MODE == 'grad':
                if UPSTREAM == 'each':
                    result *= tl.load(upstream + base + local, mask=mask, other=0.0).to(tl.float32)
                else:
                    result *= outer
            tl.store(out + base + local, result.to(out.dtype.element_ty), mask=mask)
        base += stride

    if MODE == 'sum':
        tl.store(out + tl.program_id(0), tl.sum(tl.sum(losses, 1), 0))
        if COUNT:
            tl.store(counts + tl.program_id(0), tl.sum(tl.sum(labelled, 1), 0))
