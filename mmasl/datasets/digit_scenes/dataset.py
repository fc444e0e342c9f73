"""``DigitScenes``: real handwriting composed into colour scenes with the label statistics of MS-COCO."""

import numbers
from functools import lru_cache

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init

from mmasl.datasets.digit_scenes.composer import CLASS_NAMES, COLOURS, SPLITS, SceneSpec, sample_layout
from mmasl.datasets.digit_scenes.renderer import render_scene
from mmasl.datasets.missing_labels import check_missing
from mmasl.registry import DATASETS

_NUM_SCENES = {'train': 4000, 'val': 1000, 'test': 2000}


@DATASETS.register_module()
class DigitScenes(BaseDataset):
    """Scenes of coloured handwritten digits for multi-label classification and for detection, without files on disk.

    The handwriting is scikit-learn's ``load_digits`` (1,797 digits of 8×8 pixels). No handwritten digit is in two
    splits. Class frequencies follow Zipf's law over a fixed random order of the classes, which is the same in every
    split. Scene ``i`` depends only on the arguments and on ``i``, not on ``num_scenes``, workers, access order or
    machine. The sample contains the image, so a pipeline needs no loading transform::

        pipeline=[dict(type='RandomFlip', ...), dict(type='PackInputs')]        # MMPretrain
        pipeline=[dict(type='RandomFlip', ...), dict(type='PackDetInputs')]     # MMDetection

    A sample is a dict of

    - ``img`` (image_size, image_size, 3) uint8 in **BGR**, as mmcv loads images; transforms may change this copy;
    - ``img_shape``, ``ori_shape`` (h, w), ``height``, ``width``, ``img_id``, ``sample_idx`` and ``img_path``, a virtual
      name;
    - ``gt_label``: sorted list of the distinct labelled class ids (with ``missing_rate`` it may be empty);
    - ``gt_bboxes`` (n, 4) float32 in (x1, y1, x2, y2), ``gt_bboxes_labels`` (n,) int64, ``gt_ignore_flags`` (n,) bool,
      and the same as ``instances`` in MMDetection's format. A box encloses the entire digit, including covered parts.

    Args:
        split (str): 'train', 'val' or 'test'.
        num_scenes (int, optional): Number of scenes, at least 1. None: 4000, 1000 and 2000 for the three splits.
        image_size (int): Side of the square image in pixels, 32 to 1024. Digits grow with it.
        mean_labels (float): Mean number of distinct labels of a scene, 1 to 6 (a scene has 1 to 8).
        tail_exponent (float): Exponent of Zipf's law, 0 (balanced) to 2.
        missing_rate (float): Probability in [0, 1) that a label of a training scene is missing, independently for
            each. A missing label is removed from ``gt_label`` together with all boxes of that class in that scene; the
            pixels stay. Labels that are missing at one rate are missing at every higher rate. It applies to training
            only: the labels of val and test are complete.
        missing_unit (str): 'label' removes labels as above. 'box' removes each box independently of all others, as in
            partially annotated detection; a label is missing if all of its boxes are.
        seed (int): 0 to 2**32 − 1. Another seed gives other scenes with the same statistics.
        classes (str): 'digit_colour' gives 80 classes such as 'red 3' (class id = 10 · colour + digit). 'digit' gives
            10 classes that ignore the colour.
        single (bool): Show exactly one digit (and clutter) in each scene, with every class equally likely, for
            pre-training. ``mean_labels`` and ``tail_exponent`` then have no effect.
        cache (bool): Keep rendered scenes in memory. Each process keeps its own copy of ``3 · image_size²`` bytes per
            scene, and all data sets of the same scenes in that process share it.
        filter_cfg (dict, optional): ``dict(filter_empty_gt=True)`` leaves out scenes without labels; other keys have no
            effect.
        **kwargs: ``metainfo``, ``indices``, ``serialize_data``, ``pipeline``, ``test_mode``, ``lazy_init`` and
            ``max_refetch`` of :class:`mmengine.dataset.BaseDataset`.

    Raises:
        ValueError: If an argument is out of range, or ``missing_rate`` is set outside training or with ``single``.

    Example:
        >>> dataset = DigitScenes(split='test', num_scenes=10)
        >>> sample = dataset[0]
        >>> sample['img'].shape, sample['gt_bboxes'].dtype
        ((48, 48, 3), dtype('float32'))
        >>> len(dataset.metainfo['classes']), dataset.metainfo['classes'][3]
        (80, 'red 3')
    """

    METAINFO = {
        'dataset_type': 'DigitScenes',
        'classes': CLASS_NAMES['digit_colour'],
        'palette': [rgb for rgb in COLOURS.values() for _ in range(10)],
    }

    def __init__(
        self,
        split='train',
        num_scenes=None,
        image_size=48,
        mean_labels=2.9,
        tail_exponent=1.0,
        missing_rate=0.0,
        missing_unit='label',
        seed=0,
        classes='digit_colour',
        single=False,
        cache=True,
        metainfo=None,
        filter_cfg=None,
        **kwargs,
    ):
        named = (
            ('split', split, SPLITS),
            ('classes', classes, tuple(CLASS_NAMES)),
        )
        for name, value, choices in named:
            if value not in choices:
                raise ValueError(f'{name} must be one of {choices}, got {value!r}')
        check_missing(missing_rate, missing_unit)
        num_scenes = _NUM_SCENES[split] if num_scenes is None else num_scenes
        self.num_scenes = _checked('num_scenes', num_scenes, 1, 2**32 - 1, numbers.Integral)
        self.spec = SceneSpec(
            split=split,
            image_size=_checked('image_size', image_size, 32, 1024, numbers.Integral),
            mean_labels=_checked('mean_labels', mean_labels, 1, 6),
            tail_exponent=_checked('tail_exponent', tail_exponent, 0, 2),
            missing_rate=float(missing_rate),
            seed=_checked('seed', seed, 0, 2**32 - 1, numbers.Integral),
            classes=classes,
            single=bool(single),
            missing_unit=missing_unit,
        )
        if missing_rate and split != 'train':
            raise ValueError(f"missing_rate is for split='train' only, got {missing_rate} with split={split!r}")
        if missing_rate and single:
            raise ValueError(f'missing_rate must be 0 with single=True, got {missing_rate}')
        self.cache = cache
        self._images = _rendered_scenes(self.spec._replace(missing_rate=0.0)) if cache else {}
        if classes == 'digit':
            metainfo = {'classes': CLASS_NAMES['digit'], 'palette': 'random', **(metainfo or {})}
        super().__init__(metainfo=metainfo, data_prefix={}, filter_cfg=filter_cfg, **kwargs)

    def load_data_list(self):
        """Return the labels and boxes of all scenes, without pixels, as a list of dicts."""
        return [self._annotation(index) for index in range(self.num_scenes)]

    def _annotation(self, index):
        spec = self.spec
        layout = sample_layout(spec, index)
        return {
            'img_id': index,
            'img_path': f'digit_scenes/{spec.split}/{index:06d}.png',
            'height': spec.image_size,
            'width': spec.image_size,
            'gt_label': [label for label in layout.labels if label not in layout.missing],
            'instances': [
                {'bbox': [float(edge) for edge in digit.box], 'bbox_label': digit.label, 'ignore_flag': 0}
                for digit in layout.annotated
            ],
        }

    def filter_data(self):
        """Leave out scenes without a label if ``filter_cfg`` asks for it."""
        if not (self.filter_cfg or {}).get('filter_empty_gt', False):
            return self.data_list
        return [info for info in self.data_list if info['gt_label']]

    def get_data_info(self, idx):
        """Return the sample ``idx`` as the pipeline receives it, a dict that shares no memory (see the class)."""
        info = super().get_data_info(idx)
        instances = info['instances']
        info['img'] = self._image(info['img_id'])
        info['img_shape'] = info['ori_shape'] = (info['height'], info['width'])
        info['gt_bboxes'] = np.array([i['bbox'] for i in instances], dtype=np.float32).reshape(-1, 4)
        info['gt_bboxes_labels'] = np.array([i['bbox_label'] for i in instances], dtype=np.int64)
        info['gt_ignore_flags'] = np.zeros(len(instances), dtype=bool)
        return info

    @force_full_init
    def get_cat_ids(self, idx):
        """Return the labelled class ids of scene ``idx`` (list of int) without rendering it."""
        return super().get_data_info(idx)['gt_label']

    def _image(self, index):
        image = self._images.get(index)
        if image is None:
            image = np.ascontiguousarray(render_scene(self.spec, index)[..., ::-1])
            if self.cache:
                self._images[index] = image
        return image.copy() if self.cache else image

    def __getstate__(self):
        """Return the state without the rendered scenes, which can be rendered again."""
        return {**self.__dict__, '_images': {}}


@lru_cache(maxsize=3)  # training, validation and test of one experiment
def _rendered_scenes(spec):
    """Return the dict of the images of ``spec`` that this process has rendered, by index; a grid renders them once."""
    return {}


def _checked(name, value, low, high, kind=numbers.Real):
    """Return ``value`` as int or float, or raise unless it is a number of ``kind`` in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        what = 'an integer' if kind is numbers.Integral else 'a number'
        raise ValueError(f'{name} must be {what} from {low} to {high}, got {value!r}')
    return int(value) if kind is numbers.Integral else float(value)
