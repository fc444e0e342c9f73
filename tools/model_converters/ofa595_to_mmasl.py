"""Convert the published weights of OFA-595 (flops@595M_top1@80.0_finetune@75) to those of mmasl.OFA595 and its neck.

The file comes from the repository mit-han-lab/once-for-all: `ofa_specialized('flops@595M_top1@80.0_finetune@75')`.

Example:
    python tools/model_converters/ofa595_to_mmasl.py init checkpoints/ofa595_in1k.pth
"""

import sys

from mmasl.cli.flags import Parser
from mmasl.errors import UserError, command


def parse_args(argv=None):
    parser = Parser(description='Convert the published weights of OFA-595.')
    parser.add_argument('source', help='the file of once-for-all')
    parser.add_argument('out', help='the .pth file to write; the configs expect checkpoints/ofa595_in1k.pth')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import re

import torch

from mmasl.cli import checkpoints
from mmasl.files import atomic_file
from mmasl.models.backbones.ofa595 import STAGES

LAST = 1 + sum(len(kernels) for *_, kernels, _ in STAGES)
RENAMED = (
    (r'^first_conv\.', lambda _: 'backbone.layer0.'),
    (r'^blocks\.(\d+)\.(mobile_inverted_conv|conv)\.', lambda match: f'backbone.layer{int(match[1]) + 1}.'),
    (r'\.inverted_bottleneck\.', lambda _: '.expand_conv.'),
    (r'\.depth_conv\.se\.fc\.reduce\.', lambda _: '.se.conv1.conv.'),
    (r'\.depth_conv\.se\.fc\.expand\.', lambda _: '.se.conv2.conv.'),
    (r'\.depth_conv\.', lambda _: '.depthwise_conv.'),
    (r'\.point_linear\.', lambda _: '.linear_conv.'),
    (r'^final_expand_layer\.', lambda _: f'backbone.layer{LAST}.'),
    (r'^feature_mix_layer\.conv\.', lambda _: 'neck.fc.'),
    (r'^classifier\.linear\.', lambda _: 'head.fc.'),
)


def convert(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the published weights, and give the hidden layer a bias of zero, since the layer has a bias in MMPretrain.

    Args:
        state_dict: The weights under the names of once-for-all.

    Returns:
        Weights of an ``ImageClassifier`` of ``mmasl.OFA595``, a ``LinearNeck`` and a linear head of 1,000 classes.

    Raises:
        UserError: If a name belongs to no layer of OFA-595, or the hidden layer is missing.
    """
    converted = {}
    for name, value in state_dict.items():
        new = name
        for pattern, replacement in RENAMED:
            new = re.sub(pattern, replacement, new)
        if not new.startswith(('backbone.', 'neck.', 'head.')):
            raise UserError(f'{name}: expected the weights of OFA-595, such as first_conv.conv.weight')
        converted[new] = value.flatten(1) if new == 'neck.fc.weight' else value
    if 'neck.fc.weight' not in converted:
        raise UserError('no feature_mix_layer.conv.weight: expected the weights of OFA-595 with its hidden layer')
    converted['neck.fc.bias'] = converted['neck.fc.weight'].new_zeros(len(converted['neck.fc.weight']))
    return converted


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    checkpoint = checkpoints.read(args.source, 'source')
    state_dict = convert(checkpoint.get('state_dict', checkpoint))
    with atomic_file(args.out) as part:
        torch.save(dict(state_dict=state_dict), part)
    print(f'{args.out}: {len(state_dict)} weights')


if __name__ == '__main__':
    sys.exit(main())
