"""Makes ``.venv`` hold the pinned stack of ``requirements/``; run by ``make``, with any Python and no package.

``setup_env.py demo`` is enough for classification: mmcv without compiled ops. ``full`` adds the ops, MMDetection and
the test tools, ``docs`` what the documentation is built with. What is in place is left alone, so running again costs
nothing when all is done, and finishes what was cut short. Built mmcv wheels are kept in
``$XDG_CACHE_HOME/mmasl/wheels`` (``~/.cache`` by default), one folder per torch, Python and platform;
``WHEELHOUSE=dir`` names a folder of wheels to use before building.

``--stack openmmlab`` makes ``.venv-openmmlab`` hold the original packages instead of the maintained forks.
"""

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time

from mmcv_wheel import install_mmcv, wheelhouse
from setup_log import Log, SetupError, pip
from setup_state import PROFILES, clear_leftovers, is_done, missing, pins_of, write_stamp

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VENVS = {'onedl': '.venv', 'openmmlab': '.venv-openmmlab'}
PYTHONS = {'onedl': ('3.10', '3.11', '3.12'), 'openmmlab': ('3.10', '3.11')}
TITLES = {
    'build': 'build tools',
    'torch': 'torch and torchvision (about 2.5 GB to download)',
    'classification': 'MMEngine, MMPretrain and what they need',
    'detection': 'MMDetection',
    'tests': 'test tools',
    'docs': 'Sphinx',
}


def make_install(stack, python='', afresh=False):
    """The command that makes an environment, for messages."""
    command = 'make install' + (f' STACK={stack}' if stack != 'onedl' else '') + (f' PYTHON={python}' if python else '')
    return f'rm -rf {VENVS[stack]} && {command}' if afresh else command


def check_python(version, executable, stack, afresh=False):
    """Refuses a Python that the pinned stack is not made for."""
    found, wanted = '{}.{}'.format(*version[:2]), PYTHONS[stack]
    if found not in wanted:
        wanted, cure = ', '.join(wanted[:-1]) + ' or ' + wanted[-1], make_install(stack, 'python3.11', afresh)
        raise SetupError(f'Python {wanted} is needed, this is {found} ({executable}). Run: {cure}')


def make_venv(venv, stack):
    """Makes the environment unless a working one is there; returns its Python."""
    python = os.path.join(venv, 'bin', 'python')
    if not os.path.exists(python) or subprocess.call([python, '-c', 'import pip'], stderr=subprocess.DEVNULL):
        check_python(sys.version_info, sys.executable, stack)
        print(f'making {venv} with {sys.executable}', flush=True)
        if subprocess.call([sys.executable, '-m', 'venv', '--clear', venv]):
            package = 'python{}.{}-venv'.format(*sys.version_info[:2])
            raise SetupError('python -m venv failed (see above). Run: apt-get install ' + package)
    return python


def install(profile, stack, root, lock):
    """Brings the environment of the running Python to ``profile``."""
    site = sysconfig.get_path('purelib')
    if is_done(root, profile, stack, site):
        return
    house = ['--find-links', wheelhouse()] if wheelhouse() else []
    free = shutil.disk_usage(root).free >> 30
    if free < 7 and missing(pins_of(root, 'torch', stack), site):
        raise SetupError(f'{free} GiB are free in {root}, 7 are needed. Make room and run again')
    start, log = time.time(), Log(os.path.join(sys.prefix, 'setup.log'), lock)
    print(f'setting up {sys.prefix} ({profile}); whole output in {log.path}', flush=True)
    clear_leftovers(site)
    for part in PROFILES[profile]:
        pins = pins_of(root, part, stack)
        if missing(pins, site):
            flags = [*house] if part == 'torch' else [*house, '--no-deps', '--no-build-isolation']
            log.run(TITLES[part], pip('install', *flags, *map('=='.join, pins)))
    ((name, version),) = pins_of(root, 'mmcv', stack)
    install_mmcv(log, root, name, version, site, ops=profile != 'demo')
    log.run('mmasl', pip('install', '--no-deps', '--no-build-isolation', '-e', root))
    task = 'classification' if profile == 'demo' else 'all'
    if subprocess.call([sys.executable, os.path.join(root, 'mmasl', 'utils', 'check_env.py'), '--task', task]):
        raise SetupError('all is installed and does not work together (see above)')
    for done, parts in PROFILES.items():
        if set(parts) <= set(PROFILES[profile]):
            write_stamp(root, done, stack)
    print(f'set up in {time.time() - start:.0f} s', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('profile', choices=sorted(PROFILES))
    parser.add_argument('--stack', choices=sorted(VENVS), default='onedl')
    args = parser.parse_args()
    venv = os.path.join(ROOT, VENVS[args.stack])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f'another set-up of {ROOT} is running; waiting for it', flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        if os.path.realpath(sys.prefix) != os.path.realpath(venv):
            python = make_venv(venv, args.stack)
            # exec drops the lock, main takes it again
            os.execv(python, [python, os.path.abspath(__file__), *sys.argv[1:]])
        check_python(sys.version_info, venv, args.stack, afresh=True)
        install(args.profile, args.stack, ROOT, lock)
    except (SetupError, KeyboardInterrupt) as error:
        sys.exit(f'error: {str(error) or "interrupted; run the same command again to go on"}')


if __name__ == '__main__':
    main()
