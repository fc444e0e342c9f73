"""One experiment: a config with changes, trained and evaluated through MMEngine's runner."""

import hashlib
import json
import logging
import tempfile
import uuid
from pathlib import Path

from mmengine import Config
from mmengine.runner import Runner


def train_and_test(
    config: str | Path,
    overrides: dict | None = None,
    seed: int = 0,
    split: str = 'test',
    work_dir: str | Path | None = None,
) -> dict[str, float]:
    """Train a config from its first to its last epoch and evaluate the weights of the last one.

    Args:
        config: A config file.
        overrides: Changes, as ``--cfg-options`` has them: ``{'train_cfg.max_epochs': 2}``.
        seed: Of the weights that are not loaded, and of the order of the data.
        split: 'test', or 'val' to evaluate on the validation split, which is what hyper-parameters are chosen on.
        work_dir: Where logs and the last checkpoint stay. None keeps nothing, and does not validate while training.

    Returns:
        The values of the config's metrics, the last part of their names as keys; beside them the last values of what
        hooks have logged in training, such as ``gamma_neg``.

    Raises:
        ValueError: If ``split`` is neither 'val' nor 'test'.
    """
    if split not in ('val', 'test'):
        raise ValueError(f"split must be 'val' or 'test', got {split!r}")
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(overrides or {})
    cfg.randomness = dict(seed=seed)
    cfg.log_level = logging.getLevelName(logging.WARNING)
    cfg.experiment_name = f'{Path(config).stem}_{uuid.uuid4().hex}'  # several may run in one process
    if 'visualizer' in cfg:
        cfg.visualizer.name = cfg.experiment_name  # MMDetection's have a name, under which the next run would find it
    if split == 'val':
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    if work_dir is not None:
        return _run(cfg, work_dir)
    cfg.default_hooks.checkpoint = None
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    with tempfile.TemporaryDirectory() as folder:
        return _run(cfg, folder)


def trial_spec(config: str | Path, overrides: dict, seed: int, split: str = 'val') -> dict:
    """All that the result of a trial depends on, as JSON: the cell of a grid whose function is :func:`run_trial`.

    Args:
        config, overrides, seed, split: See :func:`train_and_test`.

    Returns:
        The arguments, and under ``settings`` a digest of what the config then says of model, data, evaluation and
        training: a trial of a config that was changed counts as not finished.
    """
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(overrides)
    parts = [f'{part}_{kind}' for part in ('train', split) for kind in ('dataloader', 'evaluator', 'cfg')]
    parts += ['model', 'optim_wrapper', 'param_scheduler', 'custom_hooks', 'load_from', 'auto_scale_lr']
    # without the place where the repository lies
    text = json.dumps({part: cfg.get(part) for part in parts}, sort_keys=True, default=str)
    text = text.replace(str(Path(config).resolve().parent), '')
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return dict(config=str(config), overrides=overrides, seed=seed, split=split, settings=digest)


def run_trial(spec: dict) -> dict[str, float]:
    """Train and evaluate what a :func:`trial_spec` says."""
    metrics = train_and_test(spec['config'], spec['overrides'], spec['seed'], spec['split'])
    return {name: round(value, 4) for name, value in metrics.items()}


def _run(cfg, work_dir):
    cfg.work_dir = str(work_dir)
    runner = Runner.from_cfg(cfg)
    runner.train()
    logged = {name: buffer.current() for name, buffer in runner.message_hub.log_scalars.items()}
    values = {name: value for name, value in logged.items() if name.startswith('train/') and 'time' not in name}
    values.update(runner.test())
    return {name.rsplit('/', 1)[-1]: float(value) for name, value in values.items()}
