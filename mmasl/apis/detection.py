"""Boxes of pictures from a trained detector, by MMDetection's inferencer."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mmdet.apis import DetInferencer

from mmasl.apis.pictures import drawing_folder, list_pictures, load_picture


def detect(inferencer: DetInferencer, inputs, thr: float = 0.3, show_dir: str | None = None) -> Iterator[dict]:
    """Yield for each picture what ``inferencer`` finds, and go on where a picture cannot be read.

    Args:
        inferencer: MMDetection's.
        inputs: The path of a picture or of a folder (its subfolders too), an array ``(H, W, 3)`` of uint8 in BGR, or a
            list of these.
        thr: Lowest score of a box.
        show_dir: Folder for the pictures with their boxes drawn in, under ``vis/``.

    Yields:
        A dict of ``pred_label``, ``pred_class``, ``pred_score`` and ``pred_bbox`` (x1, y1, x2, y2), a list each, the
        most probable first; or, for an input that cannot be read, of ``error`` alone, with the reason.
    """
    classes, drawn = inferencer.model.dataset_meta['classes'], Counter()
    for source in list_pictures(inputs):
        try:
            load_picture(source)
        except ValueError as error:
            yield dict(error=str(error))
            continue
        out_dir = ''
        if show_dir is not None:  # upstream numbers arrays
            out_dir = drawing_folder(show_dir, Path(source).name, drawn) if isinstance(source, str) else show_dir
        found = inferencer(source, out_dir=out_dir, no_save_vis=show_dir is None, pred_score_thr=thr)['predictions'][0]
        kept = [i for i, score in enumerate(found['scores']) if score >= thr]
        kept.sort(key=lambda i: -found['scores'][i])
        yield dict(
            pred_label=[found['labels'][i] for i in kept],
            pred_class=[classes[found['labels'][i]] for i in kept],
            pred_score=[found['scores'][i] for i in kept],
            pred_bbox=[found['bboxes'][i] for i in kept],
        )
