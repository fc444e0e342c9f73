"""What openxlab leaves on disk becomes the layout of the configs."""

import subprocess
import tarfile
import zipfile
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / 'tools/dataset_converters/unpack_download.sh'


def unpack(*arguments):
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True)


def test_zip_and_tar_are_unpacked_and_kept(tmp_path):
    raw = tmp_path / 'download/OpenDataLab___COCO_2017/raw'
    (raw / 'Images').mkdir(parents=True)
    with zipfile.ZipFile(raw / 'Images/val2017.zip', 'w') as archive:
        archive.writestr('val2017/1.jpg', 'image')
    (tmp_path / 'instances_val2017.json').write_text('{}')
    with tarfile.open(raw / 'annotations.tar', 'w') as archive:
        archive.add(tmp_path / 'instances_val2017.json', 'annotations/instances_val2017.json')

    done = unpack(tmp_path / 'download', tmp_path / 'data/coco')

    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'data/coco/val2017/1.jpg').read_text() == 'image'
    assert (tmp_path / 'data/coco/annotations/instances_val2017.json').exists()
    assert (raw / 'Images/val2017.zip').exists()


def test_nothing_to_unpack_is_an_error(tmp_path):
    done = unpack(tmp_path, tmp_path / 'data')
    assert done.returncode == 1 and f'no archive below {tmp_path}/OpenDataLab___*/raw' in done.stderr
    done = unpack(tmp_path / 'absent', tmp_path / 'data')
    assert done.returncode == 2 and 'DOWNLOAD_DIR exists' in done.stderr
