"""Proposes which losses to try first on a training set, by rules of thumb of the paper and of our trials."""

FOCAL = dict(gamma_pos=2.0, gamma_neg=2.0, clip=0.0)
RARE_POSITIVES = 0.3  # positives to negatives; MS-COCO has 0.04. Above it asymmetry has little to correct (ours)
LONG_TAIL = 50  # images of the most frequent class to those of the rarest (ours)


def starting_ladder(summary: dict) -> list[dict]:
    """Propose losses in the order to try them, each with the reason; no accuracy is promised.

    The thresholds are the project's choice. Each step is one change, to be tried with a learning rate of its own.

    Args:
        summary: What :meth:`mmasl.analysis.LabelStatistics.summary` returns.

    Returns:
        For each step its ``name``, ``loss`` (the config of the head's loss) and ``reason``.

    Example:
        >>> ladder = starting_ladder(dict(kind='single-label', imbalance=300.0, rarest_class=2))
        >>> [step['name'] for step in ladder]
        ['cross-entropy', 'softmax ASL', 'sigmoid ASL']
    """
    steps = dict(
        zip(('multi-label', 'single-label', 'detection'), (_multi_label, _single_label, _detection), strict=True)
    )
    return [dict(name=name, loss=loss, reason=reason) for name, loss, reason in steps[summary['kind']](summary)]


def asymmetric(**constants) -> dict:
    return dict(type='mmasl.AsymmetricLoss', **constants)


def _multi_label(summary):
    ratio = summary['positive_negative_ratio']
    yield 'cross-entropy', dict(type='CrossEntropyLoss', use_sigmoid=True), 'the reference that every step must beat'
    yield 'focal loss', asymmetric(**FOCAL), 'turns down easy samples, of both sides alike (Fig. 5: best for γ 2 to 4)'
    if ratio is not None and ratio > RARE_POSITIVES:
        reason = f'one positive to {1 / ratio:.1f} negatives is mild: a small asymmetry at most is worth a trial'
        yield 'mild asymmetric focusing', asymmetric(gamma_pos=0.0, gamma_neg=1.0, clip=0.0), reason
        return
    reason = 'the cheapest step against missing labels: negatives below p = 0.05 get no gradient'
    yield 'margin on cross-entropy', asymmetric(gamma_pos=0.0, gamma_neg=0.0, clip=0.05), reason
    reason = f'one positive to {1 / ratio:.0f} negatives' if ratio else 'positives are few'
    reason += ': γ₊=0 keeps their gradient'
    if summary['imbalance'] >= LONG_TAIL:
        reason += f', which the rarest classes ({summary["rarest_class"]} images) can spare least'
    yield 'asymmetric focusing', asymmetric(gamma_pos=0.0, gamma_neg=4.0, clip=0.0), reason
    reason = 'discards easy negatives and those that are probably missing labels'
    if summary['share_of_images_without_label'] > 0.05:
        reason += (
            f'; {summary["share_of_images_without_label"]:.0%} of the images have no label at all: are some missing?'
        )
    yield 'margin on focal loss', asymmetric(gamma_pos=2.0, gamma_neg=2.0, clip=0.3), reason
    reason = 'both, with the best values of Table 2; γ₋=2, m=0.2 (Fig. 4) next'
    yield 'ASL', asymmetric(gamma_pos=0.0, gamma_neg=4.0, clip=0.05), reason
    reason = 'finds γ₋ while it trains; on photographs it was ahead where labels were missing and the model did not '
    reason += 'learn its training labels by heart (docs/choose.md)'
    yield 'adaptive ASL', dict(type='mmasl.AdaptiveAsymmetricLoss', delta_p_target=0.1), reason


def _single_label(summary):
    yield 'cross-entropy', dict(type='CrossEntropyLoss'), 'the reference that every step must beat'
    reason = 'γ₋ acts through label smoothing alone; without it, this is cross-entropy'
    softmax = dict(type='mmasl.SoftmaxAsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, label_smoothing=0.1)
    yield 'softmax ASL', softmax, reason
    tail = summary['imbalance'] >= LONG_TAIL
    reason = f'a long tail ({summary["imbalance"]:.0f} to 1) is' if tail else 'a long tail would be'
    reason += ' its case: each class has its own score, and its many negatives are turned down'
    yield 'sigmoid ASL', asymmetric(gamma_pos=0.0, gamma_neg=4.0, clip=0.05), reason


def _detection(summary):
    focal = dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25)
    yield 'focal loss', focal, "the head's own loss, α included; reproduce its result before anything else"
    same = asymmetric(use_sigmoid=True, gamma_pos=2.0, gamma_neg=2.0, clip=0.0, alpha=0.25)
    yield 'the same as ASL', same, 'equal to it by calculation; a check of the config'
    reason = 'less focusing on positives, since few anchors are any; α and γ interact, so tune α again'
    yield 'asymmetric focusing', {**same, 'gamma_pos': 1.0}, reason
