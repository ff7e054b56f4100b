//! The cache: its locks, Python at work in the same folder, damage and repair.

#[path = "support/fixture.rs"]
mod fixture;
#[path = "support/module.rs"]
mod module;
#[path = "support/server.rs"]
mod server;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use featvec::cache::{Cache, Prune};
use featvec::fetch::{FetchOptions, Progress};
use featvec::{Error, ErrorKind};
use fixture::{AT_REST, Fixture, handle};
use server::{Act, Server, reply};

/// The task in locks that stand for other processes.
const TASK: &str = "0123456789abcdef0123456789abcdef";

const NO_SERVER: &str = "http://unreachable.invalid/m.tar.gz";

fn honest_server() -> Server {
    Server::with(reply("200 OK", &[], &module::archive()))
}

fn is_whole(module: &Path) -> bool {
    module::files().iter().all(|(name, bytes)| fs::read(module.join(name)).is_ok_and(|found| found == *bytes))
}

/// A file of the entry of `url`.
fn beside(fixture: &Fixture, url: &str, suffix: &str) -> PathBuf {
    fixture.cache.root().join(format!("{}{suffix}", handle(url).key()))
}

/// Flips a bit of the variables, without anything that the file system would show.
fn damage(module: &Path) {
    let path = module.join("variables/variables.data-00000-of-00001");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
}

/// What a load of the module makes of it: its bytes are checked, as whoever reads variables does.
fn read(module: &Path) -> Result<PathBuf, Error> {
    if is_whole(module) { Ok(module.to_path_buf()) } else { Err(Error::corrupt("", "damaged")) }
}

#[test]
fn of_two_at_once_one_downloads_and_the_other_uses_it() {
    let server = honest_server();
    let fixture = Fixture::new();
    let url = server.url("m");
    std::thread::scope(|scope| {
        let fetches: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let cache = Cache::at(fixture.cache.root());
                    cache.resolve(&handle(&url), &fixture.options, &mut |_: Progress<'_>| {}).unwrap()
                })
            })
            .collect();
        for fetch in fetches {
            assert!(is_whole(&fetch.join().unwrap()));
        }
    });
    assert_eq!(server.requests().len(), 1);
    assert_eq!(fixture.names(&url), AT_REST);
}

#[test]
fn while_downloading_the_entry_is_locked_as_python_expects() {
    let server = honest_server();
    let fixture = Fixture::new();
    let url = server.url("m");
    let lock = beside(&fixture, &url, ".lock");
    let mut seen = None;
    fixture
        .cache
        .resolve(&handle(&url), &fixture.options, &mut |_| {
            let content = fs::read_to_string(&lock).unwrap();
            let task = content.rsplit('.').next().unwrap().to_string();
            assert_eq!(task.len(), 32);
            assert!(content.contains(&format!(".{}.", std::process::id())), "{content}");
            assert!(beside(&fixture, &url, &format!(".{task}.tmp")).is_dir());
            seen = Some(task);
        })
        .unwrap();
    assert!(seen.is_some() && !lock.exists());
}

#[test]
fn pythons_download_is_waited_for_and_used() {
    let fixture = Fixture::new();
    let lock = beside(&fixture, NO_SERVER, ".lock");
    fs::create_dir_all(fixture.cache.root()).unwrap();
    fs::write(&lock, format!("host.1.{TASK}")).unwrap();
    let mut waits = 0;
    let path = fixture
        .cache
        .resolve(&handle(NO_SERVER), &fixture.options, &mut |progress| {
            assert_eq!(progress, Progress::Waiting { owner: &format!("host.1.{TASK}") });
            waits += 1;
            if waits == 3 {
                module::write_to(&beside(&fixture, NO_SERVER, ""));
                fs::remove_file(&lock).unwrap();
            }
        })
        .unwrap();
    assert!(waits == 3 && is_whole(&path));
    assert_eq!(fixture.names(NO_SERVER), ["K", "K.manifest.json"]);
}

#[test]
fn pythons_lock_is_taken_over_when_nothing_moves() {
    let server = honest_server();
    let mut fixture = Fixture::new();
    fixture.options.timeouts.lock_stale = Duration::from_millis(100);
    let url = server.url("m");
    let download = beside(&fixture, &url, &format!(".{TASK}.tmp"));
    fs::create_dir_all(&download).unwrap();
    fs::write(beside(&fixture, &url, ".lock"), format!("host.1.{TASK}")).unwrap();
    let (mut waits, mut bytes) = (0, 0);
    fixture
        .cache
        .resolve(&handle(&url), &fixture.options, &mut |progress| {
            if matches!(progress, Progress::Waiting { .. }) {
                waits += 1;
                // Far longer than the lock would last if nothing moved.
                if waits < 400 {
                    bytes += 1;
                    fs::write(download.join("file"), vec![0; bytes]).unwrap();
                }
            } else {
                assert!(waits >= 400, "taken over while the download grew");
            }
        })
        .unwrap();
    assert_eq!(fixture.names(&url), AT_REST);
}

#[test]
fn the_lock_of_a_dead_featvec_is_taken_over_at_once() {
    let server = honest_server();
    let fixture = Fixture::new();
    let url = server.url("m");
    // What a killed process leaves: its lock, our record of it, and half a download.
    let content = format!("host.1.{TASK}");
    fs::create_dir_all(fixture.cache.root().join(".locks")).unwrap();
    fs::write(fixture.cache.root().join(".locks").join(handle(&url).key()), &content).unwrap();
    fs::write(beside(&fixture, &url, ".lock"), &content).unwrap();
    let download = beside(&fixture, &url, &format!(".{TASK}.tmp"));
    fs::create_dir_all(&download).unwrap();
    fs::write(download.join("archive"), "half").unwrap();

    fixture
        .cache
        .resolve(&handle(&url), &fixture.options, &mut |progress| {
            assert!(!matches!(progress, Progress::Waiting { .. }));
        })
        .unwrap();
    assert_eq!(fixture.names(&url), AT_REST);
}

/// Tells the child process of the next test what to fetch.
const CHILD: &str = "FEATVEC_TEST_CHILD";

#[test]
fn a_process_that_is_killed_leaves_nothing_to_wait_for() {
    if let Ok(order) = std::env::var(CHILD) {
        let (root, url) = order.split_once(' ').unwrap();
        let options = FetchOptions { timeouts: fixture::brief(), ..FetchOptions::default() };
        let fetched = Cache::at(root).resolve(&handle(url), &options, &mut |_: Progress<'_>| {});
        panic!("the child was to be killed: {fetched:?}");
    }
    let (arrived, arrival) = std::sync::mpsc::channel();
    let server = Server::start(move |_, number| {
        let answer = reply("200 OK", &[], &module::archive());
        if number > 0 {
            return vec![Act::Send(answer)];
        }
        arrived.send(()).unwrap();
        vec![Act::Send(answer[..5000].to_vec()), Act::Stall]
    });
    let fixture = Fixture::new();
    let url = server.url("m");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_is_killed_leaves_nothing_to_wait_for"])
        .env(CHILD, format!("{} {url}", fixture.cache.root().display()))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    arrival.recv().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fixture.names(&url).len(), 2, "its lock and its half download: {:?}", fixture.names(&url));
    assert!(is_whole(&fixture.fetch(&url).unwrap()));
    assert_eq!(fixture.names(&url), AT_REST);
}

#[test]
fn a_lock_names_no_folder_outside() {
    let server = honest_server();
    let mut fixture = Fixture::new();
    fixture.options.timeouts.lock_stale = Duration::ZERO;
    let url = server.url("m");
    let outside = fixture.folder.path().join("precious.tmp");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(fixture.cache.root()).unwrap();
    fs::write(beside(&fixture, &url, ".lock"), "host.1./../../precious").unwrap();
    fixture.fetch(&url).unwrap();
    assert!(outside.exists());
}

#[test]
fn what_python_put_there_is_verified_and_used() {
    let fixture = Fixture::new();
    module::write_to(&beside(&fixture, NO_SERVER, ""));
    fs::write(
        beside(&fixture, NO_SERVER, ".descriptor.txt"),
        format!("Module: {NO_SERVER}\nDownload Time: x"),
    )
    .unwrap();
    assert_eq!(fixture.cache.list().unwrap()[0].handle.as_deref(), Some(NO_SERVER));
    assert!(is_whole(&fixture.fetch(NO_SERVER).unwrap()));
    assert_eq!(fixture.names(NO_SERVER), AT_REST);
}

#[test]
fn an_empty_folder_is_no_module() {
    let server = honest_server();
    let fixture = Fixture::new();
    let url = server.url("m");
    fs::create_dir_all(beside(&fixture, &url, "")).unwrap();
    assert!(is_whole(&fixture.fetch(&url).unwrap()));
}

#[test]
fn modules_in_pythons_default_folder_are_adopted() {
    let mut fixture = Fixture::new();
    let python = fixture.folder.path().join("tfhub_modules");
    let theirs = python.join(handle(NO_SERVER).key());
    module::write_to(&theirs);
    fixture.cache = fixture.cache.adopting(&python);
    fixture.options.offline = true;
    let path = fixture.fetch(NO_SERVER).unwrap();
    assert!(is_whole(&path) && path.starts_with(fixture.cache.root()));
    assert_eq!(fixture.names(NO_SERVER), AT_REST);
    // A copy: theirs can go, as everything there does.
    fs::remove_dir_all(&theirs).unwrap();
    assert!(is_whole(&fixture.fetch(NO_SERVER).unwrap()));
}

#[test]
fn damaged_modules_are_not_adopted() {
    let server = honest_server();
    let mut fixture = Fixture::new();
    let url = server.url("m");
    let python = fixture.folder.path().join("tfhub_modules");
    let theirs = python.join(handle(&url).key());
    module::write_to(&theirs);
    damage(&theirs);
    fixture.cache = fixture.cache.adopting(&python);
    assert!(is_whole(&fixture.fetch(&url).unwrap()));
    assert_eq!(server.requests().len(), 1);
    assert!(theirs.exists(), "Python's folder is not ours to tidy");
}

#[cfg(unix)]
#[test]
fn links_are_not_adopted() {
    let mut fixture = Fixture::new();
    let python = fixture.folder.path().join("tfhub_modules");
    let theirs = python.join(handle(NO_SERVER).key());
    module::write_to(&theirs);
    let graph = theirs.join("saved_model.pb");
    fs::rename(&graph, fixture.folder.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(fixture.folder.path().join("elsewhere"), graph).unwrap();
    fixture.cache = fixture.cache.adopting(&python);
    fixture.options.offline = true;
    assert!(fixture.fetch(NO_SERVER).is_err());
    assert_eq!(fixture.names(NO_SERVER), [""; 0]);
}

#[test]
fn an_incomplete_module_is_replaced() {
    for name in ["variables/variables.data-00000-of-00001", "saved_model.pb", "variables/variables.index"] {
        let server = honest_server();
        let fixture = Fixture::new();
        let url = server.url("m");
        let path = fixture.fetch(&url).unwrap();
        File::options().write(true).open(path.join(name)).unwrap().set_len(1).unwrap();
        let mut repairs = 0;
        fixture
            .cache
            .resolve(&handle(&url), &fixture.options, &mut |progress| {
                repairs += u32::from(matches!(progress, Progress::Repairing { .. }));
            })
            .unwrap();
        assert!(repairs == 1 && is_whole(&path), "{name}");
        assert_eq!(server.requests().len(), 2);

        fs::remove_file(path.join(name)).unwrap();
        fixture.fetch(&url).unwrap();
        assert!(is_whole(&path), "{name} removed");
    }
}

#[test]
fn what_only_python_reads_is_left_alone() {
    let server = honest_server();
    let fixture = Fixture::new();
    let url = server.url("m");
    let module = beside(&fixture, &url, "");
    module::write_to(&module);
    fs::remove_file(module.join("tfhub_module.pb")).unwrap();
    let error = fixture.fetch(&url).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "a SavedModel of TF2: {error}");
    assert!(module.join("saved_model.pb").exists());
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_touched_module_is_verified_and_kept() {
    let server = honest_server();
    let fixture = Fixture::new();
    let url = server.url("m");
    let path = fixture.fetch(&url).unwrap();
    let graph = File::options().write(true).open(path.join("saved_model.pb")).unwrap();
    graph.set_modified(std::time::UNIX_EPOCH).unwrap();
    let before = fs::read(beside(&fixture, &url, ".manifest.json")).unwrap();
    fixture.fetch(&url).unwrap();
    assert_eq!(server.requests().len(), 1);
    let after = fs::read(beside(&fixture, &url, ".manifest.json")).unwrap();
    assert!(before != after, "the new time is remembered");
    assert!(fixture.cache.list().unwrap()[0].sha256.is_some(), "and nothing is forgotten");
}

#[test]
fn damage_that_only_reading_shows_is_repaired_by_load() {
    let server = honest_server();
    let fixture = Fixture::new();
    let url = server.url("m");
    let path = fixture.fetch(&url).unwrap();
    damage(&path);
    let load =
        |options: &FetchOptions| fixture.cache.load(&handle(&url), options, &mut |_: Progress<'_>| {}, read);
    let offline = FetchOptions { offline: true, ..fixture.options.clone() };
    let error = load(&offline).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("damaged") && error.to_string().contains("--offline"), "{error}");
    assert!(path.exists(), "offline nothing is thrown away");

    assert!(is_whole(&load(&fixture.options).unwrap()));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_repair_that_fails_says_why() {
    let server = Server::start(|_, number| {
        vec![Act::Send(match number {
            0 => reply("200 OK", &[], &module::archive()),
            _ => reply("404 Not Found", &[], b""),
        })]
    });
    let fixture = Fixture::new();
    let url = server.url("m");
    let path = fixture.fetch(&url).unwrap();
    damage(&path);
    fs::remove_file(path.join("saved_model.pb")).unwrap();
    let error = fixture.fetch(&url).unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    assert_eq!(fixture.names(&url), AT_REST, "the cache is as before");
    assert!(path.join("tfhub_module.pb").exists());
}

#[test]
fn damage_stays_damage_when_no_copy_is_better() {
    let server = honest_server();
    let mut fixture = Fixture::new();
    let url = server.url("m");
    let path = fixture.fetch(&url).unwrap();
    fs::remove_file(path.join("saved_model.pb")).unwrap();

    let theirs = fixture.folder.path().join("theirs");
    let copy = theirs.join(handle(&url).key());
    module::write_to(&copy);
    damage(&copy);
    fixture.cache = fixture.cache.clone().adopting(&theirs);
    fixture.options.offline = true;
    let error = fixture.fetch(&url).unwrap_err().to_string();
    for words in ["the module in the cache is damaged", "saved_model.pb", "--offline once"] {
        assert!(error.contains(words), "no {words:?} in: {error}");
    }
    assert_eq!(fixture.names(&url), AT_REST, "offline nothing is thrown away");

    fixture.options.offline = false;
    assert!(is_whole(&fixture.fetch(&url).unwrap()));
}

#[test]
fn an_archive_or_folder_can_be_imported() {
    let fixture = Fixture::new();
    let archive = fixture.folder.path().join("m.tar.gz");
    fs::write(&archive, module::archive()).unwrap();
    let import = |file: &Path| {
        fixture.cache.import(&handle(NO_SERVER), file, &fixture.options, &mut |_: Progress<'_>| {})
    };
    let path = import(&archive).unwrap();
    assert!(is_whole(&path));
    assert!(is_whole(&fixture.fetch(NO_SERVER).unwrap()));

    let folder = fixture.folder.path().join("folder");
    module::write_to(&folder);
    fs::write(folder.join("extra"), "new").unwrap();
    import(&folder).unwrap();
    assert!(is_whole(&path) && path.join("extra").exists(), "what was there is replaced");

    let bad = fixture.folder.path().join("bad.tar.gz");
    fs::write(&bad, &module::archive()[..5000]).unwrap();
    assert!(import(&bad).is_err());
    assert!(path.join("extra").exists(), "by nothing bad");
    assert!(import(Path::new("does-not-exist.tar.gz")).is_err());
}

#[test]
fn verify_reads_every_byte() {
    let server = honest_server();
    let fixture = Fixture::new();
    let limits = &fixture.options.limits;
    assert!(fixture.cache.verify(limits).unwrap().is_empty(), "a cache that does not exist is empty");
    let (one, two) = (server.url("one"), server.url("two"));
    fixture.fetch(&one).unwrap();
    let path = fixture.fetch(&two).unwrap();
    assert!(fixture.cache.verify(limits).unwrap().iter().all(|(_, verdict)| verdict.is_ok()));
    damage(&path);
    let verdicts = fixture.cache.verify(limits).unwrap();
    assert_eq!(verdicts.len(), 2);
    for (module, verdict) in verdicts {
        assert_eq!(verdict.is_ok(), module.handle.as_deref() == Some(one.as_str()));
    }
}

#[test]
fn prune_takes_what_it_is_told_and_leftovers() {
    let server = honest_server();
    let fixture = Fixture::new();
    let (one, two) = (server.url("one"), server.url("two"));
    let first = handle(&one);
    let prune = |what| fixture.cache.prune(what, Duration::from_secs(600)).unwrap();
    assert!(prune(Prune::All).is_empty());
    fixture.fetch(&one).unwrap();
    fixture.fetch(&two).unwrap();
    assert!(prune(Prune::Leftovers).is_empty());
    assert!(prune(Prune::OlderThan(Duration::from_secs(3600))).is_empty());

    fs::create_dir_all(beside(&fixture, &one, &format!(".{TASK}.tmp/module"))).unwrap();
    fs::create_dir_all(beside(&fixture, &two, &format!(".{TASK}.bad"))).unwrap();
    fs::write(beside(&fixture, &two, &format!(".lock.tmp{TASK}")), "Python's").unwrap();
    fs::write(fixture.cache.root().join("not ours"), "").unwrap();
    let pruned: Vec<PathBuf> = prune(Prune::Leftovers).into_iter().map(|pruned| pruned.path).collect();
    assert_eq!(pruned.len(), 3, "{pruned:?}");
    assert_eq!(fixture.cache.list().unwrap().len(), 2);

    let pruned = prune(Prune::Module(&first));
    assert!(pruned.iter().any(|pruned| pruned.bytes > 12_000), "{pruned:?}");
    assert_eq!(fixture.cache.list().unwrap()[0].handle.as_deref(), Some(two.as_str()));

    prune(Prune::OlderThan(Duration::ZERO));
    assert_eq!(fixture.names(&one), ["not ours"]);
}

#[test]
fn prune_leaves_alone_what_others_work_on() {
    let fixture = Fixture::new();
    let download = beside(&fixture, NO_SERVER, &format!(".{TASK}.tmp"));
    fs::create_dir_all(&download).unwrap();
    fs::write(beside(&fixture, NO_SERVER, ".lock"), format!("host.1.{TASK}")).unwrap();
    assert!(fixture.cache.prune(Prune::All, Duration::from_secs(600)).unwrap().is_empty());
    assert!(download.exists());
    // Once nothing has moved for long enough, nobody is at work.
    assert_eq!(fixture.cache.prune(Prune::Leftovers, Duration::ZERO).unwrap().len(), 2);

    let server = honest_server();
    let url = server.url("m");
    fixture
        .cache
        .resolve(&handle(&url), &fixture.options, &mut |_| {
            assert!(fixture.cache.prune(Prune::All, Duration::ZERO).unwrap().is_empty());
        })
        .unwrap();
}

#[test]
fn paths_are_used_in_place() {
    let fixture = Fixture::new();
    let folder = fixture.folder.path().join("module");
    module::write_to(&folder);
    assert_eq!(fixture.fetch(folder.to_str().unwrap()).unwrap(), folder);
    assert!(!fixture.cache.root().exists());

    let prefix = folder.join("variables/variables");
    assert_eq!(fixture.fetch(prefix.to_str().unwrap()).unwrap(), prefix, "a checkpoint's prefix");

    let error = fixture.fetch("google/imagenet/inception_v1/feature_vector/1").unwrap_err();
    let hint = "https://tfhub.dev/google/imagenet/inception_v1/feature_vector/1";
    assert!(error.to_string().contains(hint), "{error}");
    assert!(fixture.fetch("nothing-here").unwrap_err().to_string().contains("no such file"));
}

#[test]
fn the_default_is_never_the_systems_temporary_folder() {
    let root = Cache::open_default().unwrap().root().to_path_buf();
    assert!(
        std::env::var_os("TFHUB_CACHE_DIR").is_some() || !root.starts_with(std::env::temp_dir()),
        "{root:?}"
    );
}

#[test]
fn a_module_of_real_size_comes_through_a_bad_line() {
    let archive =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/feature_vector.tar.gz");
    let Ok(archive) = fs::read(archive) else {
        eprintln!("SKIPPED: ../shared is missing");
        return;
    };
    let length = archive.len();
    let server = Server::start(move |request, _| {
        let answer = server::file(&archive, "\"real\"", request);
        // Every connection breaks after five megabytes.
        vec![Act::Send(answer[..answer.len().min(5 << 20)].to_vec())]
    });
    let fixture = Fixture::new();
    let url = server.url("feature_vector/1");
    fixture.fetch(&url).unwrap();
    assert!(server.requests().len() > length / (5 << 20));
    assert!(server.requests().len() > 3, "more breaks than retries: headway counts");
    assert!(fixture.cache.verify(&fixture.options.limits).unwrap()[0].1.is_ok());
}
