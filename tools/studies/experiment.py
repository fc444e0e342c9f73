"""One experiment: a config with changes, trained and evaluated through MMEngine's runner."""

import copy
import hashlib
import json
import logging
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from mmengine import Config
from mmengine.runner import Runner, TestLoop

ROOT = Path(__file__).resolve().parents[2]


def train_and_test(
    config: str | Path,
    overrides: dict | None = None,
    seed: int = 0,
    split: str = 'test',
    work_dir: str | Path | None = None,
    evaluate_training: bool = False,
) -> dict[str, float]:
    """Train a config from its first to its last epoch and evaluate the weights of the last one.

    Args:
        config: A config file.
        overrides: Changes, as ``--cfg-options`` has them: ``{'train_cfg.max_epochs': 2}``.
        seed: Of the weights that are not loaded, and of the order of the data.
        split: 'test', or 'val' to evaluate on the validation split, which is what hyper-parameters are chosen on.
        work_dir: Where logs and the last checkpoint stay. None keeps nothing, and does not validate while training.
        evaluate_training: Evaluate the training data too, by their own labels and with the pipeline of the test data.

    Returns:
        The values of the config's metrics, the last part of their names as keys; beside them the last values of what
        hooks have logged in training, such as ``gamma_neg``; with ``train_`` before their names those on training data.

    Raises:
        ValueError: If ``split`` is neither 'val' nor 'test'.
        UserError: If the loss or a logit becomes NaN or infinite: the training has diverged.
    """
    if split not in ('val', 'test'):
        raise ValueError(f"split must be 'val' or 'test', got {split!r}")
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(overrides or {})
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='mmasl.StopAtNaNHook')]
    cfg.randomness = dict(seed=seed)
    cfg.log_level = logging.getLevelName(logging.WARNING)
    cfg.experiment_name = f'{Path(config).stem}_{uuid.uuid4().hex}'  # several may run in one process
    if 'visualizer' in cfg:
        cfg.visualizer.name = cfg.experiment_name  # MMDetection's have a name, under which the next run would find it
    if split == 'val':
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    if work_dir is not None:
        return _run(cfg, work_dir, evaluate_training)
    cfg.default_hooks.checkpoint = None
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    with tempfile.TemporaryDirectory() as folder:
        return _run(cfg, folder, evaluate_training)


def trial_spec(
    config: str | Path,
    overrides: dict | None = None,
    seed: int = 0,
    split: str = 'val',
    seed_keys: Sequence[str] = (),
    shown: dict[str, str] | None = None,
    **labels,
) -> dict:
    """All that the result of a training depends on, as JSON: a cell of a grid, which :func:`run_trial` trains.

    Args:
        config, overrides, seed, split: See :func:`train_and_test`.
        seed_keys: Keys of the config that get the seed too, such as ``train_dataloader.dataset.seed``.
        shown: Keys of the config whose values tables show, by the name that they get in the specification.
        **labels: What tables call the cell by, such as ``loss='asl'``; they do not change the training.

    Returns:
        The arguments, without overrides that change nothing and with the config's path from the root of the
        repository; and under ``settings`` a digest of what config and overrides say of model, data, evaluation and
        training, so that a cell counts as not finished once its config has changed. Specifications of two seeds
        differ in ``seed`` alone.
    """
    path = Path(config).resolve()
    cfg = Config.fromfile(path)
    overrides = {key: value for key, value in (overrides or {}).items() if value_at(cfg, key) != value}
    cfg.merge_from_dict(overrides)
    parts = [f'{part}_{kind}' for part in ('train', split) for kind in ('dataloader', 'evaluator', 'cfg')]
    parts += ['model', 'optim_wrapper', 'param_scheduler', 'custom_hooks', 'load_from', 'auto_scale_lr']
    text = json.dumps({part: cfg.get(part) for part in parts}, sort_keys=True, default=str)
    for place in (ROOT, path.parent):  # where the repository lies does not matter
        text = text.replace(str(place), '')
    spec = dict(
        config=str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path),
        overrides=overrides,
        seed=seed,
        split=split,
        seed_keys=seed_keys,
        settings=hashlib.sha256(text.encode()).hexdigest()[:12],
        **labels,
        **{name: value_at(cfg, key) for name, key in (shown or {}).items()},
    )
    return json.loads(json.dumps(spec))  # as a file gives it back: lists for tuples


def value_at(cfg: Config, key: str):
    """Return the value of a key such as ``model.head.loss`` or ``custom_hooks.0.type``, None where there is none."""
    for part in key.split('.'):
        if isinstance(cfg, list):
            cfg = cfg[int(part)] if int(part) < len(cfg) else None
        else:
            cfg = cfg.get(part) if hasattr(cfg, 'get') else None
    return cfg


def run_trial(spec: dict, evaluate_training: bool = False, **overrides) -> dict[str, float]:
    """Train and evaluate what a :func:`trial_spec` says, with ``overrides`` that do not change the result."""
    changes = {**spec['overrides'], **dict.fromkeys(spec['seed_keys'], spec['seed']), **overrides}
    metrics = train_and_test(
        ROOT / spec['config'], changes, spec['seed'], spec['split'], evaluate_training=evaluate_training
    )
    return {name: round(value, 4) for name, value in metrics.items()}


def _run(cfg, work_dir, evaluate_training):
    cfg.work_dir = str(work_dir)
    runner = Runner.from_cfg(cfg)
    runner.train()
    logged = {name: buffer.current() for name, buffer in runner.message_hub.log_scalars.items()}
    values = {name: value for name, value in logged.items() if name.startswith('train/') and 'time' not in name}
    values.update(runner.test())
    values = {name.rsplit('/', 1)[-1]: float(value) for name, value in values.items()}
    if evaluate_training:
        dataset = copy.deepcopy(cfg.train_dataloader.dataset)
        _innermost(dataset).pipeline = _innermost(cfg.test_dataloader.dataset).pipeline
        loop = TestLoop(runner, dict(cfg.test_dataloader, dataset=dataset), cfg.test_evaluator)
        values.update({f'train_{name.rsplit("/", 1)[-1]}': float(value) for name, value in loop.run().items()})
    return values


def _innermost(dataset):
    return _innermost(dataset.dataset) if 'dataset' in dataset else dataset
