"""Compiles the Triton kernels for a GPU that need not be here: python -m tests.test_ops.compile_triton_kernels 80

The interpreter accepts more than the compiler does. Runs in a process of its own, without TRITON_INTERPRET, on every
Triton that the kernels are for (2.1 and later).
"""

import sys
from types import SimpleNamespace

import triton
import triton.compiler

from mmasl.ops import triton_math
from mmasl.ops.asymmetric_loss import triton_kernels as sigmoid
from mmasl.ops.softmax_asymmetric_loss import triton_kernels as softmax

OLD = triton.__version__ < '3'
POINTERS = ['pred', 'weight', 'class_weight', 'upstream', 'scale', 'out', 'loss', 'used_scale', 'partials', 'kept']
TYPES = dict.fromkeys(POINTERS, '*fp32') | {'counts': '*i32', 'total': 'i64', 'programs': 'i32', 'ignore_index': 'i64'}
SHARED = dict(DETACH=False, CLASS_WEIGHT=True)


def compile_kernel(kernel, types: dict[str, str], capability: int, **constants) -> str:
    """The PTX of a kernel; pointers are aligned as torch aligns its own."""
    names = kernel.arg_names
    types = {name: types.get(name, 'fp32') for name in names if name not in constants}
    aligned = [names.index(name) for name, kind in types.items() if kind.startswith('*')]
    if not OLD:
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        constants_at = {(names.index(name),): value for name, value in constants.items()}
        attributes = {(index,): [['tt.divisibility', 16]] for index in aligned}
        source = ASTSource(kernel, types | dict.fromkeys(constants, 'constexpr'), constants_at, attributes)
        return triton.compile(source, target=GPUTarget('cuda', capability, 32)).asm['ptx']
    compiler = triton.compiler.compiler
    compiler.make_stub = lambda *args, **kwargs: None  # it links with libcuda, which a machine without a GPU lacks
    compiler.CompiledKernel = lambda *args: SimpleNamespace(asm=args[-1])
    compiled = triton.compile(
        kernel,
        signature={names.index(name): kind for name, kind in types.items()},
        constants={names.index(name): value for name, value in constants.items()},
        configs=[compiler.instance_descriptor(divisible_by_16=tuple(aligned), equal_to_1=())],
        cc=capability,
    )
    return compiled.asm['ptx']


def compile_sigmoid(capability: int) -> None:
    settings = SHARED | dict(GAMMA_POS=1, ALPHA=True, IGNORE=True, UPSTREAM='scaled', COLUMNS=80, SEGMENTS=64, WIDTH=16)
    for mode, target, kind, gamma, weight, of in [
        ('sum', '*i64', 'index', 4, 'row', 'number'),
        ('grad', '*i64', 'index', 4, 'row', 'number'),
        ('none', '*u8', 'hard', 0, 'element', 'number'),
        ('grad', '*fp16', 'soft', -1, 'element', 'number'),
        ('grad', '*i64', 'index', -1, 'row', 'class'),
        ('sum', '*u8', 'hard', -1, 'element', 'one'),
    ]:
        types = TYPES | {'target': target, 'pred': '*bf16', 'out': '*bf16' if mode == 'grad' else '*fp32'}
        types |= {} if of == 'number' else {'gamma_neg': '*fp32', 'clip': '*fp32'}
        settings |= dict(GAMMA_IS=of, CLIP_IS=of, MARGIN='all' if of == 'number' else 'some')
        settings |= dict(TARGET=kind, GAMMA_NEG=gamma, WEIGHT=weight, MODE=mode, COUNT=mode == 'sum')
        text = compile_kernel(sigmoid.asymmetric_loss, types, capability, **settings)
        assert 'ld.global.v4' in text  # several logits in one read
        assert OLD or ('rcp.approx.ftz.f32' in text and 'ex2.approx.ftz.f32' in text)
    compile_kernel(sigmoid.asymmetric_loss, types, capability, **settings, total=1)  # 1 is compiled in


def compile_softmax(capability: int) -> None:
    for columns, rows, width, index, gamma, smooth, pred in [
        (1000, 1, 1024, True, 0, False, '*bf16'),
        (32000, 1, 4096, True, 4, True, '*fp32'),
        (20, 32, 32, False, -1, True, '*fp16'),
    ]:
        settings = SHARED | dict(INDEX=index, GAMMA_POS=gamma, GAMMA_NEG=gamma, SMOOTH=smooth, WEIGHT=True)
        settings |= dict(COLUMNS=columns, ROWS=rows, WIDTH=width)
        types = TYPES | {'target': '*i64' if index else '*fp32', 'pred': pred}
        more = dict(IGNORE=True, KEEP=True, COUNT=True, MODE='sum')
        loss = compile_kernel(softmax.softmax_loss, types, capability, **settings, **more)
        types |= {'out': pred}
        grad = compile_kernel(softmax.softmax_gradient, types, capability, **settings, UPSTREAM='each')
        for text in (loss, grad):
            assert OLD or 'ex2.approx.ftz.f32' in text
            assert columns % 8 or 'ld.global.v4.b32' in text  # logits are read 16 bytes at a time
        assert columns % 8 or 'st.global.v4.b32' in grad


if __name__ == '__main__':
    for number in map(int, sys.argv[1:]):
        compile_sigmoid(number)
        compile_softmax(number)
        compile_kernel(triton_math.reduce_partials, TYPES, number, COUNT=True, SCALE='count', BLOCK=8192)
        types = TYPES | {'scale': 'fp32'}
        compile_kernel(triton_math.reduce_partials, types, number, COUNT=False, SCALE='number', BLOCK=8192, programs=1)
        print(f'Triton {triton.__version__} compiles every kernel for sm_{number}')
