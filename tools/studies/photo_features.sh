#!/usr/bin/env bash
# Writes the features for features.py: those of VOC 2007 and MS-COCO (or a part of it in its layout) at 224 px, original
# and mirrored. The lists below split the training images into training and validation.
#   bash tools/studies/photo_features.sh VOC_ROOT COCO_ROOT data/features
set -euo pipefail
voc=$1 coco=$2 out=$3
tools=$(cd "$(dirname "$0")/.." && pwd)
configs=$tools/../configs/photos
mkdir -p "$out"

extract() { # name config options...
    for view in '' _flip; do
        flip=$([ -z "$view" ] && echo 0.0 || echo 1.0)
        cat > "$out/$1$view.py" <<CONFIG
_base_ = '$configs/$2'
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmasl.SquishResize', scale=224),
    dict(type='RandomFlip', prob=$flip),
    dict(type='PackInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=pipeline))
CONFIG
        python "$tools/misc/extract_features.py" "$out/$1$view.py" "$out/$1$view" --amp --workers 0 --shard 500 \
            --cfg-options "${@:3}"
    done
}

sets=ImageSets/Main
extract voc efficientnet-lite0-ce_1xb16_voc07-128px.py data_root="$voc" \
    train_dataloader.dataset.dataset.image_set_path=$sets/train_tune.txt \
    val_dataloader.dataset.image_set_path=$sets/train_dev.txt
extract coco efficientnet-lite0-ce_1xb16_coco14-128px.py data_root="$coco" \
    train_dataloader.dataset.dataset.ann_file=annotations/instances_train_tune.json \
    val_dataloader.dataset.ann_file=annotations/instances_train_dev.json val_dataloader.dataset.data_prefix=train2014
