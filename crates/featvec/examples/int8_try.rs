use featvec::calibration::Calibration;
use featvec::extractor::*;
use featvec::pictures::*;
use featvec::plan::*;
use featvec::*;
use std::num::NonZeroUsize;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let handle = &a[1];
    let folder = &a[2];
    let count: usize = a[3].parse().unwrap();
    let stride: usize = a[4].parse().unwrap();
    let m = Module::load(handle).unwrap();
    let vars = m.variables().clone();
    let e8 = FeatureExtractor::new(vars.clone(), &RunOptions { precision: Precision::Int8, ..Default::default() }).unwrap();
    let paths: Vec<_> = find([folder.into()]).into_iter().filter_map(|f| match f { Found::Picture(p) => Some(p), _ => None }).step_by(stride).take(count).collect();
    let prep = Preparation::new(Preset::default(), [224, 224]);
    let b = prep.prepare_batch(&paths, NonZeroUsize::new(2).unwrap()).unwrap().images;
    let n = b.rows();
    let part = |i: usize, k: usize| { let l = 224*224*3; Tensor::new([k, 224, 224, 3], b.data()[i*l..(i+k)*l].to_vec()).unwrap() };
    let has_logits = vars.logits.is_some();
    let values: Vec<Value> = if has_logits { vec![Value::Features, Value::Logits] } else { vec![Value::Features] };
    let run = |e: &FeatureExtractor| { let mut f = vec![]; let mut l = vec![]; for i in (0..n).step_by(32) { let r = e.run(&part(i, 32.min(n-i)), Mode::Inference, &values).unwrap(); f.extend(r[0].iter_rows().map(|x| x.to_vec())); if has_logits { l.extend(r[1].iter_rows().map(|x| x.to_vec())); } } (f, l) };
    let t = std::time::Instant::now();
    let (f, l) = run(m.extractor());
    eprintln!("f32 {:?}", t.elapsed() / n as u32);
    let cal = std::env::var("CALN").ok().and_then(|x| x.parse().ok()).unwrap_or(32usize);
    let cases: Vec<(&str, Option<Tensor>)> = vec![("builtin", None), ("first", Some(part(0, cal.min(n)))), ("spread", Some({ let l=224*224*3; let mut v=vec![]; for i in 0..cal { let j = i*n/cal; v.extend_from_slice(&b.data()[j*l..(j+1)*l]); } Tensor::new([cal,224,224,3], v).unwrap() }))];
    let cosine = |f8: &Vec<Vec<f32>>| { let cos: Vec<f64> = f.iter().zip(f8).map(|(a, b)| { let d = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| *x as f64 * *y as f64).sum::<f64>(); d(a, b) / (d(a, a) * d(b, b)).sqrt() }).collect(); cos.iter().sum::<f64>() / n as f64 };
    if std::env::var("SENS").is_ok() {
        let base = Calibration::measure(m.extractor(), cases[2].1.as_ref().unwrap()).unwrap();
        e8.calibrate(base.clone());
        let c0 = 1.0 - cosine(&run(&e8).0);
        println!("base {c0:.6}");
        for f in [1.5f32, 1.25, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2] { let (name, c) = base.coarse(0, f); e8.calibrate(c); println!("{name} {f} {:.6}", 1.0 - cosine(&run(&e8).0)); }
        let mut sum = 0.0;
        for i in 0..0 { let (name, c) = base.coarse(i, 2.0); e8.calibrate(c); let d = 1.0 - cosine(&run(&e8).0) - c0; sum += d / 3.0; println!("{name} own {:.6}", d / 3.0); }
        println!("sum {sum:.6}");
        return;
    }
    for (name, images) in cases {
        if let Some(images) = images { e8.calibrate(Calibration::measure(m.extractor(), &images).unwrap()); }
        let t = std::time::Instant::now();
        let (f8, l8) = run(&e8);
        let el = t.elapsed() / n as u32;
        let cos: Vec<f64> = f.iter().zip(&f8).map(|(a, b)| { let d = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| *x as f64 * *y as f64).sum::<f64>(); d(a, b) / (d(a, a) * d(b, b)).sqrt() }).collect();
        let am = |v: &[f32]| v.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        let agree = l.iter().zip(&l8).filter(|(a, b)| am(a) == am(b)).count();
        let mut sorted = cos.clone(); sorted.sort_by(f64::total_cmp);
        println!("{name}: n {n} mean cosine {:.6} min {:.6} p1 {:.6} top-1 {:.2} % ({:?}/image)", cos.iter().sum::<f64>() / n as f64, sorted[0], sorted[n/100], 100.0 * agree as f64 / n as f64, el);
    }
}
