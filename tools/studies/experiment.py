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

from mmasl.cli.cfg_options import merge_options
from mmasl.engine.check_classes import innermost

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
        overrides: Changes of the config in the form of ``--cfg-options``: ``{'train_cfg.max_epochs': 2}``.
        seed: The seed of the weights that are not loaded and of the order of the data.
        split: 'test', or 'val' to evaluate on the validation split, on which hyper-parameters are chosen.
        work_dir: The folder of the logs and the last checkpoint. None keeps nothing and does not validate in training.
        evaluate_training: Evaluate the training data too, with their own labels and the pipeline of the test data.

    Returns:
        The values of the config's metrics by the last part of their names, and the last values of the scalars that
        hooks have logged in training, such as ``gamma_neg``. Metrics of the training data have the prefix ``train_``.

    Raises:
        ValueError: If ``split`` is neither 'val' nor 'test'.
        UserError: If the training diverges, so that the loss or a logit becomes NaN or infinite.
    """
    if split not in ('val', 'test'):
        raise ValueError(f"split must be 'val' or 'test', got {split!r}")
    cfg = Config.fromfile(config)
    merge_options(cfg, overrides or {})
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='mmasl.StopAtNaNHook')]
    cfg.randomness = dict(seed=seed)
    cfg.log_level = logging.getLevelName(logging.WARNING)
    cfg.experiment_name = f'{Path(config).stem}_{uuid.uuid4().hex}'  # several may run in one process
    if 'visualizer' in cfg:
        cfg.visualizer.name = cfg.experiment_name  # by the name in MMDetection's configs the next run would find it
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
    """Return everything that the result of a training depends on, as JSON.

    This is the specification of a cell of a grid. :func:`run_trial` trains it.

    Args:
        config, overrides, seed, split: See :func:`train_and_test`.
        seed_keys: Keys of the config that get the seed too, such as ``train_dataloader.dataset.seed``.
        shown: Keys of the config whose values are shown in tables, by their names in the specification.
        **labels: Names of the cell in tables, such as ``loss='asl'``. They do not change the training.

    Returns:
        The arguments, without overrides that change nothing, and with the path of the config relative to the root of
        the repository. ``settings`` is a digest of model, data, evaluation and training in the config with its
        overrides, so a cell is no longer finished if its config has changed. Specifications of two seeds differ in
        ``seed`` alone.
    """
    path = Path(config).resolve()
    cfg = Config.fromfile(path)
    overrides = {key: value for key, value in (overrides or {}).items() if value_at(cfg, key) != value}
    merge_options(cfg, overrides)
    parts = [f'{part}_{kind}' for part in ('train', split) for kind in ('dataloader', 'evaluator', 'cfg')]
    parts += ['model', 'optim_wrapper', 'param_scheduler', 'custom_hooks', 'load_from', 'auto_scale_lr']
    parts += ['data_preprocessor'] if 'data_preprocessor' in cfg else []
    text = json.dumps({part: cfg.get(part) for part in parts}, sort_keys=True, default=str)
    for place in (ROOT, path.parent):  # the place of the repository does not matter
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
    return json.loads(json.dumps(spec))  # tuples become lists, as in a file


def value_at(cfg: Config, key: str):
    """Return the value of a key such as ``model.head.loss`` or ``custom_hooks.0.type``, or None."""
    for part in key.split('.'):
        if isinstance(cfg, list):
            cfg = cfg[int(part)] if int(part) < len(cfg) else None
        else:
            cfg = cfg.get(part) if hasattr(cfg, 'get') else None
    return cfg


def run_trial(spec: dict, evaluate_training: bool = False, **overrides) -> dict[str, float]:
    """Train and evaluate the training of :func:`trial_spec`. ``overrides`` must not change the result."""
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
        next(innermost(dataset)).pipeline = next(innermost(cfg.test_dataloader.dataset)).pipeline
        loop = TestLoop(runner, dict(cfg.test_dataloader, dataset=dataset), cfg.test_evaluator)
        values.update({f'train_{name.rsplit("/", 1)[-1]}': float(value) for name, value in loop.run().items()})
    return values
