//! Real servers of object stores: `tools/stores/run.py` starts them, fills them, and runs this.
#![cfg(feature = "object-store")]

use std::collections::VecDeque;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Instant;

use featvec_collections::remote::{Location, Remote, RemoteOptions};

/// The store holds what is in the folder `FEATVEC_STORE_FOLDER`, below the address `FEATVEC_STORE`; the environment says
/// how to reach it. Of nobody it has `FEATVEC_STORE_PRIVATE`, if that is given.
#[test]
fn a_store_holds_what_was_put_into_it() {
    let (Ok(store), Some(folder)) =
        (std::env::var("FEATVEC_STORE"), std::env::var_os("FEATVEC_STORE_FOLDER"))
    else {
        println!("SKIPPED: no store; tools/stores/run.py runs this with three");
        return;
    };
    let folder = PathBuf::from(folder);
    let remote = Remote::new(RemoteOptions::from_env()).unwrap();
    let below = |name: &str| Location::parse(&format!("{store}{name}")).unwrap();

    let started = Instant::now();
    let listed: Vec<_> = remote.list(&below("photos/")).map(|entry| entry.unwrap().location).collect();
    let listing = started.elapsed();
    let mut names: Vec<String> = std::fs::read_dir(folder.join("photos"))
        .unwrap()
        .map(|file| format!("{store}photos/{}", file.unwrap().file_name().to_str().unwrap()))
        .collect();
    names.sort();
    let keys: Vec<&str> = listed.iter().map(Location::key).collect();
    assert_eq!(keys, names);

    let started = Instant::now();
    let (mut coming, mut bytes) = (VecDeque::new(), 0);
    let mut take = |(location, picture): (&Location, featvec_collections::remote::Fetching)| {
        let name = location.key().strip_prefix(store.as_str()).unwrap();
        let picture = picture.wait().unwrap();
        assert!(picture == std::fs::read(folder.join(name)).unwrap(), "{name}");
        bytes += picture.len();
    };
    for location in &listed {
        if coming.len() == remote.options().requests {
            coming.pop_front().map(&mut take);
        }
        coming.push_back((location, remote.fetch(location)));
    }
    coming.into_iter().for_each(&mut take);
    let fetching = started.elapsed();

    let shard = std::fs::read(folder.join("shard.tar")).unwrap();
    let started = Instant::now();
    let mut streamed = Vec::new();
    remote.open_stream(&below("shard.tar")).unwrap().read_to_end(&mut streamed).unwrap();
    let streaming = started.elapsed();
    assert!(streamed == shard);
    let mut file = remote.open_file(&below("shard.tar")).unwrap();
    assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), shard.len() as u64);
    let mut part = vec![0; 5000];
    for place in [shard.len() - 5000, 0, shard.len() / 2] {
        file.seek(SeekFrom::Start(place as u64)).unwrap();
        file.read_exact(&mut part).unwrap();
        assert!(part == shard[place..place + 5000], "at {place}");
    }

    let missing = remote.fetch(&below("photos/missing.jpg")).wait().unwrap_err().to_string();
    assert!(missing.contains("404") && missing.contains("spelling"), "{missing}");
    assert_eq!(remote.list(&below("nothing/")).count(), 0);
    if let Ok(private) = std::env::var("FEATVEC_STORE_PRIVATE") {
        let error = remote.fetch(&Location::parse(&private).unwrap()).wait().unwrap_err().to_string();
        assert!(["401", "403", "404"].iter().any(|status| error.contains(status)), "{error}");
        println!("refused: {error}");
    }
    let rate = |bytes: usize, time: std::time::Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    println!(
        "{store}: {} objects listed in {:.2} s; fetched at {:.0} a second, {:.1} MB/s; a shard of {} MB at {:.0} MB/s",
        listed.len(),
        listing.as_secs_f64(),
        listed.len() as f64 / fetching.as_secs_f64(),
        rate(bytes, fetching),
        shard.len() / 1_000_000,
        rate(shard.len(), streaming)
    );
}
