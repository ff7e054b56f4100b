//! Decoding of chosen rows and columns: the pixels of decoding everything, or the same failure.

use std::fs;
use std::path::Path;

use featvec_jpeg::{Decoder, Idct, Options, PixelGrid, Result, Scale};

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|e| e == "jpg"))
        .map(|path| (path.display().to_string(), fs::read(path).unwrap()))
        .collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    fn positions(&mut self, count: usize, side: usize) -> Vec<usize> {
        (0..count).map(|_| self.below(side)).collect()
    }
}

/// The pixels of `grid` in `whole`, whose rows have `width` pixels.
fn picked(whole: &[u8], width: usize, grid: &PixelGrid) -> Vec<u8> {
    let pixel = |y: usize, x: usize| &whole[3 * (y * width + x)..][..3];
    grid.rows().iter().flat_map(|&y| grid.columns().iter().flat_map(move |&x| pixel(y, x))).copied().collect()
}

/// Compares both ways of decoding `data`, and says whether it is a picture.
fn compare(name: &str, data: &[u8], (options, grid): (&Options, &PixelGrid)) -> bool {
    let decoder = Decoder::new(data).unwrap();
    let whole: Result<Vec<u8>> = decoder.decode(options);
    let part = decoder.decode_grid(options, grid);
    let is_picture = whole.is_ok();
    let expected = whole.map(|whole| picked(&whole, options.scale.of(decoder.info().width), grid));
    assert!(part == expected, "{name}: {options:?} {grid:?}");
    is_picture
}

/// Rows and columns in all densities, in corners and anywhere.
fn grids(random: &mut Random, height: usize, width: usize) -> Vec<PixelGrid> {
    let few = |side: usize, random: &mut Random| random.positions(side.div_ceil(9), side);
    vec![
        PixelGrid::new(vec![0], vec![0]),
        PixelGrid::new(vec![height - 1, 0], vec![width - 1]),
        PixelGrid::new((0..height).collect(), (0..width).collect()),
        PixelGrid::new((0..height).step_by(7).collect(), (0..width).step_by(5).collect()),
        PixelGrid::new(few(height, random), few(width, random)),
        PixelGrid::new(few(height, random), random.positions(width, width)),
        PixelGrid::new(vec![], vec![0]),
        PixelGrid::new(vec![0], vec![]),
    ]
}

#[test]
fn a_grid_has_the_pixels_of_the_whole() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let mut pictures = 0;
    for (name, data) in fixtures() {
        let info = Decoder::new(&data).unwrap().info();
        for idct in [Idct::Fast, Idct::Accurate] {
            for scale in Scale::ALL {
                let options = Options { idct, scale, ..Options::default() };
                for grid in grids(&mut random, scale.of(info.height), scale.of(info.width)) {
                    pictures += usize::from(compare(&name, &data, (&options, &grid)));
                }
            }
        }
    }
    assert_eq!(pictures, 37 * 2 * 4 * 8);
}

#[test]
fn damage_has_the_same_effect_on_a_grid() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let files: Vec<_> = fixtures().into_iter().filter(|(_, data)| data.len() < 20_000).collect();
    let mut pictures = 0;
    for round in 0..6000 {
        let (name, data) = &files[round % files.len()];
        let mut data = data.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(data.len());
            match random.below(3) {
                0 => data[at] = random.below(256) as u8,
                1 => drop(data.drain(at..(at + random.below(8)).min(data.len()))),
                _ => drop(data.splice(at..at, [0xFF, [0, 0xD0, 0xD3, 0xD9, 0xFF][random.below(5)]])),
            }
        }
        let Ok(info) = Decoder::new(&data).map(|decoder| decoder.info()) else { continue };
        if info.width * info.height > 1 << 18 {
            continue;
        }
        let scale = Scale::ALL[random.below(4)];
        let options = Options { scale, ..Options::default() };
        let grids = grids(&mut random, scale.of(info.height), scale.of(info.width));
        let grid = &grids[random.below(grids.len())];
        pictures += usize::from(compare(&format!("{name}, round {round}"), &data, (&options, grid)));
    }
    // Damage that only ever ended in the header parser would test little.
    assert!(pictures > 1000, "only {pictures} damaged files were decoded");
}

#[test]
fn a_grid_takes_less_memory() {
    let (_, data) = fixtures().into_iter().find(|(name, _)| name.ends_with("/420.jpg")).unwrap();
    let decoder = Decoder::new(&data).unwrap();
    let options = Options { max_memory_bytes: 331 * 247 * 3, ..Options::default() };
    assert!(decoder.decode(&options).is_err());
    let grid = PixelGrid::new((0..247).step_by(2).collect(), (0..331).step_by(2).collect());
    assert!(decoder.decode_grid(&options, &grid).is_ok());
}

#[test]
#[should_panic(expected = "the grid is too large")]
fn a_grid_beyond_the_picture_is_the_callers_mistake() {
    let (_, data) = fixtures().swap_remove(0);
    let decoder = Decoder::new(&data).unwrap();
    let beyond = PixelGrid::new(vec![decoder.info().height], vec![0]);
    let _ = decoder.decode_grid(&Options::default(), &beyond);
}
