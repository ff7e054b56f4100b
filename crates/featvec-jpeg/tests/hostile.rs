//! Files that lie, end early or are damaged: an error or a picture, never a panic and never a huge
//! allocation.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use featvec_jpeg::{Decoder, ErrorKind, Options, Result};

/// Small fixtures that together take every path through the decoder.
const SMALL: [&str; 9] = [
    "narrow3",
    "grey_2x2",
    "rgb_by_id",
    "cmyk_adobe",
    "not_interleaved",
    "restart",
    "progressive",
    "progressive_unfinished",
    "wild",
];

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.jpg"))).unwrap()
}

fn decode(data: &[u8]) -> Result<Vec<u8>> {
    Decoder::new(data)?.decode(&Options::default())
}

fn kind(data: &[u8]) -> Option<ErrorKind> {
    decode(data).err().map(|error| error.kind())
}

/// Position of the first segment with this marker.
fn find(data: &[u8], marker: u8) -> usize {
    data.windows(2).position(|w| w == [0xFF, marker]).unwrap()
}

/// `data` with `bytes` written over what lies at `at`.
fn patched(data: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data[at..at + bytes.len()].copy_from_slice(bytes);
    data
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    for name in SMALL {
        let data = fixture(name);
        for length in 0..data.len() {
            let error = decode(&data[..length]).expect_err(name);
            assert!(error.offset() <= length, "{name} cut to {length} bytes: {error}");
        }
    }
}

#[test]
fn a_flipped_bit_in_any_byte_is_survived() {
    for name in SMALL {
        let mut data = fixture(name);
        for at in 0..data.len() {
            let bit = 1 << (at % 8);
            data[at] ^= bit;
            if let Ok(decoder) = Decoder::new(&data)
                && let Ok(pixels) =
                    decoder.decode(&Options { max_memory_bytes: 1 << 20, ..Options::default() })
            {
                assert_eq!(pixels.len(), 3 * decoder.info().width * decoder.info().height);
            }
            data[at] ^= bit;
        }
    }
}

#[test]
fn random_damage_is_survived() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let markers = [0xC0, 0xC2, 0xC4, 0xD0, 0xD3, 0xD7, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xE0, 0xFF, 0x00];
    let mut decoded = 0;
    for round in 0..4000 {
        let mut data = fixture(SMALL[round % SMALL.len()]);
        for _ in 0..=random(4) {
            let at = random(data.len());
            match random(4) {
                0 => data[at] = random(256) as u8,
                1 => drop(data.drain(at..(at + random(8)).min(data.len()))),
                2 => drop(data.splice(at..at, [0xFF, markers[random(markers.len())]])),
                _ => {
                    let from = random(data.len());
                    let piece = data[from..(from + random(64)).min(data.len())].to_vec();
                    data.splice(at..at, piece);
                }
            }
        }
        let options = Options { max_memory_bytes: 1 << 20, ..Options::default() };
        decoded += usize::from(Decoder::new(&data).and_then(|d| d.decode(&options)).is_ok());
    }
    // Damage that only ever ended in the header parser would test little.
    assert!(decoded > 500, "only {decoded} damaged files were decoded");
}

#[test]
fn a_huge_size_in_a_small_file_fails_at_once() {
    let data = fixture("grey_2x2");
    let sof = find(&data, 0xC0);
    let begin = Instant::now();
    let largest = patched(&data, sof + 5, &[0xFF, 0xDC, 0xFF, 0xDC]);
    assert_eq!(kind(&largest), Some(ErrorKind::Limit));
    assert_eq!(kind(&patched(&data, sof + 5, &[0xFF, 0xFF, 0xFF, 0xFF])), Some(ErrorKind::Unsupported));
    // Within the limit, but far more blocks than the data can hold.
    assert_eq!(kind(&patched(&data, sof + 5, &[0x20, 0, 0x20, 0])), Some(ErrorKind::Truncated));
    let unlimited = Options { max_memory_bytes: u64::MAX, ..Options::default() };
    assert!(Decoder::new(&largest).unwrap().decode(&unlimited).is_err());
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[test]
fn memory_is_limited() {
    let kind = |name, max_memory_bytes| {
        let options = Options { max_memory_bytes, ..Options::default() };
        Decoder::new(&fixture(name)).unwrap().decode(&options).err().map(|error| error.kind())
    };
    let pixels = 331 * 247 * 3;
    assert_eq!(kind("420", pixels), Some(ErrorKind::Limit));
    assert_eq!(kind("420", 400_000), None);
    // All coefficients of a progressive picture are held at once, and count.
    assert_eq!(kind("prog420", 400_000), Some(ErrorKind::Limit));
    assert_eq!(kind("prog420", 800_000), None);
}

#[test]
fn scans_are_limited() {
    let data = fixture("progressive_dc_only");
    let scan = data[find(&data, 0xDA)..data.len() - 2].to_vec();
    let mut bomb = data[..data.len() - 2].to_vec();
    for _ in 0..100 {
        bomb.extend(&scan);
    }
    bomb.extend([0xFF, 0xD9]);
    assert_eq!(kind(&bomb), Some(ErrorKind::Limit));
}

#[test]
fn contradictory_headers_are_corrupt() {
    let data = fixture("restart");
    let (sof, dht, dqt, dri, sos) =
        (find(&data, 0xC0), find(&data, 0xC4), find(&data, 0xDB), find(&data, 0xDD), find(&data, 0xDA));
    let cases: [(&str, usize, &[u8]); 17] = [
        ("height 0", sof + 5, &[0, 0]),
        ("width 0", sof + 7, &[0, 0]),
        ("no components", sof + 9, &[0]),
        ("more components than specified", sof + 9, &[4]),
        ("sampling factor 0", sof + 11, &[0x02]),
        ("sampling factor 5", sof + 11, &[0x52]),
        ("quantisation table missing", sof + 12, &[3]),
        ("11 blocks in an MCU", sof + 11, &[0x33]),
        ("Huffman table turned into arithmetic conditioning", dht + 1, &[0xCC]),
        ("unknown Huffman slot", dht + 4, &[0x04]),
        ("more codes than fit their length", dht + 5, &[3]),
        ("unknown quantisation slot", dqt + 4, &[4]),
        ("quantisation table length", dqt + 3, &[66]),
        ("restart interval length", dri + 3, &[3]),
        ("scan length", sos + 3, &[11]),
        ("unknown component", sos + 5, &[77]),
        ("Huffman table missing", sos + 6, &[0x33]),
    ];
    for (name, at, bytes) in cases {
        assert_eq!(kind(&patched(&data, at, bytes)), Some(ErrorKind::Corrupt), "{name}");
    }
    let second_frame = [&data[..sos], &data[sof..sos], &data[sos..]].concat();
    assert_eq!(kind(&second_frame), Some(ErrorKind::Corrupt));
    let without_frame = [&data[..sof], &data[dht..]].concat();
    assert_eq!(kind(&without_frame), Some(ErrorKind::Corrupt));
    assert_eq!(kind(b"\x89PNG\r\n\x1a\n"), Some(ErrorKind::Corrupt));
    assert_eq!(kind(b""), Some(ErrorKind::Truncated));
}

#[test]
fn progressive_parameters_are_checked() {
    let data = fixture("progressive_unfinished");
    let scan = find(&data, 0xDA) + 11;
    for (name, parameters) in [
        ("DC and AC together", [0, 5, 0x01]),
        ("AC of several components", [1, 5, 0x01]),
        ("refinement by two bits", [0, 0, 0x20]),
        ("bit 14", [0, 0, 0x0E]),
    ] {
        assert_eq!(kind(&patched(&data, scan, &parameters)), Some(ErrorKind::Corrupt), "{name}");
    }
}

#[test]
fn other_kinds_of_jpeg_are_unsupported() {
    let data = fixture("restart");
    let sof = find(&data, 0xC0);
    for (name, at, byte) in [
        ("lossless", sof + 1, 0xC3),
        ("hierarchical", sof + 1, 0xC5),
        ("arithmetic", sof + 1, 0xC9),
        ("progressive arithmetic", sof + 1, 0xCA),
        ("12 bits", sof + 4, 12),
        ("3:2 sampling", sof + 14, 0x31),
    ] {
        // Width 3 beside 2 needs fractional upsampling.
        let kind = kind(&patched(&data, at, &[byte]));
        assert_eq!(kind, Some(ErrorKind::Unsupported), "{name}");
    }
}

#[test]
fn messages_name_the_place() {
    let data = fixture("restart");
    let error = decode(&data[..data.len() - 2]).unwrap_err();
    assert_eq!(error.offset(), data.len() - 2);
    let text = error.to_string();
    assert!(text.starts_with(&format!("JPEG, byte {}: ", data.len() - 2)), "{text}");
}
