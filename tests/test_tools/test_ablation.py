"""The ablation tool on a miniature: what is run, kept and reported."""

import json
from pathlib import Path

import ablation as tool
import pytest
from grid import finished, keep_cell
from mmengine.config import Config

from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, Refusals, write_config

pytestmark = pytest.mark.usefixtures('empty_folder')

LOSS = 'model.head.loss'


def results(spec):
    """In place of a training: mAP by the parameters, which come back with it."""
    cfg = Config.fromfile(spec['config'])
    cfg.merge_from_dict(spec['overrides'])
    loss = cfg.model.head.loss
    return dict(mAP=10 * loss.gamma_neg + loss.get('gamma_pos', 0) + spec['seed'], loss=1.0)


def in_this_process(monkeypatch, trial):
    """Run the trials here, one after the other, by ``trial``; return the list of the names of those that have run."""
    ran = []

    def run(cells, args, function, describe, slurm):
        left = [name for name in cells if name not in finished(cells, args.cells, args.results)]
        for name in left:
            keep_cell(trial or function, args.cells, name, cells[name])
        ran.extend(left)
        return 0

    monkeypatch.setattr(tool, 'run_grid', run)
    return ran


@pytest.fixture
def no_training(monkeypatch):
    return in_this_process(monkeypatch, results)


def test_figure_6_of_the_paper(tmp_path, no_training):
    config = write_config(tmp_path, CLASSIFICATION)
    command = [
        config,
        '--paper',
        'fig6',
        '--seeds',
        '2',
        '--out',
        'out',
        '--seed-keys',
        'train_dataloader.dataset.seed',
    ]
    assert tool.main(command) == 0
    assert len(no_training) == 20 and no_training[0] == 'clip0_gamma_neg2_gamma_pos0_seed0'
    trials = {cell['cell']: cell for cell in map(json.loads, Path('out/trials.jsonl').read_text().splitlines())}
    spec = trials['clip0_gamma_neg4_gamma_pos3_seed1']['spec']
    assert spec['overrides'] == {f'{LOSS}.clip': 0.0, f'{LOSS}.gamma_pos': 3.0}  # gamma_neg is 4 in the config
    assert (spec['seed'], spec['seed_keys'], spec['split']) == (1, ['train_dataloader.dataset.seed'], 'val')
    assert trials['clip0_gamma_neg2_gamma_pos1_seed0']['result']['mAP'] == 21.0
    readme = Path('out/README.md').read_text()
    assert '| gamma_pos | mAP, gamma_neg = 2 | mAP, gamma_neg = 4 |' in readme
    assert '| 1 | 21.50 ± 0.71 (2) |' in readme
    assert '| 4 | **24.50 ± 0.71 (2)** | **44.50 ± 0.71 (2)** |' in readme
    assert Path('out/ablation_fig6.png').stat().st_size > 1000 and '](ablation_fig6.png)' in readme

    Path('out/README.md').write_text(readme.replace('# Results', '# Ours'))  # prose around the tables stays
    assert tool.main([*command, '--report']) == 0 and len(no_training) == 20
    assert Path('out/README.md').read_text() == readme.replace('# Results', '# Ours')
    tool.main([config, '--paper', 'fig5', '--out', 'out', '--seed-keys', 'train_dataloader.dataset.seed'])
    assert no_training[20:] == [f'clip0_gamma_neg{g}_gamma_pos{g}_seed0' for g in (0, 1, 3, 6)]  # 2 and 4 are fig6's


def test_table_2_has_the_best_of_each_method(tmp_path, no_training):
    config = write_config(tmp_path, CLASSIFICATION)
    tool.main([config, '--paper', 'fig5', 'fig7', 'weighting', '--out', 'out'])
    assert 'table2' not in Path('out/README.md').read_text()  # a row is still to come
    tool.main([config, '--paper', 'asymmetries', '--out', 'out'])
    readme = Path('out/README.md').read_text()
    assert '| FL | 66.00 (1) | gamma_pos = gamma_neg = 6 |' in readme
    assert '| Focusing (ASL) | 40.00 (1) | gamma_neg = 4, clip = 0 |' in readme
    assert '| Probability margin (ASL) | 44.00 (1) | clip = 0.05, gamma_pos = gamma_neg = 4 |' in readme


def test_ablations_of_ones_own(tmp_path, no_training, capsys):
    config = write_config(tmp_path, CLASSIFICATION)
    axes = ['--x', f'{LOSS}.gamma_pos+{LOSS}.gamma_neg=1,2.5', '--lines', 'optim_wrapper.optimizer.type=SGD,Adam']
    assert tool.main([config, *axes, '--name', 'own', '--cfg-options', 'train_cfg.max_epochs=3']) == 0
    assert no_training == [
        f'gamma_neg{g}_gamma_pos{g}_type{o}_max_epochs3_seed0' for o in ('SGD', 'Adam') for g in (1, 2.5)
    ]
    page = Path(f'work_dirs/ablation/{Path(config).stem}/README.md').read_text()
    assert '| gamma_pos = gamma_neg | mAP, type = SGD | mAP, type = Adam |' in page
    assert '| 1 | 11.00 (1) | 11.00 (1) |\n| 2.5 | **27.50 (1)** | **27.50 (1)** |' in page
    assert tool.main([config, *axes, '--name', 'own', '--cfg-options', 'train_cfg.max_epochs=3', '--metric', 'x']) == 1
    assert "--metric: the trials have no 'x', but mAP, loss" in capsys.readouterr().err


def test_table_3_of_the_paper_by_real_trainings(tmp_path, monkeypatch):
    """The last value of what a hook logs is a measure too."""
    monkeypatch.setitem(tool.PAPER, 'table3', tool.PAPER['table3'] | dict(x='delta_p_target=0,0.5'))
    ran = in_this_process(monkeypatch, None)
    config = write_config(tmp_path, CLASSIFICATION.replace("'MultiLabelMetric', thr=0.02", "'mmasl.MultiLabelMetric'"))
    start = ['--cfg-options', f'{LOSS}.step_size=1.0', f'{LOSS}.momentum=0.0', 'default_hooks.asymmetry.interval=1']
    command = [config, '--paper', 'table3', *start, '--metric', 'mAP', 'gamma_neg', '--out', 'out']
    assert tool.main(command) == 0
    assert len(ran) == 2 and all('AdaptiveAsymmetricLoss' in name for name in ran)
    cells = [json.loads(line) for line in Path('out/trials.jsonl').read_text().splitlines()]
    assert all(0 < cell['result']['mAP'] < 100 for cell in cells)
    by_target = {cell['spec']['overrides'].get(f'{LOSS}.delta_p_target', 0): cell['result'] for cell in cells}
    low, high = by_target[0]['gamma_neg'], by_target[0.5]['gamma_neg']
    assert high > low and low != 4.0  # a larger target ends with a larger exponent, as in the paper
    assert '| delta_p_target | mAP | gamma_neg |' in Path('out/README.md').read_text()


def test_detectors(tmp_path):
    config = write_config(tmp_path, DETECTION)
    args = tool.parse_args([config, '--paper', 'weighting'])
    ablation = tool.make_ablations(args)['weighting']
    assert ablation.x.keys == ('model.bbox_head.loss_cls.alpha',)
    assert [x for x, _, _ in ablation.trials()] == pytest.approx([0.5 + 0.05 * i for i in range(10)])


@pytest.mark.parametrize(
    'argv, text',
    [
        (['--x', 'experiment_name=a/b,a-b'], 'two different trials are called experiment_namea-b_seed0: run their'),
        ([], 'expected --paper with one of fig5, fig6, fig7, weighting, '),
        (['--x', f'{LOSS}.gamma_neg'], f"--x: expected key=value,value,... or key+key=value,value,..., got '{LOSS}."),
        (
            ['--x', 'a=1', '--lines', '+b=1'],
            "--lines: expected key=value,value,... or key+key=value,value,..., got '+b=1'",
        ),
        (['--x', f'{LOSS}.gama_neg=1'], f"--cfg-options: no key 'gama_neg' in {LOSS} (mmasl.AsymmetricLoss); did you "),
        (['--x', f'{LOSS}.gamma_neg=1', '--report'], 'expected finished cells in work_dirs/ablation/'),
    ],
)
def test_refusals(argv, text, tmp_path, capsys):
    refuse = Refusals('studies/ablation', capsys)
    assert refuse(write_config(tmp_path, CLASSIFICATION), *argv).startswith(text)


def test_a_config_without_the_loss_is_refused(tmp_path, capsys):
    focal = CLASSIFICATION.replace("type='mmasl.AsymmetricLoss', gamma_neg=4.0", "type='FocalLoss'")
    text = Refusals('studies/ablation', capsys)(write_config(tmp_path, focal), '--paper', 'fig5')
    assert text.startswith('--paper varies the arguments of mmasl.AsymmetricLoss, which is 0 times in the config')
    assert 'model.head.loss: FocalLoss' in text
