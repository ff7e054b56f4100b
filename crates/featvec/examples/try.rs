use featvec::distill::*;
use featvec::pictures::*;
use featvec::*;
use std::path::PathBuf;
fn list(p: &str) -> Vec<PathBuf> {
    std::fs::read_to_string(p).unwrap().lines().map(PathBuf::from).collect()
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let teacher = Module::load(&a[1]).unwrap();
    let train = list(&a[2]);
    let test = list(&a[3]);
    let out = PathBuf::from(&a[4]);
    let mut o = DistillOptions::default();
    for kv in &a[5..] {
        let (k, v) = kv.split_once('=').unwrap();
        match k {
            "views" => o.views = v.parse().unwrap(),
            "pixels" => o.pixels = v.parse().unwrap(),
            "ridge" => o.ridge = v.parse().unwrap(),
            "passes" => o.passes = v.parse().unwrap(),
            "pooled" => o.pooled = v.parse().unwrap(),
            "seed" => o.seed = v.parse().unwrap(),
            _ => panic!(),
        }
    }
    let start = std::time::Instant::now();
    let v = distill(
        teacher.variables(),
        &train,
        &o,
        (
            &mut |p| {
                if let Progress::Fitted { conv, error } = p {
                    eprint!("{conv}:{error:.3} ")
                }
            },
            &mut |p, e| eprintln!("{} {e}", p.display()),
        ),
    )
    .unwrap();
    eprintln!("\nmade in {:.0?}", start.elapsed());
    featvec::export::to_checkpoint_v2(&v, &out).unwrap();
    let student = extractor::FeatureExtractor::new(v, &Default::default()).unwrap();
    for preset in [Preset::Tf1Retrain, Preset::KerasPil] {
        let a = measure(
            [teacher.extractor(), &student],
            &test,
            &Preparation::new(preset, [224, 224]),
            &mut |p, e| eprintln!("{} {e}", p.display()),
        )
        .unwrap();
        println!("{preset} {o:?}\n  {a:?}");
    }
}
