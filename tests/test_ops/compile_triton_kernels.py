"""Compiles the Triton kernels for a GPU that need not be here: python -m tests.test_ops.compile_triton_kernels 80

The interpreter accepts more than the compiler does. The losses run on the CPU with recorders in place of the kernels,
and every variant that they launch is compiled. Runs in a process of its own, without TRITON_INTERPRET, on every Triton
that the kernels are for (2.1 and later).
"""

import sys
from types import SimpleNamespace

import torch
import triton
import triton.compiler

from mmasl.ops import triton_math, triton_support
from mmasl.ops.asymmetric_loss import OP as SIGMOID
from mmasl.ops.asymmetric_loss import Asymmetry
from mmasl.ops.asymmetric_loss import triton_kernels as sigmoid
from mmasl.ops.softmax_asymmetric_loss import OP as SOFTMAX
from mmasl.ops.softmax_asymmetric_loss import SoftmaxAsymmetry
from mmasl.ops.softmax_asymmetric_loss import triton_kernels as softmax

OLD = triton.__version__ < '3'
KERNELS = [
    (sigmoid, 'asymmetric_loss'),
    (softmax, 'softmax_loss'),
    (softmax, 'softmax_gradient'),
    (triton_math, 'reduce_partials'),
]
POINTERS = {
    torch.float32: '*fp32',
    torch.float16: '*fp16',
    torch.bfloat16: '*bf16',
    torch.int64: '*i64',
    torch.int32: '*i32',
    torch.uint8: '*u8',
}


class Recorder:
    """Takes the place of a kernel, and keeps the types and the constants of each launch, as Triton tells them apart."""

    def __init__(self, kernel):
        self.kernel, self.launches = kernel, {}

    def __getitem__(self, grid):
        return self.launch

    def launch(self, num_warps: int, **arguments) -> None:
        types, constants, aligned = {}, {}, []
        for name in self.kernel.arg_names:
            value = arguments[name]
            if name.isupper() or value is None or (isinstance(value, int) and value == 1):
                constants[name] = value
            elif torch.is_tensor(value):
                types[name] = POINTERS[value.dtype]
            else:
                types[name] = 'fp32' if isinstance(value, float) else 'i32' if value < 2**31 else 'i64'
            if torch.is_tensor(value) or (name in types and isinstance(value, int) and value % 16 == 0):
                aligned.append(name)  # torch aligns its tensors to more than 16 bytes
        self.launches[repr((types, constants, aligned, num_warps))] = types, constants, aligned, num_warps


def compile_kernel(kernel, types: dict[str, str], constants: dict, aligned, num_warps: int, capability: int) -> str:
    """Return the PTX of a kernel for arguments of these types, of which those ``aligned`` are multiples of 16."""
    names = kernel.arg_names
    aligned = [names.index(name) for name in aligned]
    if not OLD:
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        types = {name: types.get(name, 'constexpr') for name in names}
        constants_at = {(names.index(name),): value for name, value in constants.items()}
        attributes = {(index,): [['tt.divisibility', 16]] for index in aligned}
        source = ASTSource(kernel, types, constants_at, attributes)
        target = GPUTarget('cuda', capability, 32)
        return triton.compile(source, target=target, options=dict(num_warps=num_warps)).asm['ptx']
    compiler = triton.compiler.compiler
    compiler.make_stub = lambda *args, **kwargs: None  # it links with libcuda, which a machine without a GPU lacks
    compiler.CompiledKernel = lambda *args: SimpleNamespace(asm=args[-1])
    compiled = triton.compile(
        kernel,
        signature={names.index(name): kind for name, kind in types.items()},
        constants={names.index(name): value for name, value in constants.items()},
        configs=[compiler.instance_descriptor(divisible_by_16=tuple(aligned), equal_to_1=())],
        cc=capability,
        num_warps=num_warps,
    )
    return compiled.asm['ptx']


def run_sigmoid() -> None:
    by_class = torch.full((80,), 2.0)
    one = torch.tensor(0.1)
    plain, dense = Asymmetry(0.0, 4.0, 0.05), torch.zeros(16, 80)
    focal = Asymmetry(2.0, 2.0, 0.0, alpha=0.25)
    index, rows, each = dense[:, 0].long(), torch.ones(16), torch.ones(16, 80)
    for dtype, target, weight, class_weight, scale, asymmetry, reduce in [
        (torch.float32, dense, None, None, 1.0, plain, True),  # a multi-label head
        (torch.bfloat16, dense.to(torch.uint8), None, None, None, plain, True),
        (torch.float16, dense.half(), each, None, 1.0, plain, False),
        (torch.float32, index, rows, None, 1.0, focal, True),  # a detector
        (torch.bfloat16, index, None, None, torch.tensor(2.0), Asymmetry(1.0, 2.5, 0.05), True),
        (torch.float16, index, rows, by_class, None, Asymmetry(1.0, by_class, by_class / 40), True),
        (torch.float32, dense, None, None, 1.0, Asymmetry(0.0, 10 * one, one), True),  # adaptive
        (torch.float32, torch.zeros(16).long(), None, None, 1.0, plain, True),  # Open Images by class index
    ]:
        columns = 9605 if asymmetry is plain and target.dim() == 1 else 80
        pred = torch.zeros(16, columns, dtype=dtype, requires_grad=True)
        loss = SIGMOID.triton(pred, target, weight, class_weight, scale, asymmetry, reduce)
        loss.backward(torch.ones_like(loss))  # of an element-wise loss this is a gradient for each
    SIGMOID.triton(pred, target, None, None, 1.0, plain, False).sum().backward()  # one gradient for all
    SIGMOID.triton(pred[:1, :1].detach(), target[:1], None, None, 1.0, plain, True)  # sizes of 1 are compiled in


def run_softmax() -> None:
    for columns, dtype, dense, asymmetry, weighted, reduce in [
        (1000, torch.bfloat16, False, SoftmaxAsymmetry(0.0, 0.0), False, True),
        (32000, torch.float32, False, SoftmaxAsymmetry(0.0, 4.0, label_smoothing=0.1), True, True),
        (20, torch.float16, True, SoftmaxAsymmetry(1.0, 2.5, label_smoothing=0.1), True, False),
    ]:
        pred = torch.zeros(16, columns, dtype=dtype, requires_grad=True)
        target = torch.zeros(16, columns) if dense else torch.zeros(16).long()
        weights = (torch.ones(16), torch.ones(columns)) if weighted else (None, None)
        loss = SOFTMAX.triton(pred, target, *weights, None if columns == 1000 else 1.0, asymmetry, reduce)
        loss.backward(torch.ones_like(loss))
    SOFTMAX.triton(pred.detach(), target, None, None, 1.0, asymmetry, True)  # keeps nothing for backward


def check_text(name: str, text: str, types: dict[str, str], constants: dict) -> None:
    """Logits are read, and gradients written, 16 bytes at a time, and the fast instructions are used."""
    if name == 'reduce_partials':
        return
    assert OLD or 'ex2.approx.ftz.f32' in text
    assert OLD or name != 'asymmetric_loss' or 'rcp.approx.ftz.f32' in text
    wide = constants['COLUMNS'] == 0 or constants['COLUMNS'] % 8 == 0
    assert not wide or 'ld.global.v4' in text, (name, types, constants)
    assert not wide or name != 'softmax_gradient' or 'st.global.v4.b32' in text


if __name__ == '__main__':
    recorders = {name: Recorder(getattr(module, name)) for module, name in KERNELS}
    for module, name in KERNELS:
        setattr(module, name, recorders[name])
    triton_support.triton_unavailable = lambda pred: None
    run_sigmoid()
    run_softmax()
    for module, name in KERNELS:  # a kernel is compiled under its own name
        setattr(module, name, recorders[name].kernel)
    for number in map(int, sys.argv[1:]):
        for name, recorder in recorders.items():
            for types, constants, *more in recorder.launches.values():
                check_text(name, compile_kernel(recorder.kernel, types, constants, *more, number), types, constants)
        variants = sum(len(recorder.launches) for recorder in recorders.values())
        print(f'Triton {triton.__version__} compiles {variants} variants of the kernels for sm_{number}')
