"""Makes crates/featvec/tests/fixtures/augment.npz: what TensorFlow makes of a picture by TF-Slim's distortions with
given numbers.

    python augment.py FILE.npz

Needs tensorflow 2.15, numpy. Run by hand once; the tests only read the result:

    source              [h,w,3] uint8
    LEFT,TOP,WxH|RESIZE|FLIP|COLOUR=NUMBER,...|HxW
                        [h,w,3] float32: the part of the source, scaled to [0,1], resized as TensorFlow 1 does, mirrored
                        where FLIP is 1, its colours changed in that order and clipped
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

RANDOM = np.random.RandomState(14)
H, W = 23, 31

# Smooth colours with noise, some grey, black and white pixels, and the extremes of each channel.
y, x = np.mgrid[0:H, 0:W]
source = np.stack([x * 255 / (W - 1), y * 255 / (H - 1), (x + y) * 255 / (W + H - 2)], axis=-1)
source = np.clip(source + RANDOM.normal(0, 30, source.shape), 0, 255).astype(np.uint8)
source[:3, :6] = RANDOM.randint(0, 256, (3, 6, 1))
source[3, :8] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 0], [0, 9, 9], [9, 0, 9]]

v1 = tf.compat.v1.image
RESIZES = {
    "bilinear": v1.resize_bilinear,
    "nearest": v1.resize_nearest_neighbor,
    "bicubic": v1.resize_bicubic,
    "area": v1.resize_area,
}
COLOURS = {
    "brightness": tf.image.adjust_brightness,
    "saturation": tf.image.adjust_saturation,
    "hue": tf.image.adjust_hue,
    "contrast": tf.image.adjust_contrast,
}

CASES = [
    # Each way to resize: smaller, larger, one pixel, another shape.
    *[((2, 1, 27, 20), resize, 0, [], size) for resize in RESIZES for size in [(11, 13), (40, 37), (20, 27)]],
    *[((5, 3, 1, 1), resize, 1, [], (4, 5)) for resize in RESIZES],
    # Each change of colours.
    *[((0, 0, W, H), "nearest", 0, [(name, value)], (H, W))
      for name, values in [("brightness", [-0.125, 0.0625]), ("saturation", [0.5, 0.75, 1.5]),
                           ("hue", [-0.1875, 0.0625, 0.1875]), ("contrast", [0.5, 1.5])]
      for value in values],
    # TF-Slim's orders; values leave [0, 1] on the way.
    ((1, 2, 25, 19), "bilinear", 1, [("brightness", -0.125), ("saturation", 1.5)], (16, 16)),
    ((1, 2, 25, 19), "bilinear", 0, [("saturation", 1.375), ("brightness", 0.125)], (16, 16)),
    ((0, 0, W, H), "bicubic", 1,
     [("brightness", -0.125), ("saturation", 1.5), ("hue", 0.1875), ("contrast", 1.5)], (H, W)),
    ((0, 0, W, H), "bicubic", 0,
     [("saturation", 1.5), ("brightness", 0.125), ("contrast", 1.25), ("hue", -0.125)], (30, 30)),
    ((3, 0, 20, 23), "area", 0,
     [("contrast", 1.5), ("hue", -0.1875), ("brightness", -0.125), ("saturation", 0.5)], (12, 12)),
    ((3, 0, 20, 23), "nearest", 1,
     [("hue", 0.125), ("saturation", 0.625), ("contrast", 1.5), ("brightness", 0.0625)], (12, 12)),
]

arrays = {"source": source}
for (left, top, width, height), resize, flip, colours, size in CASES:
    part = source[top : top + height, left : left + width]
    image = tf.image.convert_image_dtype(part, tf.float32)
    image = RESIZES[resize](image[None], size)[0]
    if flip:
        image = tf.image.flip_left_right(image)
    for name, value in colours:
        image = COLOURS[name](image, value)
    image = tf.clip_by_value(image, 0.0, 1.0)
    changes = ",".join(f"{name}={value}" for name, value in colours)
    key = f"{left},{top},{width}x{height}|{resize}|{flip}|{changes}|{size[0]}x{size[1]}"
    arrays[key] = image.numpy()
np.savez_compressed(sys.argv[1], **arrays)
print(len(CASES), "cases,", os.path.getsize(sys.argv[1]), "bytes")
