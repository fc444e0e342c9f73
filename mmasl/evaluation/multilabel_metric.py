"""The MMEngine metric ``mmasl.MultiLabelMetric``."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmasl.evaluation.functional import multilabel_metrics
from mmasl.evaluation.thresholds import read_thresholds
from mmasl.registry import METRICS


@METRICS.register_module()
class MultiLabelMetric(BaseMetric):
    """The measures of the multi-label literature: mAP, CP, CR, CF1, OP, OR, OF1, the same for top-3 labels, and Δp.

    :mod:`mmasl.evaluation.functional` defines the measures. All of them leave out targets of -1. mAP, CP and CR leave
    out classes without a positive target, and a log line says how many there are. The metric reads what MMPretrain's
    heads write: ``pred_score`` (probabilities), and ``gt_score`` or else ``gt_label`` (class indices).

    Keys in percent: ``mAP`` is the unweighted mean of the classes' AP, and ``mAP_weighted`` is their mean weighted by
    the number of positives. (For Open Images the paper has two averages, "micro" and "macro"; the authors' later code
    calls ours "mAP" and "macro".) ``CP``, ``CR``, ``CF1``, ``OP``, ``OR`` and ``OF1`` follow, then ``top3_CP``, ... for
    the highest labels that also pass the threshold, and ``forced_top3_CP``, ... for the highest labels in any case.
    Keys in [0, 1]: ``pt_pos``, ``pt_neg`` and ``delta_p`` (Eq. 9 and 10), where ``pt_neg`` is one minus the mean
    probability of negatives.

    Args:
        thr: A label is predicted if its score is at least the threshold, in [0, 1]: one number, one per class, or a
            file that ``tools/analysis_tools/tune_threshold.py`` has written.
        topk: Number of labels of the top-k rows, above 0. None leaves these rows out.
        forced_topk: Also report ``topk`` labels for every sample, whether or not they pass the threshold.
        per_class: Also report the AP and the three probabilities of each class, as ``AP_<class>``,
            ``delta_p_<class>``, ..., with NaN for a class without a positive. The names come from
            ``dataset_meta['classes']``. Without them the class index is the name, and a repeated name is followed by
            its class index.
        collect_device: Device on which the results of several processes are gathered, 'cpu' or 'gpu'.
        prefix: First part of every key. MMPretrain's ``AveragePrecision`` has the same prefix; change it to use both.
        collect_dir: Folder, shared by the processes, for gathering on the CPU.

    Raises:
        ValueError: In the constructor, for a ``thr`` or ``topk`` outside its range. In ``process``, for a sample
            without scores or targets, with another length than the samples before, with scores outside [0, 1], or with
            soft targets. In ``compute_metrics``, if there is no sample, no positive target, or another number of class
            names than classes.

    Example:
        >>> from mmengine.evaluator import Evaluator
        >>> evaluator = Evaluator(dict(type='mmasl.MultiLabelMetric', topk=None))
        >>> evaluator.process([
        ...     dict(pred_score=torch.tensor([0.9, 0.2]), gt_label=torch.tensor([0, 1])),
        ...     dict(pred_score=torch.tensor([0.6, 0.7]), gt_score=torch.tensor([-1., 1.])),
        ... ])
        >>> result = evaluator.evaluate(size=2)
        >>> result['multi-label/mAP'], result['multi-label/CP'], result['multi-label/CR']
        (100.0, 100.0, 75.0)
    """

    default_prefix = 'multi-label'

    def __init__(
        self,
        thr: float | Sequence[float] | str = 0.5,
        topk: int | None = 3,
        forced_topk: bool = False,
        per_class: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        thr = read_thresholds(thr)
        if topk is not None and (not isinstance(topk, int) or topk < 1):
            raise ValueError(f'topk: expected an integer above 0 or None, got {topk!r}')
        if forced_topk and topk is None:
            raise ValueError('forced_topk: expected a topk with it, got topk=None')
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.thr = thr
        self.topk = topk
        self.forced_topk = forced_topk
        self.per_class = per_class

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the scores (float32) and targets (int8) of a batch, one pair of rows per sample.

        Args:
            data_batch: Not used.
            data_samples: Dicts with ``pred_score`` ``(C,)`` and ``gt_score`` ``(C,)`` or ``gt_label`` ``(K,)``.
        """
        if not data_samples:
            return
        scores = [_read(sample, 'pred_score') for sample in data_samples]
        num_classes = len(self.results[0][0]) if self.results else len(scores[0])
        targets = [_target(sample, num_classes) for sample in data_samples]
        for name, rows in (('pred_score', scores), ('gt_score', targets)):
            for row in rows:
                if row.shape != (num_classes,):
                    raise ValueError(f'{name}: expected the shape ({num_classes},), got {tuple(row.shape)}')
        scores = torch.stack(scores).float().cpu().numpy()
        targets = torch.stack(targets).cpu().numpy()
        if not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError(
                f'pred_score: expected probabilities in [0, 1], got values from {scores.min()} to {scores.max()}'
            )
        known = np.isin(targets, (-1, 0, 1))
        if not known.all():
            raise ValueError(f'gt_score: expected 0, 1 or -1 (ignored), got {targets[~known][0]}')
        # Rows of NumPy arrays: a pickled row of a tensor would carry the whole batch with it.
        self.results.extend(zip(scores, targets.astype(np.int8), strict=True))

    def compute_metrics(self, results: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        """Compute every measure from the rows of all processes.

        Args:
            results: Pairs of scores ``(C,)``, float32, and targets ``(C,)``, int8.

        Returns:
            The measures by name, without the prefix.
        """
        if not results:
            raise ValueError('results: expected at least one sample, got none: was `process` called with any?')
        scores, targets = zip(*results, strict=True)
        thr = np.asarray(read_thresholds(self.thr, len(scores[0])))
        measures = multilabel_metrics(scores, targets, thr, self.topk, self.forced_topk)
        ap, gap = measures.pop('AP'), measures.pop('class_gap')
        missing = int(np.isnan(ap).sum())
        if missing:
            print_log(
                f'{missing} of {len(ap)} classes have no positive target: left out of mAP, CP and CR', logger='current'
            )
        if self.per_class:
            names = self._class_names(len(ap))
            for measure, values in {'AP': ap, **gap}.items():
                measures.update({f'{measure}_{name}': float(value) for name, value in zip(names, values, strict=True)})
        return measures

    def _class_names(self, num_classes: int) -> list[str]:
        names = (self.dataset_meta or {}).get('classes') or range(num_classes)
        if len(names) != num_classes:
            raise ValueError(f"dataset_meta['classes']: expected {num_classes} names, got {len(names)}")
        times = Counter(names)
        return [str(name) if times[name] == 1 else f'{name}_{i}' for i, name in enumerate(names)]


def _read(sample: dict, key: str) -> torch.Tensor:
    if key not in sample:
        raise ValueError(f"data_samples: expected the key '{key}', got {sorted(sample)}")
    return torch.as_tensor(sample[key]).detach()


def _target(sample: dict, num_classes: int) -> torch.Tensor:
    """Return ``gt_score``, or ``gt_label`` as a row of 0 and 1 if there is no ``gt_score``."""
    if 'gt_score' in sample:
        return _read(sample, 'gt_score')
    if 'gt_label' not in sample:
        raise ValueError(f"data_samples: expected the key 'gt_score' or 'gt_label', got {sorted(sample)}")
    label = _read(sample, 'gt_label').long()
    if label.numel() and not 0 <= int(label.min()) <= int(label.max()) < num_classes:
        raise ValueError(f'gt_label: expected class indices from 0 to {num_classes - 1}, got {label.tolist()}')
    target = torch.zeros(num_classes, dtype=torch.int8, device=label.device)
    target[label] = 1
    return target
