"""The ablation tool on a miniature: what is run, kept and reported."""

import json
from pathlib import Path

import ablation as tool
import pytest
from grid import read_cell

from mmasl.files import write_json
from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, Refusals, write_config

LOSS = 'model.head.loss'


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def results(spec):
    """In place of a training: mAP by the parameters, which come back with it."""
    constants = {key.rsplit('.', 1)[-1]: value for key, value in spec['overrides'].items()}
    return dict(mAP=10 * constants['gamma_neg'] + constants.get('gamma_pos', 0) + spec['seed'], loss=1.0)


def in_this_process(monkeypatch, trial):
    """Run the trials here, one after the other, by ``trial``; return the list of the names of those that have run."""
    ran = []

    def run(cells, folder, function, describe, **options):
        for name, spec in cells.items():
            if read_cell(folder, name, spec) is None:
                write_json(folder / f'{name}.json', dict(spec=spec, result=(trial or function)(spec), seconds=1.0))
                ran.append(name)
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
    trial = json.loads(Path('out/trials/clip0_gamma_neg4_gamma_pos3_seed1.json').read_text())['spec']
    assert trial['overrides'] == {
        f'{LOSS}.clip': 0.0,
        f'{LOSS}.gamma_neg': 4.0,
        f'{LOSS}.gamma_pos': 3.0,
        'train_dataloader.dataset.seed': 1,
    }
    report = json.loads(Path('out/fig6.json').read_text())
    assert (report['x'], report['lines'], report['split']) == ('gamma_pos', 'gamma_neg', 'val')
    measured = dict(mAP=dict(mean=21.5, std=0.7071, n=2), values=dict(mAP=[21.0, 22.0]))
    assert report['points'][1] == dict(x=1.0, line=2.0, seeds=[0, 1], **measured)
    readme = Path('out/README.md').read_text()
    assert '| gamma_pos | mAP, gamma_neg = 2 | mAP, gamma_neg = 4 |' in readme
    assert '| 4 | **24.50 ± 0.71 (2)** | **44.50 ± 0.71 (2)** |' in readme
    assert Path('out/fig6.png').stat().st_size > 1000 and '</svg>' in Path('out/fig6.svg').read_text()

    Path('out/README.md').write_text(readme.replace('# Ablations', '# Ours'))  # prose around the tables stays
    assert tool.main([*command, '--report']) == 0 and len(no_training) == 20
    assert Path('out/README.md').read_text() == readme.replace('# Ablations', '# Ours')
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
    report = json.loads(Path(f'work_dirs/ablation/{Path(config).stem}/own.json').read_text())
    assert [(point['x'], point['line'], point['mAP']['mean']) for point in report['points'][:2]] == [
        (1.0, 'SGD', 11.0),
        (2.5, 'SGD', 27.5),
    ]
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
    points = json.loads(Path('out/table3.json').read_text())['points']
    assert all(0 < point['mAP']['mean'] < 100 for point in points)
    low, high = (point['gamma_neg']['mean'] for point in points)
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
        (['--x', f'{LOSS}.gamma_neg=1', '--report'], 'ablation: no trial is finished in work_dirs/ablation/'),
    ],
)
def test_refusals(argv, text, tmp_path, capsys):
    refuse = Refusals('studies/ablation', capsys)
    assert refuse(write_config(tmp_path, CLASSIFICATION), *argv).startswith(text)


def test_a_config_without_the_loss_is_refused(tmp_path, capsys):
    focal = CLASSIFICATION.replace("type='mmasl.AsymmetricLoss', gamma_neg=4.0", "type='FocalLoss'")
    text = Refusals('studies/ablation', capsys)(write_config(tmp_path, focal), '--paper', 'fig5')
    assert text.startswith('--paper varies the arguments of mmasl.AsymmetricLoss, which stands 0 times in the config')
    assert 'model.head.loss: FocalLoss' in text
