"""The single-label rows are the losses they are called, in the head and on the class indices that MMPretrain passes."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from mmengine import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

FOLDER = Path(__file__).resolve().parents[2] / 'configs' / 'digit_scenes_single'
ROWS = ('softmax-ce', 'softmax-ls', 'softmax-fl', 'softmax-asl', 'sigmoid-ce', 'sigmoid-fl', 'sigmoid-asl')
LABELS = torch.tensor([3, 0, 79, 12])


def load(row):
    return Config.fromfile(FOLDER / f'digitnet-{row}_ft-1xb32_digitscenes-tail-48px.py')


def test_all_rows_are_tested_and_differ_in_loss_and_learning_rate_only():
    assert {path.stem for path in FOLDER.glob('*.py')} == {Path(load(row).filename).stem for row in ROWS}
    configs = [load(row).to_dict() for row in ROWS]
    for cfg in configs:
        cfg['model']['head'].pop('loss')
        cfg['param_scheduler'].pop('eta_max')
    assert all(cfg == configs[0] for cfg in configs)


def expected(row, z):
    """The loss of a row in plain torch, a mean over the images."""
    p, sigmoid = z.softmax(1), z.sigmoid()
    own = p.gather(1, LABELS[:, None])[:, 0]
    one_hot = F.one_hot(LABELS, 80).double()
    p_m = (sigmoid - 0.05).clamp(min=0)
    smoothed = 0.9 * one_hot + 0.1 / 80
    rows = {
        'softmax-ce': -own.log(),
        'softmax-ls': -(smoothed * p.log()).sum(1),
        'softmax-fl': -((1 - own) ** 2) * own.log(),
        'softmax-asl': -(torch.where(one_hot == 1, 1.0, p**4) * smoothed * p.log()).sum(1),
        'sigmoid-ce': F.binary_cross_entropy(sigmoid, one_hot, reduction='none').sum(1),
        'sigmoid-fl': -(
            one_hot * (1 - sigmoid) ** 2 * sigmoid.log() + (1 - one_hot) * sigmoid**2 * (1 - sigmoid).log()
        ).sum(1),
        'sigmoid-asl': -(one_hot * sigmoid.log() + (1 - one_hot) * p_m**4 * (1 - p_m).log()).sum(1),
    }
    return rows[row].mean()


@pytest.mark.parametrize('row', ROWS)
def test_the_head_trains_with_the_loss_of_the_row(row):
    init_default_scope('mmpretrain')
    head = MODELS.build(load(row).model.head).double()
    features = torch.randn(4, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    samples = [DataSample().set_gt_label([int(label)]) for label in LABELS]  # DigitScenes gives lists
    z = 3 * head.fc(features).detach().requires_grad_()
    loss = head._get_loss(z, samples)['loss']
    torch.testing.assert_close(loss, expected(row, z))
    gradients = [torch.autograd.grad(value, z)[0] for value in (loss, expected(row, z))]
    torch.testing.assert_close(*gradients)
    predicted = head.predict((features,), samples)  # softmax does not change the order of sigmoid scores
    assert [sample.pred_label.item() for sample in predicted] == head.fc(features).argmax(1).tolist()
