#!/usr/bin/env bash
# Unpacks what `mim download mmasl --dataset NAME` fetched into the layout that the configs read; the archives stay.
#     unpack_download.sh DOWNLOAD_DIR DATA_ROOT
set -euo pipefail
[ $# = 2 ] && [ -d "$1" ] || { echo "usage: $0 DOWNLOAD_DIR DATA_ROOT, and DOWNLOAD_DIR exists" >&2; exit 2; }
mkdir -p "$2"
found=0
while IFS= read -r -d '' archive; do
    echo "unpacking $archive"
    case $archive in
        *.zip) unzip -q -o "$archive" -d "$2" ;;
        *) tar -xf "$archive" -C "$2" ;;
    esac
    found=1
done < <(find "$1" -path '*/OpenDataLab___*/raw/*' \( -name '*.zip' -o -name '*.tar' -o -name '*.tar.gz' \) -print0 | sort -z)
[ $found = 1 ] || { echo "no archive below $1/OpenDataLab___*/raw" >&2; exit 1; }
