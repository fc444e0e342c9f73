"""Where a wheel of mmcv with compiled ops comes from: ``$WHEELHOUSE``, the per-machine cache, or the compiler.

Part of ``setup_env.py``: standard library only.
"""

import glob
import os
import platform
import re
import shutil
import sys
import sysconfig
import zipfile


class SetupError(Exception):
    """A set-up that cannot go on, for a reason the user can act on."""


def python_tag():
    return 'cp{}{}'.format(*sys.version_info[:2])


def platform_tag():
    return sysconfig.get_platform().replace('-', '_').replace('.', '_')


def torch_version(site):
    """``torch.__version__`` with its local part (+cu130), which the package's metadata may lack."""
    with open(os.path.join(site, 'torch', 'version.py')) as file:
        return re.search(r"^__version__ = '([^']+)'", file.read(), re.M).group(1)


def wheel_cache(torch, cuda):
    """The folder of the wheels built against this torch, for this Python and platform."""
    base = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    key = 'torch{}-{}-{}{}'.format(torch, python_tag(), platform_tag(), '-cuda' if cuda else '')
    return os.path.join(base, 'mmasl', 'wheels', key)


def find_wheel(folder, version):
    """The mmcv wheel with compiled ops for this Python in ``folder``, or None."""
    name = 'onedl_mmcv-{0}-{1}-{1}-*{2}.whl'.format(version, python_tag(), platform.machine())
    for wheel in sorted(glob.glob(os.path.join(folder, name))):
        try:
            with zipfile.ZipFile(wheel) as archive:
                if any(re.match(r'mmcv/_ext.*\.so$', entry) for entry in archive.namelist()):
                    return wheel
        except zipfile.BadZipFile as error:
            raise SetupError(f'{wheel} is not a wheel ({error}). Remove it and run again') from None
    return None


def wheelhouse():
    """The folder that ``$WHEELHOUSE`` names, if any."""
    house = os.environ.get('WHEELHOUSE')
    if house and not os.path.isdir(house):
        raise SetupError(f'WHEELHOUSE={house} is not a folder. Name one with wheels, or leave it out')
    return house


def ready_wheel(version, cache):
    """A wheel that needs no building: of ``$WHEELHOUSE`` first, then of the cache."""
    house = wheelhouse()
    for folder in filter(None, [house, cache]):
        wheel = find_wheel(folder, version)
        if wheel:
            return wheel
    if house:
        print(f'    {house} has no onedl_mmcv {version} with ops for {python_tag()}', flush=True)
    return None


def wants_cuda_ops():
    """CUDA ops are built where nvcc is: mmcv's own rule (any visible GPU) fails on a machine without it."""
    if os.environ.get('FORCE_CUDA') == '1':
        return True
    return bool(shutil.which('nvcc') or os.environ.get('CUDA_HOME')) and os.path.exists('/dev/nvidia0')


def build_jobs():
    """One compiler per core, and per 2 GiB of memory, which is what mmcv's largest files take."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return str(max(1, min(len(os.sched_getaffinity(0)), memory >> 31)))


def check_compiler():
    if not (shutil.which('gcc') and shutil.which('g++')):
        raise SetupError('mmcv needs gcc and g++ to be built. Run: apt-get install g++')
    if not os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')):
        raise SetupError(
            'mmcv needs Python.h to be built. Run: apt-get install python{}.{}-dev'.format(*sys.version_info[:2])
        )
