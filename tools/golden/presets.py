"""Makes the picture fixtures of crates/featvec/tests/fixtures/images, and what others decode and resize them to.

    python presets.py FOLDER

Needs tensorflow 2.15, pillow 13 (12 and before resize tall pictures in another order), opencv-python-headless,
tifffile, numpy. Run by hand once; the tests only read the results:

    *.png, *.gif, ...   small pictures, one per way of storing pixels
    decoded.npz         file name -> [h,w,3] uint8, by TensorFlow where it reads the format, else by Pillow
    upright.npz         file name -> the same turned by its EXIF tag, by Pillow
    presets.npz         preset__HxW__HxW -> [h,w,3] float32; from the picture HxW in resized.npz to HxW
"""

import io
import os
import struct
import sys
import zlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import cv2
import numpy as np
import tensorflow as tf
import tifffile
from PIL import Image, ImageOps

OUT = sys.argv[1]
RANDOM = np.random.RandomState(2014)
DECODED, UPRIGHT, PRESETS, SOURCES = {}, {}, {}, {}


def noise(h, w, channels=3, below=256):
    shape = (h, w, channels) if channels > 1 else (h, w)
    return RANDOM.randint(0, below, shape)


def write(name, data):
    with open(os.path.join(OUT, name), "wb") as file:
        file.write(data)
    return data


def by_tensorflow(name, data):
    write(name, data)
    DECODED[name] = tf.image.decode_image(data, channels=3, expand_animations=False).numpy()


def by_pillow(name, data):
    write(name, data)
    DECODED[name] = np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


# PNG: every colour type and depth, as stored and interlaced.

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(samples, colour, depth, interlaced=False, chunks=()):
    """samples: [h, w, channels] integers below 2**depth."""

    def rows(part):
        for row in part:
            if depth == 16:
                packed = row.astype(">u2").tobytes()
            else:
                bits = "".join(format(value, f"0{depth}b") for value in row.ravel())
                bits += "0" * (-len(bits) % 8)
                packed = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
            yield b"\0" + packed

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    h, w = samples.shape[:2]
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    raw = b"".join(row for part in parts if part.size for row in rows(part))
    header = struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, int(interlaced))
    body = b"".join(chunk(kind, content) for kind, content in chunks)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    )


GREY, RGB, INDEXED, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
for colour, channels, depths, name in [
    (GREY, 1, (1, 2, 4, 8, 16), "grey"),
    (RGB, 3, (8, 16), "rgb"),
    (INDEXED, 1, (1, 2, 4, 8), "indexed"),
    (GREY_ALPHA, 2, (8, 16), "grey_alpha"),
    (RGB_ALPHA, 4, (8, 16), "rgb_alpha"),
]:
    for depth in depths:
        for interlaced in (False, True):
            samples = RANDOM.randint(0, 1 << depth, (5, 7, channels))
            chunks = [(b"PLTE", RANDOM.bytes(3 << depth))] if colour == INDEXED else []
            suffix = "_interlaced" if interlaced else ""
            by_tensorflow(f"{name}{depth}{suffix}.png", png(samples, colour, depth, interlaced, chunks))
by_tensorflow(
    "indexed2_transparent.png",
    png(noise(5, 7, 1, 4)[..., None], INDEXED, 2, chunks=[(b"PLTE", RANDOM.bytes(12)), (b"tRNS", b"\0\x80")]),
)
by_tensorflow("grey8_transparent.png", png(noise(5, 7, 1, 3)[..., None], GREY, 8, chunks=[(b"tRNS", b"\0\1")]))
by_tensorflow(
    "rgb8_transparent.png", png(noise(5, 7, 3, 2), RGB, 8, chunks=[(b"gAMA", b"\0\0\xb1\x8f"), (b"tRNS", b"\0\1" * 3)])
)


# GIF, with codes that are never compressed.

GIF_PALETTE = bytes([10, 20, 30, 200, 0, 0, 0, 200, 0, 0, 0, 200])


def gif_frame(left, top, w, h, pixels, transparent=None, interlaced=False):
    codes = []
    for i, pixel in enumerate(pixels):
        codes += [4, pixel] if i % 2 == 0 else [pixel]
    bits, size = 0, 0
    for code in codes + [5]:
        bits |= code << size
        size += 3
    data = bits.to_bytes((size + 7) // 8, "little")
    control = b"" if transparent is None else b"\x21\xf9\x04" + bytes([1, 0, 0, transparent, 0])
    flags = 0x40 if interlaced else 0
    return control + struct.pack("<cHHHHBBB", b",", left, top, w, h, flags, 2, len(data)) + data + b"\0"


def gif(w, h, *frames):
    return b"GIF89a" + struct.pack("<HHBBB", w, h, 0x81, 0, 0) + GIF_PALETTE + b"".join(frames) + b";"


PIXELS = RANDOM.randint(0, 4, 96).tolist()
by_tensorflow("whole.gif", gif(6, 9, gif_frame(0, 0, 6, 9, PIXELS[:54])))
by_tensorflow("interlaced.gif", gif(6, 9, gif_frame(0, 0, 6, 9, PIXELS[:54], interlaced=True)))
by_tensorflow("transparent.gif", gif(4, 4, gif_frame(0, 0, 4, 4, PIXELS[:16], transparent=2)))
by_tensorflow("part.gif", gif(6, 6, gif_frame(1, 2, 4, 3, PIXELS[:12])))
by_tensorflow(
    "animated.gif", gif(6, 6, gif_frame(1, 2, 3, 3, PIXELS[:9]), gif_frame(0, 0, 5, 6, PIXELS[:30]))
)
by_tensorflow("no_trailer.gif", gif(6, 9, gif_frame(0, 0, 6, 9, PIXELS[:54]))[:-1])
by_tensorflow("adaptive.gif", saved(Image.fromarray(noise(9, 11).astype(np.uint8)).quantize(64), "GIF"))


# BMP. Pillow knows the run lengths but cannot write them.


def bmp(w, h, bits, compression, data, palette=b"", masks=b"", core=False):
    if core:
        info = struct.pack("<IHHHH", 12, w, h, 1, bits)
    else:
        colours = len(palette) // 4
        info = struct.pack("<IiiHHIIiiII", 40, w, h, 1, bits, compression, len(data), 2835, 2835, colours, 0)
    offset = 14 + len(info) + len(masks) + len(palette)
    return struct.pack("<2sIHHI", b"BM", offset + len(data), 0, 0, offset) + info + masks + palette + data


image = Image.fromarray(noise(5, 7).astype(np.uint8))
by_tensorflow("rgb24.bmp", saved(image, "BMP"))
by_tensorflow("top_down.bmp", bmp(3, -2, 24, 0, RANDOM.bytes(24)))
by_pillow("rgb32.bmp", saved(image.convert("RGBA"), "BMP"))
by_pillow("indexed1.bmp", saved(image.convert("1"), "BMP"))
by_pillow("indexed4.bmp", bmp(5, 3, 4, 0, RANDOM.bytes(12), palette=RANDOM.bytes(64)))
by_pillow("indexed8.bmp", saved(image.quantize(16), "BMP"))
by_pillow("grey8.bmp", saved(image.convert("L"), "BMP"))
by_pillow("rgb555.bmp", bmp(3, 2, 16, 0, RANDOM.bytes(16)))
by_pillow("rgb565.bmp", bmp(3, 2, 16, 3, RANDOM.bytes(16), masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F)))
by_pillow("core.bmp", bmp(3, 2, 8, 0, bytes([0, 1, 2, 0, 3, 2, 1, 0]), palette=RANDOM.bytes(768), core=True))
RUNS8 = bytes([3, 1, 2, 2, 0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 0, 2, 2, 1, 2, 9, 0, 0, 5, 3, 0, 1])
by_pillow("runs8.bmp", bmp(5, 5, 8, 1, RUNS8, palette=RANDOM.bytes(64)))
RUNS4 = bytes([5, 0x12, 0, 0, 0, 5, 0x12, 0x34, 0x50, 0, 0, 0, 4, 0x67, 0, 0, 0, 1])
by_pillow("runs4.bmp", bmp(5, 3, 4, 2, RUNS4, palette=RANDOM.bytes(64)))


# WebP and TIFF.

y, x = np.mgrid[0:19, 0:23]
smooth = np.stack([x * 10, y * 12, 255 - x * 5 - y * 5], -1).astype(np.uint8)
photo = Image.fromarray(smooth)
half_clear = Image.fromarray(np.dstack([smooth, (x * 11).astype(np.uint8)]))
by_pillow("lossless.webp", saved(image, "WEBP", lossless=True))
by_pillow("lossless_alpha.webp", saved(half_clear, "WEBP", lossless=True, exact=True))
by_pillow("lossy.webp", saved(photo, "WEBP", quality=80))
by_pillow("lossy_alpha.webp", saved(half_clear, "WEBP", quality=80))
by_pillow("animated.webp", saved(photo, "WEBP", lossless=True, save_all=True, append_images=[photo.rotate(180)]))

by_pillow("rgb8.tif", saved(image, "TIFF"))
by_pillow("rgb8_alpha.tif", saved(half_clear, "TIFF", compression="tiff_lzw"))
by_pillow("rgb8_deflate.tif", saved(photo, "TIFF", compression="tiff_adobe_deflate"))
by_pillow("rgb8_packbits.tif", saved(photo, "TIFF", compression="packbits"))
by_pillow("grey1.tif", saved(image.convert("1"), "TIFF"))
by_pillow("grey8.tif", saved(image.convert("L"), "TIFF"))
by_pillow("grey8_alpha.tif", saved(half_clear.convert("LA"), "TIFF"))
by_pillow("indexed8.tif", saved(image.quantize(16), "TIFF"))
by_pillow("cmyk8.tif", saved(image.convert("CMYK"), "TIFF"))


def by_tifffile(name, array, expected, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    write(name, file.getvalue())
    DECODED[name] = expected


words = noise(5, 7, 3, 1 << 16).astype(np.uint16)
by_tifffile("rgb16.tif", words, (words >> 8).astype(np.uint8), photometric="rgb")
by_tifffile("rgb16_big_endian.tif", words, (words >> 8).astype(np.uint8), photometric="rgb", byteorder=">")
grey = words[..., 0]
by_tifffile("grey16.tif", grey, np.dstack([grey >> 8] * 3).astype(np.uint8), photometric="minisblack")
planes = np.ascontiguousarray(smooth.transpose(2, 0, 1))
by_tifffile("planar.tif", planes, smooth, photometric="rgb", planarconfig="separate")
by_tifffile("tiled.tif", smooth, smooth, photometric="rgb", tile=(16, 16))
inverse = 255 - smooth[..., 0]
by_tifffile("white_is_zero.tif", inverse, np.dstack([smooth[..., 0]] * 3), photometric="miniswhite")


# The eight EXIF orientations.

for value in range(1, 9):
    picture = Image.fromarray(noise(3, 2).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = value
    for name, data in [
        (f"orientation{value}.png", saved(picture, "PNG", exif=exif)),
        (f"orientation{value}.webp", saved(picture, "WEBP", lossless=True, exif=exif)),
        (f"orientation{value}.tif", saved(picture, "TIFF", exif=exif)),
    ]:
        write(name, data)
        # As stored: Pillow turns TIFF upright unasked.
        DECODED[name] = np.array(picture)
        UPRIGHT[name] = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
exif = Image.Exif()
exif[0x0112] = 6
data = saved(photo, "JPEG", exif=exif)
by_tensorflow("orientation6.jpg", data)
UPRIGHT["orientation6.jpg"] = np.rot90(DECODED["orientation6.jpg"], -1)


# The presets, on pictures of awkward shapes.

RECIPROCAL = np.float32(1 / 255.0)


def legacy(floats, size):
    return tf.compat.v1.image.resize_bilinear(floats[None], size).numpy()[0]


def opencv(picture, size):
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)


def pillow(picture, size):
    return np.array(Image.fromarray(picture).resize(size[::-1], Image.BILINEAR))


RESIZE = {
    "tf1-retrain": lambda p, size: legacy(tf.image.convert_image_dtype(p, tf.float32), size),
    "slim-eval": lambda p, size: legacy(tf.image.central_crop(tf.image.convert_image_dtype(p, tf.float32), 0.875), size),
    "keras-pil": lambda p, size: pillow(p, size).astype(np.float32) * RECIPROCAL,
    "tf2": lambda p, size: tf.image.resize(p, size).numpy() * RECIPROCAL,
    "opencv": lambda p, size: opencv(p, size).astype(np.float32) / np.float32(255),
}
for (h, w), size in [
    ((1, 1), (5, 4)),
    ((3, 5), (17, 16)),
    ((17, 301), (16, 20)),
    ((301, 17), (20, 16)),
    ((640, 2), (24, 7)),
    ((2, 640), (7, 24)),
    ((20, 24), (20, 24)),
    ((40, 48), (20, 24)),
    ((31, 29), (30, 31)),
    ((9, 9), (1, 1)),
]:
    picture = noise(h, w).astype(np.uint8)
    SOURCES[f"{h}x{w}"] = picture
    for preset, resize in RESIZE.items():
        PRESETS[f"{preset}__{h}x{w}__{size[0]}x{size[1]}"] = resize(picture, size)

for name, arrays in [("decoded", DECODED), ("upright", UPRIGHT), ("presets", PRESETS), ("resized", SOURCES)]:
    np.savez_compressed(os.path.join(OUT, name + ".npz"), **arrays)
