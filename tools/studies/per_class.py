"""One γ₋ for each class against one for all, by frequency of the classes: MS-COCO's features, a linear classifier.

python tools/studies/per_class.py --features data/features     # appends to results/per_class.jsonl
"""

import argparse
import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
import torch
from feature_training import drop_positives, measure
from features import arrays

from mmasl.models.classifiers import FeatureClassifier

BATCH, EPOCHS, RATE = 64, 12, 1e-3
KINDS = {'global': {}, 'per class': dict(per_class=True, num_classes=80)}


def train(x: torch.Tensor, y: torch.Tensor, loss: dict, seed: int) -> FeatureClassifier:
    torch.manual_seed(seed)
    per_epoch = len(y) // BATCH
    total = EPOCHS * per_epoch
    loss = dict(type='mmasl.AdaptiveAsymmetricLoss', total_steps=total, **loss)
    model = FeatureClassifier(loss, None, x.shape[1], y.shape[1], (), dropout=0.2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total, pct_start=0.25)
    for step in range(total):
        if step % per_epoch == 0:
            order = torch.randperm(len(y))
        rows = order[step % per_epoch * BATCH :][:BATCH]
        optimizer.zero_grad()
        model(x[rows], y[rows], mode='loss')['loss'].backward()
        optimizer.step()
        cycle.step()
    return model.eval()


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--features', type=Path, default=Path('data/features'))
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--results', type=Path, default=Path(__file__).parent / 'results' / 'per_class.jsonl')
    args = parser.parse_args(argv)
    keys = ('seed', 'missing', 'target', 'name')
    lines = args.results.read_text().splitlines() if args.results.exists() else []
    done = [tuple(json.loads(line)[key] for key in keys) for line in lines]
    views, labels, test_x, test_y = arrays(args.features, 'coco', 'test', 1)
    for cell in product(range(args.seeds), (0.0, 0.4), (0.1, 0.2), KINDS):
        if cell in done:
            continue
        seed, missing, target, name = cell
        y = drop_positives(labels, missing, seed)
        model = train(views[0], y, dict(delta_p_target=target, **KINDS[name]), seed)
        with torch.no_grad():
            found = measure(model(test_x).sigmoid(), test_y)
        thirds = np.array_split(np.argsort(-(y == 1).sum(0).numpy(), kind='stable'), 3)
        gamma = model.loss_module.gamma_neg.flatten()
        result = dict(zip(keys, cell, strict=True), mAP=round(found['mAP'], 3))
        result['groups'] = [round(float(np.nanmean(found['AP'][third])), 2) for third in thirds]
        result['gamma'] = [round(value.item(), 2) for value in (gamma.min(), gamma.mean(), gamma.max())]
        result['delta_p'] = round(found['delta_p'], 3)
        with open(args.results, 'a') as file:
            file.write(json.dumps(result) + '\n')
        print(result, flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
