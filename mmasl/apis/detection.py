"""Detection in pictures with a trained detector and MMDetection's inferencer."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
from mmdet.apis import DetInferencer

from mmasl.apis.pictures import drawing_folder, list_pictures, load_picture


def detect(inferencer: DetInferencer, inputs, thr: float = 0.3, show_dir: str | None = None) -> Iterator[dict]:
    """Yield the boxes that ``inferencer`` finds in each picture, and continue after pictures that cannot be read.

    Args:
        inferencer: The inferencer of MMDetection.
        inputs: The path of a picture or of a folder (including its subfolders), an array ``(H, W, 3)`` of uint8 in BGR,
            or a list of these.
        thr: Lowest score of a box.
        show_dir: Folder whose subfolder ``vis/`` gets the pictures with their boxes drawn.

    Yields:
        A dict with the lists ``pred_label``, ``pred_class``, ``pred_score`` and ``pred_bbox`` (x1, y1, x2, y2), in the
        order of falling scores. For an input that cannot be read, the dict has only ``error`` with the reason.
    """
    classes, drawn = inferencer.model.dataset_meta['classes'], Counter()
    for source in list_pictures(inputs):
        try:
            load_picture(source)
        except ValueError as error:
            yield dict(error=str(error))
            continue
        with TemporaryDirectory() as folder:
            out_dir = show_dir or ''  # MMDetection numbers arrays itself
            if show_dir is not None and isinstance(source, str):
                source = drawable(source, folder)
                out_dir = drawing_folder(show_dir, Path(source).name, drawn)
            predicted = inferencer(source, out_dir=out_dir, no_save_vis=show_dir is None, pred_score_thr=thr)
        found = predicted['predictions'][0]
        kept = [i for i, score in enumerate(found['scores']) if score >= thr]
        kept.sort(key=lambda i: -found['scores'][i])
        yield dict(
            pred_label=[found['labels'][i] for i in kept],
            pred_class=[classes[found['labels'][i]] for i in kept],
            pred_score=[found['scores'][i] for i in kept],
            pred_bbox=[found['bboxes'][i] for i in kept],
        )


def drawable(picture: str, folder: str) -> str:
    """Return ``picture``, or a copy in ``folder`` if OpenCV cannot write a drawing with its suffix, like ``.jfif``."""
    if cv2.haveImageWriter(picture):
        return picture
    return str(shutil.copy(picture, Path(folder, f'{Path(picture).name}.png')))
