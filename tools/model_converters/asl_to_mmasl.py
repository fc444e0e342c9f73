"""Convert a checkpoint of the authors (Alibaba-MIIL/ASL: TResNet M, L or XL) for the configs of this package.

Their file is a dict of `model`, `num_classes` and `idx_to_class`. timm's own filter turns in-place activated batch norm
into batch norm (weight -> |weight| + 1e-5, the value that the authors' code computes with). A bottleneck head of 512
(Open Images) becomes MMPretrain's LinearNeck.
"""

import sys
from pathlib import Path

from mmasl.cli.flags import Parser
from mmasl.errors import UserError, command


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument('source', help="the authors' checkpoint")
    parser.add_argument('target', help='.pth file to write')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import timm
import torch
from timm.models.tresnet import checkpoint_filter_fn

from mmasl.files import atomic_file

# Channels of the first convolution (64 times the width factor), and blocks of the third stage.
VARIANTS = {(64, 11): 'tresnet_m', (76, 18): 'tresnet_l', (83, 24): 'tresnet_xl'}
BOTTLENECK = 'head.fc.embedding_generator.0.'
HEADS = {BOTTLENECK: 'neck.fc.', 'head.fc.FC.': 'head.fc.', 'head.fc.': 'head.fc.'}


def read(path: str) -> dict:
    """Return the authors' dict without executing anything in the file."""
    if not Path(path).is_file():
        raise UserError(f'{path} does not exist')
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a broken or malicious file may make the unpickler raise anything
        reason = (str(error).splitlines() or [''])[0]
        raise UserError(f'{path} cannot be loaded safely: {type(error).__name__}: {reason}') from error
    if isinstance(checkpoint, dict) and 'state_dict' in checkpoint and 'meta' in checkpoint:
        raise UserError(f'{path} is already a checkpoint of MMEngine and needs no conversion')
    missing = {'model', 'num_classes', 'idx_to_class'} - (set(checkpoint) if isinstance(checkpoint, dict) else set())
    if missing:
        raise UserError(
            f"{path} is not a checkpoint of the authors: expected a dict of 'model', 'num_classes' and 'idx_to_class', "
            f'missing {", ".join(sorted(missing))}'
        )
    return checkpoint


def name_classes(checkpoint: dict) -> list[str]:
    """Return the names of the classes in the order of their indices."""
    names, number = checkpoint['idx_to_class'], checkpoint['num_classes']
    indices = {int(index): str(name) for index, name in names.items()}
    if sorted(indices) != list(range(number)):
        raise UserError(f'idx_to_class: expected a name for each index 0 ... {number - 1}, got {len(indices)} names')
    return [indices[index] for index in range(number)]


def find_variant(state: dict[str, torch.Tensor]) -> str:
    """Return timm's name of the TResNet whose weights these are."""
    stem = state.get('body.conv1.0.weight')
    blocks = {key.split('.')[2] for key in state if key.startswith('body.layer3.')}
    found = VARIANTS.get((len(stem) if stem is not None else 0, len(blocks)))
    if found is None:
        raise UserError(
            'model: expected the weights of TResNet M, L or XL with in-place activated batch norm, got '
            + ('no body.conv1.0.weight' if stem is None else f'{len(stem)} channels and {len(blocks)} blocks in layer3')
        )
    return found


def convert(checkpoint: dict) -> dict:
    """Return a checkpoint for ImageClassifier with TIMMBackbone, LinearNeck or pooling, and a linear head."""
    state = {key.removeprefix('module.'): value for key, value in checkpoint['model'].items()}
    classes = name_classes(checkpoint)
    variant = find_variant(state)
    body = {key: value for key, value in state.items() if key.startswith('body.') and not key.endswith('.filt')}
    backbone = timm.create_model(variant, num_classes=0)
    wrong = backbone.load_state_dict(checkpoint_filter_fn(body, backbone), strict=False)
    missing = [key for key in wrong.missing_keys if not key.endswith('num_batches_tracked')]
    if missing or wrong.unexpected_keys:
        raise UserError(f'model: {variant} lacks {missing[:3]}; {wrong.unexpected_keys[:3]} are unexpected')
    result = {f'backbone.timm_model.{key}': value for key, value in backbone.state_dict().items()}
    for key, value in state.items():
        if key.startswith('head.'):
            start = next((start for start in HEADS if key.startswith(start)), None)
            if start is None:
                raise UserError(f'model: {key} belongs neither to a linear head nor to the bottleneck head')
            result[HEADS[start] + key.removeprefix(start)] = value
    if len(result.get('head.fc.weight', ())) != len(classes):
        raise UserError(
            f'model: expected a head of num_classes={len(classes)}, got {len(result.get("head.fc.weight", ()))}'
        )
    return dict(meta=dict(dataset_meta=dict(classes=classes), timm_model=variant), state_dict=result)


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    if not args.target.endswith('.pth'):
        raise UserError(f'{args.target}: the name must end in .pth')
    converted = convert(read(args.source))
    with atomic_file(args.target) as part:
        torch.save(converted, part)
    classes, state = converted['meta']['dataset_meta']['classes'], converted['state_dict']
    neck = f', bottleneck of {len(state["neck.fc.weight"])}' if 'neck.fc.weight' in state else ''
    print(
        f'done: {converted["meta"]["timm_model"]}{neck}, {len(classes)} classes ({", ".join(classes[:3])}, ...) '
        f'in {args.target}'
    )


if __name__ == '__main__':
    sys.exit(main())
