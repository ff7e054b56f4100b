//! What the headers tell before anything is decoded.

use featvec_jpeg::{Color, Decoder};

fn restart() -> &'static [u8] {
    include_bytes!("fixtures/restart.jpg")
}

#[test]
fn info_describes_the_picture() {
    let info = Decoder::new(include_bytes!("fixtures/prog420.jpg")).unwrap().info();
    assert_eq!((info.width, info.height, info.components), (331, 247, 3));
    assert_eq!((info.color, info.progressive), (Color::YCbCr, true));
    let info = Decoder::new(include_bytes!("fixtures/ycck_adobe.jpg")).unwrap().info();
    assert_eq!((info.components, info.color), (4, Color::Ycck { inverted: true }));
    let info = Decoder::new(include_bytes!("fixtures/rgb_by_id.jpg")).unwrap().info();
    assert_eq!((info.color, info.progressive), (Color::Rgb, false));
}

#[test]
fn exif_is_found_and_does_not_change_the_picture() {
    let tiff = b"MM\0*\0\0\0\x08\0\0";
    let mut segment = vec![0xFF, 0xE1, 0, 8 + tiff.len() as u8];
    segment.extend(b"Exif\0\0");
    segment.extend(tiff);
    let with_exif = [&restart()[..2], &segment, &restart()[2..]].concat();
    let decoder = Decoder::new(&with_exif).unwrap();
    assert_eq!(decoder.exif(), Some(&tiff[..]));
    let plain = Decoder::new(restart()).unwrap();
    assert_eq!(plain.exif(), None);
    let options = Default::default();
    assert_eq!(decoder.decode(&options), plain.decode(&options));
}

#[test]
fn standard_huffman_tables_may_be_left_out() {
    let whole: &[u8] = include_bytes!("fixtures/420.jpg");
    let mut without = Vec::new();
    let mut at = 2;
    without.extend(&whole[..2]);
    while whole[at + 1] != 0xDA {
        let end = at + 2 + usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]]));
        if whole[at + 1] != 0xC4 {
            without.extend(&whole[at..end]);
        }
        at = end;
    }
    without.extend(&whole[at..]);
    assert!(without.len() < whole.len() - 400);
    let decode = |data| Decoder::new(data).unwrap().decode(&Default::default()).unwrap();
    assert!(decode(&without) == decode(whole));
}
