"""Labels of pictures from a trained multi-label classifier."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import mmpretrain.models  # noqa: F401  it prints a line on import, which should come before the results
import numpy as np
import torch
from mmengine.dataset import default_collate
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer

from mmasl.apis.pictures import batched, drawing_folder, list_pictures, load_picture
from mmasl.evaluation.thresholds import read_thresholds


class MultiLabelInferencer(ImageClassificationInferencer):
    """MMPretrain's inferencer for pictures with any number of labels.

    Args:
        model: A config (path or object), a built model, or a name in MMPretrain's model zoo.
        pretrained: A checkpoint. True takes the checkpoint that the config or the zoo names; None takes random weights.
        device: The device to run on. None takes the device of the model, or the CPU for a new model.
        classes: Names of the classes. None takes those in the checkpoint, or else those of the config's data set.
        thr: The lowest probability of a predicted label: one number, one number per class, or a file that
            ``tools/analysis_tools/tune_threshold.py`` wrote.
        topk: The largest number of labels per picture. None sets no limit.
        **kwargs: Further arguments of :class:`mmpretrain.apis.ImageClassificationInferencer`.

    Raises:
        ValueError: For thresholds outside [0, 1] or ``topk`` < 1; when called, if the number of thresholds or of
            ``classes`` differs from the number of classes of the model.

    Example:
        >>> config = 'configs/digit_scenes/digitnet-asl_ft-1xb16_digitscenes-48px.py'
        >>> inferencer = MultiLabelInferencer(config, pretrained=None, thr=0.0, topk=2)
        >>> result = inferencer(np.zeros((48, 48, 3), np.uint8))[0]
        >>> len(result['pred_class']), len(result['pred_scores'])
        (2, 80)
    """

    visualize_kwargs = {'show_dir', 'draw_score', 'resize', 'rescale_factor'}

    def __init__(
        self,
        model,
        pretrained: str | bool | None = True,
        device: str | torch.device | None = None,
        classes: Sequence[str] | None = None,
        thr: float | Sequence[float] | str = 0.5,
        topk: int | None = None,
        **kwargs,
    ) -> None:
        if topk is not None and topk < 1:
            raise ValueError(f'topk: expected an integer above 0 or None, got {topk}')
        self.thr, self.topk = read_thresholds(thr), topk
        super().__init__(model, pretrained, device, classes, **kwargs)

    def __call__(self, inputs, return_datasamples: bool = False, batch_size: int = 1, **kwargs) -> list:
        """Return the labels of all inputs in their order.

        Args:
            inputs: The path of a picture or of a folder (including its subfolders), an array ``(H, W, 3)`` of uint8 in
                **BGR**, as mmcv loads pictures, or a list of these.
            return_datasamples: Return MMPretrain's data samples instead of dicts.
            batch_size: Number of pictures in one forward pass.
            **kwargs: ``show_dir``, a folder for the pictures with their labels drawn; ``draw_score``, ``resize`` and
                ``rescale_factor`` as in MMPretrain.

        Returns:
            For each input, a dict with ``pred_label`` (class indices, the most probable first), ``pred_class`` (their
            names), ``pred_score`` (their probabilities) and ``pred_scores`` (``(C,)``, the probabilities of all
            classes). For an input that cannot be read, the dict has only ``error`` with the reason.
        """
        return list(self.stream(inputs, batch_size, return_datasamples, **kwargs))

    def stream(self, inputs, batch_size: int = 1, return_datasamples: bool = False, **kwargs) -> Iterator:
        """Yield the same results one by one, so that a large folder need not fit into memory."""
        _, _, visualize_kwargs, _ = self._dispatch_kwargs(**kwargs)
        show_dir, drawn = visualize_kwargs.pop('show_dir', None), Counter()
        for chunk in batched(list_pictures(inputs), batch_size):
            loaded, results = [], [None] * len(chunk)
            for number, source in enumerate(chunk):
                try:
                    loaded.append((number, load_picture(source)))
                except ValueError as error:
                    results[number] = dict(error=str(error))
            samples = self._predict([picture for _, picture in loaded])
            for (number, picture), sample in zip(loaded, samples, strict=True):
                if show_dir is not None:
                    name = Path(chunk[number]).stem if isinstance(chunk[number], str) else '0'
                    self.draw(picture, sample, f'{drawing_folder(show_dir, name, drawn)}/{name}.png', visualize_kwargs)
                results[number] = sample if return_datasamples else self.postprocess([sample], None)[0]
            yield from results

    def _predict(self, pictures: list[np.ndarray]) -> list[DataSample]:
        if not pictures:
            return []
        infos = [dict(img=img, img_shape=img.shape[:2], ori_shape=img.shape[:2]) for img in pictures]
        samples = self.forward(default_collate([self.pipeline(info) for info in infos]))
        for sample in samples:
            scores = sample.pred_score
            if self.classes is not None and len(self.classes) != len(scores):
                raise ValueError(f'classes: expected {len(scores)} names, got {len(self.classes)}')
            thr = scores.new_tensor(read_thresholds(self.thr, len(scores)))
            ranked = scores.argsort(descending=True, stable=True)
            sample.set_pred_label(ranked[(scores >= thr)[ranked]][: self.topk])
        return samples

    def draw(self, picture: np.ndarray, sample: DataSample, file: str, visualize_kwargs: dict) -> None:
        """Draw the labels of ``sample`` into ``file``; MMPretrain would draw a.1.jpg and a.2.jpg into one file."""
        self.visualizer = self.visualizer or UniversalVisualizer()
        self.visualizer.visualize_cls(
            picture[..., ::-1],
            sample,
            classes=self.classes,
            draw_gt=False,
            name=file,
            out_file=file,
            **visualize_kwargs,
        )

    def postprocess(self, preds: list[DataSample], visualization, return_datasamples: bool = False) -> list:
        """Return the results of :meth:`__call__` from the predictions of the model."""
        if return_datasamples:
            return preds
        results = []
        for sample in preds:
            scores, labels = sample.pred_score.cpu().numpy(), sample.pred_label.tolist()
            result = dict(pred_label=labels, pred_score=[float(scores[i]) for i in labels], pred_scores=scores)
            if self.classes is not None:
                result['pred_class'] = [self.classes[i] for i in labels]
            results.append(result)
        return results
