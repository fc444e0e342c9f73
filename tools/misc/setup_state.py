"""What the set-up wants and what is there, from files alone: no package is imported.

Part of ``setup_env.py``: standard library only.
"""

import glob
import hashlib
import json
import os
import pathlib
import re
import shutil
import sys

from setup_log import SetupError

PROFILES = {
    'demo': ['build', 'torch', 'classification'],
    'full': ['build', 'torch', 'classification', 'detection', 'tests'],
    'docs': ['build', 'torch', 'classification', 'detection', 'tests', 'docs'],
}
ORIGINALS = {  # the maintained forks, and what they are forks of
    'onedl-mmengine': 'mmengine',
    'onedl-mmcv': 'mmcv',
    'onedl-mmpretrain': 'mmpretrain',
    'onedl-mmdetection': 'mmdet',
}


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


def requirements(root, name):
    return os.path.join(root, 'requirements', name + '.txt')


def pins_of(root, part, stack):
    """The pins of ``requirements/{part}.txt``, with those of ``requirements/openmmlab.txt`` in their place if asked."""
    pins = read_pins(requirements(root, part))
    if stack == 'openmmlab':
        own = dict(read_pins(requirements(root, stack)))
        pins = [(ORIGINALS.get(name, name), version) for name, version in pins]
        pins = [(name, own.get(name, version)) for name, version in pins]
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


def fingerprint(root, profile, stack):
    """Changes with anything that decides what the set-up does, mmasl's own C++ included."""
    digest = hashlib.sha256(sys.version.encode())
    names = PROFILES[profile] + ['mmcv'] + (['openmmlab'] if stack == 'openmmlab' else [])
    paths = [requirements(root, name) for name in names] + [os.path.join(root, 'setup.py')]
    paths += sorted(glob.glob(os.path.join(root, 'tools', 'misc', 'setup_*.py')))
    paths += [os.path.join(root, 'tools', 'misc', 'mmcv_wheel.py')]
    for path in paths + own_files(root, '*.cpp') + own_files(root, '*.h'):
        with open(path, 'rb') as file:
            digest.update(file.read())
    return digest.hexdigest()


def own_files(root, pattern):
    return sorted(glob.glob(os.path.join(root, 'mmasl', '**', pattern), recursive=True))


def stamp_path(profile):
    return os.path.join(sys.prefix, f'mmasl-{profile}.stamp')


def write_stamp(root, profile, stack):
    """Marks the end of a set-up. The compiled kernel is optional, so the stamp says whether there was one."""
    with open(stamp_path(profile), 'w') as file:
        json.dump([fingerprint(root, profile, stack), own_files(root, '*.so')], file)


def is_done(root, profile, stack, site):
    """Whether an earlier run reached its end with these files, and what it installed is still there."""
    if not os.path.exists(stamp_path(profile)):
        return False
    with open(stamp_path(profile)) as file:
        if file.read() != json.dumps([fingerprint(root, profile, stack), own_files(root, '*.so')]):
            return False
    pins = [pin for part in PROFILES[profile] + ['mmcv'] for pin in pins_of(root, part, stack)]
    return not missing(pins, site) and is_editable(site, root) and (profile == 'demo' or has_ops(site))
