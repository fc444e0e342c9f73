"""Makes ``.venv`` hold the pinned stack of ``requirements/``; run by ``make``, with any Python and no package.

``setup_env.py demo`` is enough for classification: mmcv without compiled ops. ``full`` adds the ops, MMDetection and
the test tools, ``docs`` what the documentation is built with. What is in place is left alone, so running again costs
nothing when all is done, and finishes what was cut short. Built mmcv wheels are kept in
``$XDG_CACHE_HOME/mmasl/wheels`` (``~/.cache`` by default), one folder per torch, Python and platform;
``WHEELHOUSE=dir`` names a folder of wheels to use before building.
"""

import argparse
import fcntl
import glob
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time

from mmcv_wheel import (
    SetupError,
    build_jobs,
    check_compiler,
    find_wheel,
    ready_wheel,
    torch_version,
    wants_cuda_ops,
    wheel_cache,
    wheelhouse,
)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PYTHONS = ((3, 10), (3, 11), (3, 12))
PROFILES = {
    'demo': ['build', 'torch', 'classification'],
    'full': ['build', 'torch', 'classification', 'detection', 'tests'],
    'docs': ['build', 'torch', 'classification', 'detection', 'tests', 'docs'],
}
TITLES = {
    'build': 'build tools',
    'torch': 'torch and torchvision (about 2.5 GB to download)',
    'classification': 'MMEngine, MMPretrain and what they need',
    'detection': 'MMDetection',
    'tests': 'test tools',
    'docs': 'Sphinx',
}


def check_python(version, executable, cure='make install PYTHON=python3.11'):
    """Refuses a Python that the pinned stack is not made for."""
    if tuple(version[:2]) not in PYTHONS:
        found = '{}.{}'.format(*version[:2])
        raise SetupError(f'Python 3.10, 3.11 or 3.12 is needed, this is {found} ({executable}). Run: {cure}')


# ---- what is there


def read_pins(path):
    """``[(name, version)]`` of the lines of a requirements file that hold for this Python."""
    pins = []
    with open(path) as file:
        for line in file:
            match = re.match(r"([\w.-]+)==([\w.+-]+)(?:; python_version < '3\.(\d+)')?$", line.strip())
            if match:
                if not match.group(3) or sys.version_info[1] < int(match.group(3)):
                    pins.append((match.group(1), match.group(2)))
            elif line.strip() and not line.startswith('#'):
                raise SetupError(f'{path}: expected "name==version", got "{line.strip()}"')
    return pins


def canonical(name):
    return re.sub(r'[-_.]+', '-', name).lower()


def installed(site):
    """``{name: version}`` of the complete packages in a site-packages folder, without importing any."""
    found = {}
    for info in glob.glob(os.path.join(site, '*.dist-info')):
        if is_complete(info):
            name, version = os.path.basename(info)[: -len('.dist-info')].rsplit('-', 1)
            found[canonical(name)] = version
    return found


def is_complete(info):
    # pip writes INSTALLER after all files and scripts, and replaces RECORD last
    return all(os.path.exists(os.path.join(info, name)) for name in ('INSTALLER', 'RECORD', 'METADATA'))


def clear_leftovers(site):
    """Removes the traces of a killed pip that would make the next one believe, or choke on, a half-done package."""
    removed = [info for info in glob.glob(os.path.join(site, '*.dist-info')) if not is_complete(info)]
    removed += glob.glob(os.path.join(site, '~*'))
    for path in removed:
        shutil.rmtree(path, ignore_errors=True)
    return removed


def missing(pins, site):
    found = installed(site)
    return [f'{name}=={version}' for name, version in pins if found.get(canonical(name)) != version]


def has_ops(site):
    return bool(glob.glob(os.path.join(site, 'mmcv', '_ext*.so')))


def is_editable(site, root):
    """Whether ``mmasl`` is installed from ``root`` itself: a copied folder still names the old one."""
    for path in glob.glob(os.path.join(site, 'mmasl-*.dist-info', 'direct_url.json')):
        with open(path) as file:
            return json.load(file).get('url') == pathlib.Path(root).as_uri() and is_complete(os.path.dirname(path))
    return False


def fingerprint(root, profile):
    """Changes with anything that decides what the set-up does, mmasl's own C++ included."""
    digest = hashlib.sha256(sys.version.encode())
    files = [f'requirements/{name}.txt' for name in PROFILES[profile] + ['mmcv']]
    files += ['setup.py', 'tools/misc/setup_env.py', 'tools/misc/mmcv_wheel.py']
    for path in [os.path.join(root, name) for name in files] + own_files(root, '*.cpp') + own_files(root, '*.h'):
        with open(path, 'rb') as file:
            digest.update(file.read())
    return digest.hexdigest()


def own_files(root, pattern):
    return sorted(glob.glob(os.path.join(root, 'mmasl', '**', pattern), recursive=True))


def stamp_path(profile):
    return os.path.join(sys.prefix, f'mmasl-{profile}.stamp')


def write_stamp(root, profile):
    """Marks the end of a set-up. The compiled kernel is optional, so the stamp says whether there was one."""
    with open(stamp_path(profile), 'w') as file:
        json.dump([fingerprint(root, profile), own_files(root, '*.so')], file)


def is_done(root, profile, site):
    """Whether an earlier run reached its end with these files, and what it installed is still there."""
    if not os.path.exists(stamp_path(profile)):
        return False
    with open(stamp_path(profile)) as file:
        if file.read() != json.dumps([fingerprint(root, profile), own_files(root, '*.so')]):
            return False
    pins = [pin for name in PROFILES[profile] + ['mmcv'] for pin in read_pins(requirements(root, name))]
    return not missing(pins, site) and is_editable(site, root) and (profile == 'demo' or has_ops(site))


def requirements(root, name):
    return os.path.join(root, 'requirements', name + '.txt')


# ---- doing it


class Log:
    """Runs commands into one log file and shows that they move; ``lock`` stays held by those that outlive us."""

    def __init__(self, path, lock):
        self.path, self.lock = path, lock

    def run(self, what, command, env=None):
        """Runs ``command``, printing the time and ninja's counter as it goes; raises with its last error line."""
        start, state = time.time(), {'counter': '', 'error': ''}
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=dict(os.environ, **(env or {})),
            pass_fds=[self.lock],
            start_new_session=True,
        )
        reader = threading.Thread(target=self._read, args=(process.stdout, command, state))
        reader.start()
        tty = sys.stdout.isatty()
        try:
            while True:
                reader.join(1 if tty else 30)
                if not reader.is_alive():
                    break
                line = '    {}: {:.0f} s {}'.format(what, time.time() - start, state['counter'])
                print('\r' + line if tty else line, end='' if tty else '\n', flush=True)
        except BaseException:  # an interrupt must not leave pip writing behind our back
            os.killpg(process.pid, signal.SIGKILL)
            raise
        if process.wait():
            reason = state['error'] or f'exit status {process.returncode}'
            raise SetupError(f'{what} failed: {reason} (whole output: {self.path})')
        print('{}    {}: {:.0f} s{}'.format('\r' if tty else '', what, time.time() - start, ' ' * 12), flush=True)

    def _read(self, stream, command, state):
        with open(self.path, 'ab') as log:
            log.write('\n$ {}\n'.format(' '.join(command)).encode())
            for line in stream:
                log.write(line)
                log.flush()
                text = line.decode(errors='replace').strip()
                counter = re.match(r'\[\d+/\d+\]', text)
                if counter:
                    state['counter'] = counter.group()
                if re.match(r'\w*(ERROR|Error): ', text) or 'fatal error:' in text:
                    state['error'] = text[:300]


def pip(*arguments):
    return [sys.executable, '-m', 'pip', '--disable-pip-version-check', *arguments]


def install_mmcv(log, site, ops):
    """mmcv with ops, from a ready wheel or from source; without them when that suffices and no wheel is ready."""
    ((name, version),) = read_pins(requirements(ROOT, 'mmcv'))
    if not missing([(name, version)], site) and (has_ops(site) or not ops):
        return
    what, cuda = f'{name}=={version}', wants_cuda_ops()
    cache = wheel_cache(torch_version(site), cuda)
    wheel = ready_wheel(version, cache)
    if wheel is None and not ops:
        # In isolation mmcv sees no torch and builds no ops. That wheel has the name of one with ops: keep it from
        # pip's cache, which would hand it out later.
        source = ['--no-deps', '--no-cache-dir', '--no-binary', name, what]
        log.run(what + ' without ops', pip('install', *source))
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
        built = find_wheel(work, version)
        if built is None:
            raise SetupError(f'the build of {what} gave no mmcv._ext (whole output: {log.path})')
        wheel = os.path.join(cache, os.path.basename(built))
        os.replace(built, wheel)
        shutil.rmtree(work)
    return wheel


def make_venv(venv):
    """Makes ``.venv`` unless a working one is there; returns its Python."""
    python = os.path.join(venv, 'bin', 'python')
    if not os.path.exists(python) or subprocess.call([python, '-c', 'import pip'], stderr=subprocess.DEVNULL):
        check_python(sys.version_info, sys.executable)
        print(f'making {venv} with {sys.executable}', flush=True)
        if subprocess.call([sys.executable, '-m', 'venv', '--clear', venv]):
            package = 'python{}.{}-venv'.format(*sys.version_info[:2])
            raise SetupError('python -m venv failed (see above). Run: apt-get install ' + package)
    return python


def install(profile, root, lock):
    """Brings the environment of the running Python to ``profile``."""
    site = sysconfig.get_path('purelib')
    if is_done(root, profile, site):
        return
    house = ['--find-links', wheelhouse()] if wheelhouse() else []
    free = shutil.disk_usage(root).free >> 30
    if free < 7 and missing(read_pins(requirements(root, 'torch')), site):
        raise SetupError(f'{free} GiB are free in {root}, 7 are needed. Make room and run again')
    start, log = time.time(), Log(os.path.join(sys.prefix, 'setup.log'), lock)
    print(f'setting up {sys.prefix} ({profile}); whole output in {log.path}', flush=True)
    clear_leftovers(site)
    for name in PROFILES[profile]:
        if missing(read_pins(requirements(root, name)), site):
            flags = [*house] if name == 'torch' else [*house, '--no-deps', '--no-build-isolation']
            log.run(TITLES[name], pip('install', *flags, '-r', requirements(root, name)))
    install_mmcv(log, site, ops=profile != 'demo')
    log.run('mmasl', pip('install', '--no-deps', '--no-build-isolation', '-e', root))
    task = 'classification' if profile == 'demo' else 'all'
    if subprocess.call([sys.executable, os.path.join(root, 'mmasl', 'utils', 'check_env.py'), '--task', task]):
        raise SetupError('all is installed and does not work together (see above)')
    for done, parts in PROFILES.items():
        if set(parts) <= set(PROFILES[profile]):
            write_stamp(root, done)
    print(f'set up in {time.time() - start:.0f} s', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('profile', choices=sorted(PROFILES))
    profile = parser.parse_args().profile
    venv = os.path.join(ROOT, '.venv')
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f'another set-up of {ROOT} is running; waiting for it', flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        if os.path.realpath(sys.prefix) != os.path.realpath(venv):
            python = make_venv(venv)
            os.execv(python, [python, os.path.abspath(__file__), profile])  # exec drops the lock, main takes it again
        check_python(sys.version_info, venv, 'rm -rf .venv && make install PYTHON=python3.11')
        install(profile, ROOT, lock)
    except (SetupError, KeyboardInterrupt) as error:
        sys.exit(f'error: {str(error) or "interrupted; run the same command again to go on"}')


if __name__ == '__main__':
    main()
