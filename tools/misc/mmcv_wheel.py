"""Installs mmcv, with compiled ops from ``$WHEELHOUSE``, the per-machine cache or the compiler, or without them.

Part of ``setup_env.py``: standard library only.
"""

import fcntl
import glob
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile

from setup_log import SetupError, pip
from setup_state import has_ops, missing, requirements


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


def find_wheel(folder, name, version):
    """The mmcv wheel with compiled ops for this Python in ``folder``, or None."""
    file = '{0}-{1}-{2}-{2}-*{3}.whl'.format(name.replace('-', '_'), version, python_tag(), platform.machine())
    for wheel in sorted(glob.glob(os.path.join(folder, file))):
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


def ready_wheel(name, version, cache):
    """A wheel that needs no building: of ``$WHEELHOUSE`` first, then of the cache."""
    house = wheelhouse()
    for folder in filter(None, [house, cache]):
        wheel = find_wheel(folder, name, version)
        if wheel:
            return wheel
    if house:
        print(f'    {house} has no {name} {version} with ops for {python_tag()}', flush=True)
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


def install_mmcv(log, root, name, version, site, ops):
    """mmcv with ops, from a ready wheel or from source; without them when that suffices and no wheel is ready."""
    if not missing([(name, version)], site) and (has_ops(site) or not ops):
        return
    what, cuda = f'{name}=={version}', wants_cuda_ops()
    cache = wheel_cache(torch_version(site), cuda)
    wheel = ready_wheel(name, version, cache)
    if wheel is None and not ops:
        # In isolation mmcv sees no torch and builds no ops. That wheel has the name of one with ops: keep it from
        # pip's cache, which would hand it out later. What is in the isolation is pinned, for the sake of pkg_resources.
        source = ['--no-deps', '--no-cache-dir', '--build-constraint', requirements(root, 'build'), '--no-binary', name]
        log.run(what + ' without ops', pip('install', *source, what))
        return
    if wheel is None:
        wheel = build_mmcv(log, name, version, cache, cuda)
    log.run(
        what + ' from ' + os.path.dirname(wheel),
        pip('install', '--no-deps', '--no-cache-dir', '--force-reinstall', wheel),
    )
    try:
        log.run('mmcv._ext loads', [sys.executable, '-c', 'import torch, mmcv._ext'])
    except SetupError as error:
        subprocess.call(pip('uninstall', '--yes', '--quiet', name))
        raise SetupError(f'{error}. {wheel} does not fit: remove it, or leave out WHEELHOUSE') from None


def build_mmcv(log, name, version, cache, cuda):
    """Builds mmcv with ops into ``cache``, in a folder that survives a kill: ninja goes on where it stopped."""
    check_compiler()
    work, part = os.path.join(cache, 'build'), os.path.join(cache, 'build.part')
    what, source = f'{name}=={version}', os.path.join(work, 'mmcv')
    env = {'CFLAGS': os.environ.get('CFLAGS', '-O2 -g0'), 'MAX_JOBS': os.environ.get('MAX_JOBS', build_jobs())}
    env.update({'FORCE_CUDA': '1'} if cuda else {'CUDA_VISIBLE_DEVICES': ''})
    flags = ['--no-deps', '--no-build-isolation', '--no-cache-dir']
    os.makedirs(cache, exist_ok=True)
    with open(os.path.join(cache, 'lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(work):
            shutil.rmtree(part, ignore_errors=True)
            os.makedirs(os.path.join(part, 'mmcv'))
            log.run('source of ' + what, pip('download', *flags, '--no-binary', name, '--dest', part, what), env)
            (archive,) = glob.glob(os.path.join(part, '*.tar.gz'))
            unpack = ['tar', 'xzf', archive, '--strip-components=1', '-C', os.path.join(part, 'mmcv')]
            log.run('unpacking it', unpack)
            os.rename(part, work)
        print(
            '    Now mmcv is built with its {} ops, {} file(s) at a time: 10 to 25 minutes on two cores, once per '
            'machine.\n    Stopped, it goes on where it was.'.format('CUDA' if cuda else 'CPU', env['MAX_JOBS'])
        )
        log.run('build of ' + what, pip('wheel', '--verbose', *flags, '--wheel-dir', work, source), env)
        built = find_wheel(work, name, version)
        if built is None:
            raise SetupError(f'the build of {what} gave no mmcv._ext (whole output: {log.path})')
        wheel = os.path.join(cache, os.path.basename(built))
        os.replace(built, wheel)
        shutil.rmtree(work)
    return wheel
