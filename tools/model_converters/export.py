"""Export a trained model to ONNX (.onnx) or TorchScript (.pt) and compare its outputs with those of torch.

The graph takes pictures `(N, 3, H, W)` of any N: float, 0 to 255, BGR as mmcv loads them. It contains the channel
order, the mean and the standard deviation. A classifier returns the probabilities `scores` `(N, C)`: the sigmoid of a
multi-label head's logits, or the softmax of another head's. A detector returns the raw outputs of its head for each
level (`cls_score_0`, `bbox_pred_0`, `centerness_0`, ...), without decoding, NMS and loss.
"""

import sys
from pathlib import Path

from mmasl.cli.flags import config_parser
from mmasl.errors import UserError, command, positive


def parse_args(argv=None):
    parser = config_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out', help='file to write: .onnx, or .pt for TorchScript')
    parser.add_argument(
        '--size', type=positive, nargs=2, default=(224, 224), metavar=('H', 'W'), help='size of the pictures'
    )
    parser.add_argument('--opset', type=int, default=17, help='version of the ONNX operators')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import json

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmasl.cli import checkpoints, preflight
from mmasl.cli import run as cli
from mmasl.compat import TRACING_EXPORTER
from mmasl.files import atomic_file

TOLERANCE = 1e-4  # of |a - b| / (1 + |b|)


class Exported(nn.Module):
    """The model with its preprocessing, from pictures to a flat tuple of tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        preprocessor = model.data_preprocessor
        self.flips = getattr(preprocessor, 'to_rgb', False) or getattr(preprocessor, '_channel_conversion', False)
        normalizes = getattr(preprocessor, '_enable_normalize', False)
        self.register_buffer('mean', preprocessor.mean if normalizes else torch.zeros(1, 1, 1))
        self.register_buffer('std', preprocessor.std if normalizes else torch.ones(1, 1, 1))
        # the heads of MMPretrain predict in this way
        head = [cls.__name__ for cls in type(getattr(model, 'head', None)).__mro__]
        self.to_scores = nn.Sigmoid() if 'MultiLabelClsHead' in head else nn.Softmax(1)
        self.names: list[str] = []

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        pictures = pictures.flip(1) if self.flips else pictures
        outputs = self.model((pictures - self.mean) / self.std, None, mode='tensor')
        if isinstance(outputs, Tensor):
            self.names = ['scores']
            return (self.to_scores(outputs),)
        kinds = ('cls_score', 'bbox_pred', 'centerness')
        if not isinstance(outputs, tuple) or not 1 < len(outputs) <= len(kinds):
            raise UserError('model: expected a classifier or a dense one-stage head (FCOS, ATSS, RetinaNet)')
        named = {
            f'{kind}_{level}': value
            for kind, levels in zip(kinds, outputs, strict=False)
            for level, value in enumerate(levels)
        }
        self.names = list(named)
        return tuple(named.values())


def build(cfg: Config, args) -> Exported:
    """Return the model with the weights of the checkpoint, on the CPU."""
    checkpoint = checkpoints.read(args.checkpoint, 'checkpoint')
    if cfg.get('default_scope') == 'mmdet':
        from mmdet.apis import init_detector

        model = init_detector(cfg, args.checkpoint, device='cpu')
    else:
        from mmpretrain import get_model

        model = get_model(cfg, args.checkpoint, device='cpu')
    checkpoints.check_fit(model, checkpoint, args.checkpoint, complete=True)
    exported = Exported(model).eval()
    exported.classes = list((checkpoint.get('meta') or {}).get('dataset_meta', {}).get('classes', ()))
    return exported


def write(model: Exported, example: Tensor, path: str, suffix: str, opset: int) -> None:
    """Write ``path`` in the format that ``suffix`` stands for."""
    if suffix == '.pt':
        torch.jit.save(torch.jit.trace(model, example), path)
        return
    import onnx

    batch = {name: {0: 'batch'} for name in ('pictures', *model.names)}
    torch.onnx.export(
        model,
        (example,),
        path,
        input_names=['pictures'],
        output_names=model.names,
        dynamic_axes=batch,
        opset_version=opset,
        **TRACING_EXPORTER,
    )
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {'classes': json.dumps(model.classes)})
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)


def read_back(path: str, suffix: str):
    """Return the written model as a function from pictures to a list of tensors."""
    if suffix == '.pt':
        return lambda pictures: list(torch.jit.load(path)(pictures))
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return lambda pictures: [torch.from_numpy(value) for value in session.run(None, {'pictures': pictures.numpy()})]


def compare(model: Exported, written, size: tuple[int, int]) -> dict[str, float]:
    """Return the largest difference of each output, over batches whose sizes differ from the traced one."""
    worst = dict.fromkeys(model.names, 0.0)
    generator = torch.Generator().manual_seed(0)
    for number in (1, 3):
        pictures = torch.randint(0, 256, (number, 3, *size), generator=generator).float()
        for name, expected, got in zip(model.names, model(pictures), written(pictures), strict=True):
            if got.shape != expected.shape:
                raise UserError(f'{name}: expected the shape {tuple(expected.shape)}, got {tuple(got.shape)}')
            worst[name] = max(worst[name], ((got - expected).abs() / (1 + expected.abs())).max().item())
    return worst


def check_args(args) -> None:
    if not args.out.endswith(('.onnx', '.pt')):
        raise UserError(f'{args.out}: the name must end in .onnx or .pt')
    if args.out.endswith('.onnx'):
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
        except ImportError as error:
            raise UserError(f'{error}: pip install onnx onnxruntime') from error


@command
@torch.no_grad()
def main(argv=None) -> None:
    args = parse_args(argv)
    check_args(args)
    cfg = cli.read_config(args.config, args.cfg_options)
    preflight.check_scope(cfg)
    init_default_scope(cfg.get('default_scope'))
    model = build(cfg, args)
    example = torch.zeros(2, 3, *args.size)
    model(example)
    suffix = Path(args.out).suffix
    with atomic_file(args.out) as part:  # a file that differs from torch never gets this name
        write(model, example, part, suffix, args.opset)
        differences = compare(model, read_back(part, suffix), args.size)
        wrong = [f'{name} {value:.1e}' for name, value in differences.items() if not value <= TOLERANCE]
        if wrong:
            raise UserError(f'{args.out} differs from torch by more than {TOLERANCE}: {", ".join(wrong)}')
    shown = ', '.join(f'{name} {value:.1e}' for name, value in differences.items())
    print(f'done: {args.out}; largest difference from torch, |a-b|/(1+|b|): {shown}')


if __name__ == '__main__':
    sys.exit(main())
