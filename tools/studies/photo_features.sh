#!/usr/bin/env bash
# Writes the features for features.py: those of VOC 2007 and MS-COCO (or a part of it in its layout) at 224 px, original
# and mirrored. The lists below split the training images into training and validation.
#   bash tools/studies/photo_features.sh VOC_ROOT COCO_ROOT data/features
set -euo pipefail
voc=$1 coco=$2 out=$3
root=$(cd "$(dirname "$0")/../.." && pwd)

extract() { # name options...
    for flip in '' --flip; do
        python "$root/tools/misc/extract_features.py" "$root/configs/photos/efficientnet-lite0-ce_1xb16_$1-128px.py" \
            "$out/${1%[0-9][0-9]}${flip/--/_}" $flip --amp --workers 0 --shard 500 \
            --cfg-options test_dataloader.dataset.pipeline.1.scale=224 "${@:2}"
    done
}

sets=ImageSets/Main
extract voc07 data_root="$voc" train_dataloader.dataset.dataset.image_set_path=$sets/train_tune.txt \
    val_dataloader.dataset.dataset.image_set_path=$sets/train_dev.txt
extract coco14 data_root="$coco" train_dataloader.dataset.dataset.ann_file=annotations/instances_train_tune.json \
    val_dataloader.dataset.dataset.ann_file=annotations/instances_train_dev.json \
    val_dataloader.dataset.dataset.data_prefix=train2014
