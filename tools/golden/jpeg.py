"""Makes the JPEG fixtures of crates/featvec-jpeg: files that ordinary encoders do not write, decoded by TensorFlow.

    pip install tensorflow-cpu==2.15.1
    python tools/golden/jpeg.py crates/featvec-jpeg/tests/fixtures

The writer here works on coefficients, not on pictures: any sampling, any scan script, any values. A fixture is NAME.jpg and
either NAME.fast.rgb and NAME.accurate.rgb (TensorFlow's pixels, rows of RGB) or nothing more where TensorFlow refuses the file.
NAME.ratio2.rgb, NAME.ratio4.rgb and NAME.ratio8.rgb are the pixels shrunk while decoding, also of two of Pillow's files.
"""

import os
import pathlib
import sys

import numpy as np

ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, (i % 8 if (i // 8 + i % 8) % 2 == 0 else i // 8)))


class Code:
    """A Huffman code for all 256 symbols; `skewed` has codes of up to 16 bits."""

    def __init__(self, skewed=False, symbols=None):
        symbols = list(range(256)) if symbols is None else list(symbols)
        self.counts = [0] * 16
        if skewed:
            short = min(9, len(symbols))
            self.counts[1 : 1 + short] = [1] * short
            self.counts[15] = len(symbols) - short
        else:
            self.counts[7] = min(128, len(symbols))
            self.counts[8] = len(symbols) - self.counts[7]
        self.symbols = symbols
        self.codes, code, i = {}, 0, 0
        for length, count in enumerate(self.counts, 1):
            for _ in range(count):
                self.codes[symbols[i]] = (code, length)
                code, i = code + 1, i + 1
            code <<= 1

    def segment(self, slot):
        return segment(0xC4, bytes([slot, *self.counts, *self.symbols]))


class Bits:
    def __init__(self):
        self.out, self.value, self.length = bytearray(), 0, 0

    def put(self, value, length):
        self.value, self.length = self.value << length | value, self.length + length
        while self.length >= 8:
            self.length -= 8
            byte = self.value >> self.length & 255
            self.out += bytes([byte, 0] if byte == 255 else [byte])
            self.value &= (1 << self.length) - 1

    def symbol(self, code, symbol):
        self.put(*code.codes[symbol])

    def magnitude(self, value, size):
        self.put(value if value > 0 else value + (1 << size) - 1, size)

    def flush(self):
        if self.length:
            pad = 8 - self.length
            self.put((1 << pad) - 1, pad)


def segment(marker, payload):
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


class Scan:
    """A scan of `components` (indices), coefficients `first..=last`, bits `high` to `low`."""

    def __init__(self, components, first=0, last=63, high=0, low=0):
        self.components, self.first, self.last, self.high, self.low = components, first, last, high, low


class Picture:
    """Random coefficients in a given geometry, written as a file."""

    def __init__(self, rng, width, height, sampling, *, wild=False, ids=None, quality=None):
        self.width, self.height, self.sampling = width, height, sampling
        self.ids = ids or list(range(1, len(sampling) + 1))
        self.max_h, self.max_v = max(h for h, _ in sampling), max(v for _, v in sampling)
        self.mcus_wide = -(-width // (8 * self.max_h))
        self.mcus_high = -(-height // (8 * self.max_v))
        self.steps = [rng.integers(1, 256 if wild else quality or 12, 64) for _ in sampling]
        self.planes = []
        for (h, v), steps in zip(sampling, self.steps):
            shape = (self.mcus_high * v, self.mcus_wide * h, 64)
            limit = 1023 if wild else np.maximum(1, 300 // (1 + np.arange(64)) // steps)
            plane = rng.integers(-limit, limit + 1, shape) * (rng.random(shape) < rng.choice([0.03, 0.2, 0.9]))
            plane[..., 0] = rng.integers(-1023, 1024, shape[:2]) if wild else rng.integers(-900, 900, shape[:2]) // steps[0]
            if rng.random() < 0.3:
                plane[..., rng.integers(1, 64) :] = 0
            self.planes.append(plane.astype(np.int64))

    def tables(self, wide=False):
        out = b""
        for i, steps in enumerate(self.steps[:4]):
            out += segment(0xDB, bytes([i | 16 * wide]) + steps.astype(">u2" if wide else "u1").tobytes())
        return out

    def frame(self, marker):
        spec = bytes([8]) + self.height.to_bytes(2, "big") + self.width.to_bytes(2, "big") + bytes([len(self.sampling)])
        for i, (id_, (h, v)) in enumerate(zip(self.ids, self.sampling)):
            spec += bytes([id_, h << 4 | v, min(i, 3)])
        return segment(marker, spec)

    def units(self, scan):
        """The scan's MCUs in order, each a list of (component, block)."""
        if len(scan.components) == 1:
            c = scan.components[0]
            h, v = self.sampling[c]
            wide = -(-self.width * h // (8 * self.max_h))
            high = -(-self.height * v // (8 * self.max_v))
            return [[(c, self.planes[c][y, x])] for y in range(high) for x in range(wide)]
        return [
            [
                (c, self.planes[c][my * v + y, mx * h + x])
                for c in scan.components
                for h, v in [self.sampling[c]]
                for y in range(v)
                for x in range(h)
            ]
            for my in range(self.mcus_high)
            for mx in range(self.mcus_wide)
        ]

    def scan(self, scan, code, restart=0, progressive=False):
        spec = bytes([len(scan.components)])
        for c in scan.components:
            spec += bytes([self.ids[c], 0])
        spec += bytes([scan.first, scan.last, scan.high << 4 | scan.low])
        out = segment(0xDA, spec)
        units = self.units(scan)
        step = restart or len(units)
        for n, start in enumerate(range(0, len(units), step)):
            if n:
                out += bytes([0xFF, 0xD0 + (n - 1) % 8])
            coder = Coder(scan, code, progressive)
            for unit in units[start : start + step]:
                for c, block in unit:
                    coder.block(c, [int(x) for x in block])
            out += coder.finish()
        return out

    def file(self, *, scans=None, code=None, restart=0, marker=0xC0, app=b"", wide=False, tail=b"\xff\xd9"):
        code = code or Code()
        progressive = marker == 0xC2
        dc_code = Code(symbols=range(16))
        out = b"\xff\xd8" + app + self.tables(wide) + self.frame(marker) + dc_code.segment(0) + code.segment(0x10)
        if restart:
            out += segment(0xDD, restart.to_bytes(2, "big"))
        for scan in scans or [Scan(list(range(len(self.sampling))))]:
            out += self.scan(scan, (dc_code, code), restart, progressive)
        return out + tail


class Coder:
    """Entropy coding of one restart interval."""

    def __init__(self, scan, codes, progressive):
        self.bits, self.scan, self.progressive = Bits(), scan, progressive
        self.dc_code, self.code = codes
        self.last, self.run, self.pending = {}, 0, []

    def block(self, c, block):
        if not self.progressive:
            self.dc(c, block[0])
            self.ac([(k, v) for k, v in enumerate(block) if k and v], 63, runs=False)
        elif self.scan.first == 0:
            if self.scan.high:
                self.bits.put(block[0] >> self.scan.low & 1, 1)
            else:
                self.dc(c, block[0] >> self.scan.low)
        else:
            band = {k: abs(block[k]) >> self.scan.low for k in range(self.scan.first, self.scan.last + 1)}
            if self.scan.high:
                self.refine(band, block)
            else:
                values = [(k, v if block[k] > 0 else -v) for k, v in band.items() if v]
                self.ac(values, self.scan.last, runs=True)

    def dc(self, c, value):
        difference = value - self.last.get(c, 0)
        self.last[c] = value
        size = abs(difference).bit_length()
        self.bits.symbol(self.dc_code, size)
        if size:
            self.bits.magnitude(difference, size)

    def ac(self, values, last, runs):
        at = self.scan.first if runs else 1
        for k, value in values:
            self.end_run()
            while k - at > 15:
                self.bits.symbol(self.code, 0xF0)
                at += 16
            size = abs(value).bit_length()
            self.bits.symbol(self.code, (k - at) << 4 | size)
            self.bits.magnitude(value, size)
            at = k + 1
        if at <= last:
            if runs:
                self.add_run([])
            else:
                self.bits.symbol(self.code, 0)

    def refine(self, band, block):
        end = max((k for k, v in band.items() if v == 1), default=-1)
        zeros, corrections = 0, []
        for k, value in band.items():
            if value == 0:
                zeros += 1
                continue
            while zeros > 15 and k <= end:
                self.end_run()
                self.bits.symbol(self.code, 0xF0)
                self.put_all(corrections)
                corrections, zeros = [], zeros - 16
            if value > 1:
                corrections.append(value & 1)
                continue
            self.end_run()
            self.bits.symbol(self.code, zeros << 4 | 1)
            self.bits.put(int(block[k] > 0), 1)
            self.put_all(corrections)
            corrections, zeros = [], 0
        if zeros or corrections:
            self.add_run(corrections)

    def put_all(self, bits):
        for bit in bits:
            self.bits.put(bit, 1)

    def add_run(self, corrections):
        self.run += 1
        self.pending += corrections
        if self.run == 0x7FFF:
            self.end_run()

    def end_run(self):
        if self.run:
            size = self.run.bit_length() - 1
            self.bits.symbol(self.code, size << 4)
            if size:
                self.bits.put(self.run & ((1 << size) - 1), size)
            self.put_all(self.pending)
            self.run, self.pending = 0, []

    def finish(self):
        self.end_run()
        self.bits.flush()
        return bytes(self.bits.out)


def progressive_script(rng, components, complete=True):
    """A random legal sequence of scans; an incomplete one leaves some bits or bands out."""
    low = int(rng.integers(0, 3))
    scans = [[Scan(list(range(components)), 0, 0, 0, low)]]
    scans[0] += [Scan(list(range(components)), 0, 0, bit + 1, bit) for bit in reversed(range(low))]
    for c in range(components):
        cuts = [0] + sorted(int(x) for x in rng.choice(np.arange(1, 63), rng.integers(0, 3), replace=False)) + [63]
        for begin, end in zip(cuts, cuts[1:]):
            low = int(rng.integers(0, 4))
            scans.append([Scan([c], begin + 1, end, 0, low)])
            scans[-1] += [Scan([c], begin + 1, end, bit + 1, bit) for bit in reversed(range(low))]
    if not complete:
        scans = [s[: rng.integers(1 if i == 0 else 0, len(s) + 1)] for i, s in enumerate(scans)]
    out, heads = scans[0][:1], [scans[0][1:]] + scans[1:]
    while any(heads):
        queue = heads[rng.choice([i for i, s in enumerate(heads) if s])]
        out.append(queue.pop(0))
    return out


def adobe(transform):
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def sequential_script(components):
    return [Scan([c]) for c in range(components)]


def fixtures():
    """Names and bytes of all fixtures."""
    rng = np.random.default_rng(20)

    def picture(width, height, *sampling, **options):
        return Picture(rng, width, height, list(sampling), **options)

    for name, sampling in {
        "h2v2": [(2, 2), (1, 1), (1, 1)],
        "h2v1": [(2, 1), (1, 1), (1, 1)],
        "h1v2": [(1, 2), (1, 1), (1, 1)],
        "h4v1": [(4, 1), (1, 1), (1, 1)],
        "h3v1": [(3, 1), (1, 1), (1, 1)],
        "chroma_larger": [(1, 1), (2, 2), (1, 2)],
    }.items():
        yield name, picture(37, 35, *sampling).file()
    # Too many blocks for one MCU, so each component has its own scan.
    yield "h4v2_of_h2v1", picture(37, 35, (4, 2), (2, 1), (1, 1)).file(scans=sequential_script(3))
    yield "h2v4_of_h1v2", picture(37, 35, (2, 4), (1, 2), (1, 1)).file(scans=sequential_script(3))
    for width in range(1, 6):
        yield f"narrow{width}", picture(width, 19, (2, 2), (1, 1), (1, 1)).file()
    yield "grey_2x2", picture(21, 23, (2, 2)).file()
    yield "wild", picture(24, 16, (1, 1), (1, 1), (1, 1), wild=True).file(wide=True, code=Code(skewed=True))
    yield "rgb_by_adobe", picture(9, 9, (1, 1), (1, 1), (1, 1)).file(app=adobe(0))
    yield "rgb_by_id", picture(9, 9, (1, 1), (1, 1), (1, 1), ids=list(b"RGB")).file()
    yield "cmyk", picture(18, 9, (1, 1), (1, 1), (1, 1), (1, 1)).file()
    yield "cmyk_adobe", picture(18, 9, (1, 1), (1, 1), (1, 1), (1, 1)).file(app=adobe(0))
    yield "ycck_adobe", picture(18, 9, (2, 2), (1, 1), (1, 1), (2, 2)).file(app=adobe(2))
    small = [(2, 2), (1, 1), (1, 1)]
    yield "restart", picture(40, 40, *small).file(restart=2)
    yield "not_interleaved", picture(33, 20, *small).file(scans=sequential_script(3))
    yield "progressive", picture(33, 20, *small).file(marker=0xC2, scans=progressive_script(rng, 3), restart=3)
    yield "progressive_dc_only", picture(40, 40, *small).file(marker=0xC2, scans=[Scan([0, 1, 2], 0, 0)])
    yield "progressive_unfinished", picture(40, 40, *small).file(
        marker=0xC2, scans=[Scan([0, 1, 2], 0, 0, 0, 1), Scan([0], 1, 20, 0, 1), Scan([0, 1, 2], 0, 0, 1, 0)]
    )
    whole = picture(40, 40, *small).file(restart=2)
    yield "cut_short_with_end", whole[: len(whole) * 2 // 3] + b"\xff\xd9"
    yield "restart_missing", whole.replace(b"\xff\xd1", b"", 1)
    yield "restart_twice", whole.replace(b"\xff\xd1", b"\xff\xd1\xff\xd1", 1)
    yield "garbage_after", whole + b"garbage"
    yield "fill_bytes", whole.replace(b"\xff\xd1", b"\xff\xff\xff\xd1", 1).replace(b"\xff\xda", b"\xff\xff\xda", 1)
    yield "refused_no_end", whole[:-2]
    yield "refused_two_scans", whole[:-2] + whole[whole.index(b"\xff\xda") :]


def main(folder):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    folder = pathlib.Path(folder)
    for name, data in fixtures():
        (folder / f"{name}.jpg").write_bytes(data)
        for method, suffix in (("INTEGER_FAST", "fast"), ("INTEGER_ACCURATE", "accurate")):
            try:
                pixels = tf.raw_ops.DecodeJpeg(contents=data, channels=3, dct_method=method).numpy()
            except tf.errors.InvalidArgumentError:
                print(f"{name}: refused")
                continue
            (folder / f"{name}.{suffix}.rgb").write_bytes(pixels.tobytes())
    shrunk = [folder / f"{name}.jpg" for name, _ in fixtures()] + [folder / "420.jpg", folder / "422.jpg"]
    for path in shrunk:
        for ratio in (2, 4, 8):
            if path.with_suffix(".fast.rgb").exists():
                pixels = tf.raw_ops.DecodeJpeg(contents=path.read_bytes(), channels=3, ratio=ratio, dct_method="INTEGER_FAST")
                path.with_suffix(f".ratio{ratio}.rgb").write_bytes(pixels.numpy().tobytes())


if __name__ == "__main__":
    main(sys.argv[1])
