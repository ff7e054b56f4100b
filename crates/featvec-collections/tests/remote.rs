//! Pictures, shards and folders from servers that stall, break off, refuse and lie.
#![cfg(feature = "object-store")]

mod common;
#[path = "../../featvec/tests/support/server.rs"]
mod server;

use std::error::Error as _;
use std::io::{Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use common::arrived;
use featvec::{Error, ErrorKind, Result};
use featvec_collections::remote::{Environment, Location, Remote, RemoteOnDemand, RemoteOptions, Timeouts};
use featvec_collections::sources::{Input, SourceOptions, open};
use featvec_collections::{Content, Item};
use featvec_formats::Skip;
use server::{Act, Request, Server, file, head, reply};

/// Impatient, so that tests are quick.
fn options() -> RemoteOptions {
    RemoteOptions {
        retries: 2,
        timeouts: Timeouts {
            stall: Duration::from_millis(150),
            whole: Duration::from_secs(20),
            backoff: Duration::from_millis(1),
            retry_after_max: Duration::from_millis(20),
            ..Timeouts::default()
        },
        picture_bytes: 1 << 20,
        ..RemoteOptions::default()
    }
}

fn remote() -> Remote {
    Remote::new(options()).unwrap()
}

fn location(url: &str) -> Location {
    Location::parse(url).unwrap()
}

fn picture(remote: &Remote, url: &str) -> Result<Vec<u8>> {
    remote.fetch(&location(url)).wait()
}

#[track_caller]
fn assert_says(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?} in: {error}");
    }
}

/// Bytes that differ from place to place.
fn content(length: usize) -> Vec<u8> {
    (0..length as u64).map(|place| (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[test]
fn pictures_are_asked_for_together() {
    // The first answer waits for the last request.
    let arrived = Arc::new((Mutex::new(0), Condvar::new()));
    let gate = arrived.clone();
    let server = Server::start(move |request, _| {
        let (count, all) = &*gate;
        let mut arrived = count.lock().unwrap();
        *arrived += 1;
        all.notify_all();
        if request.target == "/0" {
            drop(all.wait_while(arrived, |arrived| *arrived < 4).unwrap());
        }
        vec![Act::Send(reply("200 OK", &[], request.target.as_bytes()))]
    });
    let remote = remote();
    let coming: Vec<_> =
        (0..4).map(|number| remote.fetch(&location(&server.url(&number.to_string())))).collect();
    for (number, coming) in coming.into_iter().enumerate() {
        assert_eq!(coming.wait().unwrap(), format!("/{number}").as_bytes());
    }
}

#[test]
fn a_server_gets_few_requests_at_once() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let peak = most.clone();
    let server = Server::start(move |_, _| {
        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(5));
        now.fetch_sub(1, Ordering::SeqCst);
        vec![Act::Send(reply("200 OK", &[], b"x"))]
    });
    let remote = Remote::new(RemoteOptions { requests: 16, requests_per_host: 3, ..options() }).unwrap();
    let coming: Vec<_> = (0..16).map(|_| remote.fetch(&location(&server.url("x")))).collect();
    for coming in coming {
        coming.wait().unwrap();
    }
    let most = most.load(Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most} at once");
}

#[test]
fn refusals_are_final_and_name_status_and_remedy() {
    for (status, word) in [
        ("404 Not Found", "spelling"),
        ("410 Gone", "deleted"),
        ("403 Forbidden", "signed URL"),
        ("401 Unauthorized", "password"),
        ("400 Bad Request", "refuses the request"),
        ("204 No Content", "without the content"),
        ("304 Not Modified", "refuses the request"),
    ] {
        let server = Server::with(head(status, &["Content-Length: 0"], b""));
        let url = server.url("a.jpg");
        let error = picture(&remote(), &url).unwrap_err();
        assert_says(&error, ErrorKind::Io, &[word, &status[..3]]);
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[test]
fn a_server_in_trouble_gets_another_chance_after_the_time_that_it_asks_for() {
    for trouble in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"] {
        // A thousand years are cut to what the options allow.
        let wait = "Retry-After: 31536000000";
        let server = Server::start(move |_, number| {
            vec![Act::Send(if number < 2 {
                reply(trouble, &[wait], b"")
            } else {
                reply("200 OK", &[], b"x")
            })]
        });
        let started = Instant::now();
        assert_eq!(picture(&remote(), &server.url("x")).unwrap(), b"x");
        assert!(started.elapsed() >= 2 * options().timeouts.retry_after_max, "{:?}", started.elapsed());
        assert_eq!(server.requests().len(), 3);
    }
    let hopeless = Server::with(reply("502 Bad Gateway", &[], b""));
    let error = picture(&remote(), &hopeless.url("x")).unwrap_err();
    assert_says(&error, ErrorKind::Io, &["502", "3 times", "try again later"]);
    assert_eq!(hopeless.requests().len(), 3, "two retries");
}

#[test]
fn one_request_that_must_wait_holds_up_the_others_of_its_host() {
    let server = Server::start(|_, number| {
        let busy = reply("429 Too Many Requests", &["Retry-After: 1"], b"");
        vec![Act::Send(if number == 0 { busy } else { reply("200 OK", &[], b"x") })]
    });
    let patient = Timeouts { retry_after_max: Duration::from_millis(200), ..options().timeouts };
    let remote = Remote::new(RemoteOptions { requests_per_host: 1, timeouts: patient, ..options() }).unwrap();
    let started = Instant::now();
    let coming = [(); 3].map(|()| remote.fetch(&location(&server.url("x"))));
    for coming in coming {
        coming.wait().unwrap();
    }
    assert_eq!(server.requests().len(), 4);
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
}

#[test]
fn shards_wait_as_long_as_a_server_asks_too() {
    let busy = |request: &Request, number| match number {
        0 | 1 => reply("429 Too Many Requests", &["Retry-After: 1"], b""),
        _ => file(b"shard", "\"one\"", request),
    };
    let server = Server::start(move |request, number| vec![Act::Send(busy(request, number))]);
    let started = Instant::now();
    assert_eq!(read(&remote(), &server.url("s.tar")), (b"shard".to_vec(), None));
    assert!(started.elapsed() >= 2 * options().timeouts.retry_after_max, "{:?}", started.elapsed());

    let server = Server::start(move |request, number| vec![Act::Send(busy(request, number))]);
    let started = Instant::now();
    remote().open_file(&location(&server.url("s.zip"))).unwrap();
    assert!(started.elapsed() >= 2 * options().timeouts.retry_after_max, "{:?}", started.elapsed());
}

#[test]
fn what_needs_no_network_does_not_fail_for_want_of_it() {
    let certificates = Some("/nowhere/certificates.pem".into());
    let remote = RemoteOnDemand::new(RemoteOptions { certificates, ..options() });
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("a.jpg");
    std::fs::write(folder.path().join("list.txt"), format!("{}\nhttps://h/b.jpg", picture.display()))
        .unwrap();
    let inputs = Input::parse(folder.path().join("list.txt").as_os_str()).unwrap();
    let options = SourceOptions { opener: Some(Arc::new(remote)), ..SourceOptions::default() };
    let mut collection = open(&inputs, &options).unwrap();
    assert!(collection.next(&mut |_| true).unwrap().content.is_ok());
    let error = arrived(collection.next(&mut |_| true).unwrap()).content.unwrap_err();
    assert_says(&error, ErrorKind::Io, &["certificates.pem"]);
}

#[test]
fn a_first_shard_that_may_come_another_time_is_waited_for() {
    let server = Server::start(|request, _| {
        vec![Act::Send(match request.target.as_str() {
            "/busy.tar" => reply("503 Service Unavailable", &[], b""),
            _ => reply("404 Not Found", &[], b""),
        })]
    });
    let options = SourceOptions { opener: Some(Arc::new(remote())), ..SourceOptions::default() };
    let open = |name: &str| open(&Input::parse(server.url(name).as_ref()).unwrap(), &options);
    let error = open("busy.tar").unwrap_err();
    assert_says(&error, ErrorKind::Io, &["busy.tar", "503"]);
    // This one would be missing the next time, too.
    let item = open("missing.tar").unwrap().next(&mut |_| true).unwrap();
    assert_says(&item.content.unwrap_err(), ErrorKind::Io, &["404"]);
}

#[test]
fn what_breaks_off_is_asked_for_again() {
    let body = content(1000);
    for broken in [
        head("200 OK", &["Content-Length: 1000"], &body[..300]),
        head("200 OK", &["Transfer-Encoding: chunked"], b"5\r\nabcde\r\n"),
        b"HTTP/1.1 200".to_vec(),
        Vec::new(),
    ] {
        let whole = body.clone();
        let server = Server::start(move |_, number| {
            vec![Act::Send(if number == 0 { broken.clone() } else { reply("200 OK", &[], &whole) })]
        });
        assert_eq!(picture(&remote(), &server.url("x")).unwrap(), body);
        assert_eq!(server.requests().len(), 2);
    }
    let server = Server::with(head("200 OK", &["Content-Length: 1000"], b"x"));
    assert_says(&picture(&remote(), &server.url("x")).unwrap_err(), ErrorKind::Io, &["3 times"]);
}

#[test]
fn servers_that_stall_or_drip_are_given_up() {
    for before in [Vec::new(), head("200 OK", &["Content-Length: 10"], b"abc")] {
        let server = Server::start(move |_, _| vec![Act::Send(before.clone()), Act::Stall]);
        let started = Instant::now();
        assert_says(&picture(&remote(), &server.url("x")).unwrap_err(), ErrorKind::Io, &["stalled", "150ms"]);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert_eq!(server.requests().len(), 3);
    }
    // It sends a byte just before each stall, for ever.
    let server = Server::start(|_, _| {
        let drops = (0..100).flat_map(|_| [Act::Send(b"x".to_vec()), Act::Wait(Duration::from_millis(20))]);
        [Act::Send(head("200 OK", &[], b""))].into_iter().chain(drops).collect()
    });
    let hasty = Timeouts { whole: Duration::from_millis(200), ..options().timeouts };
    let remote = Remote::new(RemoteOptions { timeouts: hasty, ..options() }).unwrap();
    let error = picture(&remote, &server.url("x")).unwrap_err();
    assert_says(&error, ErrorKind::Io, &["not all of it came within 200ms", "too slow"]);
    assert_eq!(server.requests().len(), 1, "it would be as slow the next time");
}

#[test]
fn nobody_there_is_said_so() {
    let server = Server::with(Vec::new());
    let url = server.url("x");
    drop(server);
    assert_says(&picture(&remote(), &url).unwrap_err(), ErrorKind::Io, &["could not be reached", "refused"]);
    let error = picture(&remote(), "http://featvec.invalid/x").unwrap_err();
    // Without a network nobody knows that there is no such name.
    assert_says(&error, ErrorKind::Io, &["the server's name", "online"]);
}

#[test]
fn too_much_is_refused_before_memory_is_taken() {
    let announced = Server::with(head("200 OK", &["Content-Length: 1152921504606846976"], b"x"));
    let error = picture(&remote(), &announced.url("x")).unwrap_err();
    assert_says(&error, ErrorKind::Limit, &["announces 1152921504606846976", "download it first"]);

    let endless = Server::start(|_, _| {
        let blocks = (0..1000).map(|_| Act::Send(vec![b'x'; 64 << 10]));
        [Act::Send(head("200 OK", &[], b""))].into_iter().chain(blocks).collect()
    });
    let error = picture(&remote(), &endless.url("x")).unwrap_err();
    assert_says(&error, ErrorKind::Limit, &["keeps sending", "1048576"]);
    assert_eq!((announced.requests().len(), endless.requests().len()), (1, 1));
}

#[test]
fn more_than_the_promised_length_is_not_taken() {
    let server = Server::with(head("200 OK", &["Content-Length: 3"], b"abcHTTP/1.1 200 OK\r\n\r\n"));
    assert_eq!(picture(&remote(), &server.url("x")).unwrap(), b"abc");
}

#[test]
fn redirects_are_followed_but_not_for_ever_nor_out_of_the_web() {
    let server = Server::start(|request, number| {
        let to = |location: &str| reply("302 Found", &[&format!("Location: {location}")], b"moved");
        vec![Act::Send(match request.target.as_str() {
            "/a" => to("/b/c?d=e"),
            "/b/c?d=e" => to("../f"),
            "/f" => reply("200 OK", &[], b"x"),
            "/circle" => to("/circle2"),
            "/circle2" => to("/circle"),
            "/nowhere" => reply("302 Found", &[], b""),
            "/file" => to("file:///etc/passwd"),
            "/secret" => to("http://user:pw@127.0.0.1:1/?X-Amz-Signature=abc"),
            _ => to(&format!("/{number}")),
        })]
    });
    let refused = |path: &str| picture(&remote(), &server.url(path)).unwrap_err();
    assert_eq!(picture(&remote(), &server.url("a")).unwrap(), b"x");
    assert_says(&refused("circle"), ErrorKind::Io, &["circle"]);
    assert_says(&refused("endless"), ErrorKind::Io, &["more than 10 redirects"]);
    assert_says(&refused("nowhere"), ErrorKind::Io, &["302"]);
    refused("file");
    assert!(!refused("secret").to_string().contains("pw"));
}

#[test]
fn secrets_are_sent_and_never_shown() {
    let server = Server::with(reply("403 Forbidden", &[], b""));
    let address = server.url("a.jpg?w=1&X-Amz-Credential=KEY&X-Amz-Signature=SIGN");
    let address = address.replace("http://", "http://USER:PASS@");
    assert_eq!(location(&address).key(), server.url("a.jpg?w=1"));
    let refused = picture(&remote(), &address).unwrap_err();
    let request = &server.requests()[0];
    assert_eq!(request.target, "/a.jpg?w=1&X-Amz-Credential=KEY&X-Amz-Signature=SIGN");
    assert_eq!(request.header("authorization"), Some("Basic VVNFUjpQQVNT"));

    drop(server);
    let unreachable = picture(&remote(), &address).unwrap_err();
    for error in [refused, unreachable] {
        let text = format!("{error} {error:?} {:?}", error.source());
        assert!(!["KEY", "SIGN", "USER", "PASS"].iter().any(|secret| text.contains(secret)), "{text}");
    }
    let environment = Environment::from_vars([("AWS_SECRET_ACCESS_KEY".into(), "SIGN".into())]);
    let debug = format!("{:?}", RemoteOptions { environment, ..options() });
    assert!(debug.contains("aws_secret_access_key") && !debug.contains("SIGN"), "{debug}");
}

#[test]
fn giving_up_does_not_wait_for_servers() {
    let server = Server::start(|_, _| vec![Act::Stall]);
    let slow = Timeouts { stall: Duration::from_secs(60), ..options().timeouts };
    let remote = Remote::new(RemoteOptions { timeouts: slow, ..options() }).unwrap();
    let started = Instant::now();
    let coming = remote.fetch(&location(&server.url("x")));
    while server.requests().is_empty() {
        std::thread::yield_now();
    }
    drop((coming, remote));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// What is read from a stream, and how it ended.
fn read(remote: &Remote, url: &str) -> (Vec<u8>, Option<String>) {
    let mut bytes = Vec::new();
    let end = match remote.open_stream(&location(url)) {
        Ok(mut stream) => stream.read_to_end(&mut bytes).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    (bytes, end)
}

/// Cuts what an honest server sends after so many bytes of it.
fn cut(whole: Vec<u8>, after: usize) -> Vec<u8> {
    whole[..whole.len().min(after)].to_vec()
}

#[test]
fn a_stream_goes_on_where_it_broke() {
    let body = content(3_000_000);
    let whole = body.clone();
    let server =
        Server::start(move |request, _| vec![Act::Send(cut(file(&whole, "\"one\"", request), 700_000))]);
    let (bytes, error) = read(&remote(), &server.url("s.tar"));
    assert_eq!(error, None);
    assert!(bytes == body);
    let requests = server.requests();
    assert!(requests.len() > 4);
    assert_eq!(requests[1].header("if-range"), Some("\"one\""));
    assert!(requests[1].first_byte() > 600_000, "{}", requests[1].first_byte());
}

#[test]
fn a_server_without_ranges_sends_it_again_if_it_is_the_same() {
    let body = content(100_000);
    let whole = |headers: &'static [&str], body: Vec<u8>| {
        Server::start(move |_, number| {
            let answer = reply("200 OK", headers, &body);
            vec![Act::Send(if number == 0 { cut(answer, 50_000) } else { answer })]
        })
    };
    let same = whole(&["Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"], body.clone());
    let (bytes, error) = read(&remote(), &same.url("s"));
    assert_eq!(error, None);
    assert!(bytes == body);

    // Nothing says that it is the same, so the rest may be that of another version.
    let (_, error) = read(&remote(), &whole(&["ETag: W/\"weak\""], body).url("s"));
    assert!(error.as_deref().is_some_and(|error| error.contains("another version")), "{error:?}");
}

#[test]
fn a_shard_that_changes_under_way_is_an_error() {
    let body = content(100_000);
    let server = Server::start(move |request, number| {
        vec![Act::Send(match number {
            0 => cut(file(&body, "\"one\"", request), 50_000),
            _ => file(&body, "\"two\"", request),
        })]
    });
    let (_, error) = read(&remote(), &server.url("s.tar"));
    let error = error.unwrap();
    assert!(error.contains("another version"), "{error}");
}

#[test]
fn a_stream_that_gets_nowhere_ends() {
    let stuck = Server::with(head("200 OK", &["Content-Length: 10", "ETag: \"a\""], b""));
    let (bytes, error) = read(&remote(), &stuck.url("s"));
    assert!(bytes.is_empty() && error.unwrap().contains("3 times"));

    let missing = Server::with(reply("404 Not Found", &[], b""));
    assert!(read(&remote(), &missing.url("s")).1.unwrap().contains("404"));
    assert_eq!(missing.requests().len(), 1);

    let empty = Server::with(reply("200 OK", &[], b""));
    assert_eq!(read(&remote(), &empty.url("s")), (Vec::new(), None));
}

#[test]
fn a_stream_passes_over_what_is_not_wanted() {
    let body = content(30 << 20);
    let whole = body.clone();
    let server = Server::start(move |request, _| vec![Act::Send(file(&whole, "\"one\"", request))]);
    let mut stream = remote().open_stream(&location(&server.url("s.tar"))).unwrap();
    let mut buffer = vec![0; 1000];
    let mut place = 0;
    for skipped in [0_usize, 500, 20 << 20, 4 << 20, 3 << 20, 1000] {
        assert_eq!(stream.skip(skipped as u64).unwrap(), skipped as u64);
        place += skipped;
        stream.read_exact(&mut buffer).unwrap();
        assert!(buffer == body[place..place + 1000], "after {skipped}");
        place += 1000;
    }
    assert_eq!(stream.skip(1 << 30).unwrap(), (body.len() - place) as u64);
    assert_eq!(stream.read(&mut buffer).unwrap(), 0);
    let asked: Vec<usize> = server.requests().iter().map(Request::first_byte).collect();
    assert_eq!((asked.len(), asked[1] > 20 << 20), (2, true), "{asked:?}");
}

#[test]
fn any_part_of_a_file_can_be_read() {
    let body = content(12 << 20);
    let whole = body.clone();
    // Every third request breaks off.
    let server = Server::start(move |request, number| {
        let answer = file(&whole, "\"one\"", request);
        vec![Act::Send(if number % 3 == 2 { cut(answer, 1000) } else { answer })]
    });
    let mut remote_file = remote().open_file(&location(&server.url("s.zip"))).unwrap();
    assert_eq!(remote_file.seek(SeekFrom::End(0)).unwrap(), body.len() as u64);
    let mut buffer = vec![0; 300_000];
    for place in [body.len() - 300_000, 0, 5 << 20, (5 << 20) - 100_000, 11 << 20, (6 << 20) - 1] {
        remote_file.seek(SeekFrom::Start(place as u64)).unwrap();
        remote_file.read_exact(&mut buffer).unwrap();
        assert!(buffer == body[place..place + buffer.len()], "at {place}");
    }
    assert!(server.requests().len() < 30, "{}", server.requests().len());

    // From beginning to end, blocks are on their way ahead and none is asked for twice.
    let whole = body.clone();
    let server = Server::start(move |request, _| vec![Act::Send(file(&whole, "\"one\"", request))]);
    let mut all = Vec::new();
    remote().open_file(&location(&server.url("s.zip"))).unwrap().read_to_end(&mut all).unwrap();
    assert!(all == body);
    assert_eq!(server.requests().len(), 12);

    assert_eq!(remote_file.seek(SeekFrom::End(5)).unwrap(), body.len() as u64 + 5);
    assert_eq!(remote_file.read(&mut buffer).unwrap(), 0);
    assert!(remote_file.seek(SeekFrom::Current(-(1 << 40))).is_err());
}

#[test]
fn small_and_empty_files_are_read_too() {
    let server = Server::start(|request, _| {
        vec![Act::Send(match request.target.as_str() {
            "/small" => file(b"small", "\"a\"", request),
            "/whole" => reply("200 OK", &[], b"whole"),
            _ => file(b"", "\"a\"", request),
        })]
    });
    for name in ["small", "whole", ""] {
        let mut text = String::new();
        remote().open_file(&location(&server.url(name))).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, name);
    }
}

#[test]
fn files_that_change_or_come_whole_or_lie_are_refused() {
    let body = content(3 << 20);
    let read_end = |answer: fn(&[u8], &Request, usize) -> Vec<u8>| {
        let body = body.clone();
        let server = Server::start(move |request, number| vec![Act::Send(answer(&body, request, number))]);
        let mut file = remote().open_file(&location(&server.url("s.zip")))?;
        file.seek(SeekFrom::End(-10)).unwrap();
        let error = file.read(&mut [0; 10]).unwrap_err();
        Err::<(), Error>(*error.into_inner().unwrap().downcast::<Error>().unwrap())
    };
    let changes = read_end(|body, request, number| file(body, ["\"a\"", "\"b\""][number.min(1)], request));
    assert_says(&changes.unwrap_err(), ErrorKind::Io, &["has changed"]);
    let whole = read_end(|body, _, _| reply("200 OK", &[], body));
    assert_says(&whole.unwrap_err(), ErrorKind::Unsupported, &["sends no parts", "download the file first"]);
    let grows = read_end(|_, request, number| {
        let range = format!("Content-Range: bytes {}-/{}", request.first_byte(), (3 << 20) + number);
        reply("206 Partial Content", &[&range], &[0; 1 << 20])
    });
    assert_says(&grows.unwrap_err(), ErrorKind::Io, &["has changed"]);
    let mute = read_end(|body, _, _| head("200 OK", &[], body));
    assert_says(&mute.unwrap_err(), ErrorKind::Unsupported, &["sends no parts"]);
}

/// A remote whose stores are at `server`.
fn with_store(server: &Server, more: &[(&str, &str)]) -> Remote {
    let endpoint = server.url("");
    let pairs = [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_SKIP_SIGNATURE", "true")];
    let pairs = pairs.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string()));
    Remote::new(RemoteOptions { environment: Environment::from_vars(pairs), ..options() }).unwrap()
}

/// A page of S3's listing.
fn listed(names: &[&str], next: Option<&str>) -> Vec<u8> {
    let entry = |name: &&str| {
        let size = if name.ends_with('/') { 0 } else { 3 };
        format!(
            "<Contents><Key>{name}</Key><Size>{size}</Size><LastModified>2026-11-26T00:00:00Z</LastModified></Contents>"
        )
    };
    let next = next
        .map(|token| format!("<NextContinuationToken>{token}</NextContinuationToken>"))
        .unwrap_or_default();
    let entries: String = names.iter().map(entry).collect();
    reply("200 OK", &[], format!("<ListBucketResult>{entries}{next}</ListBucketResult>").as_bytes())
}

fn keys(remote: &Remote, url: &str) -> Result<Vec<String>> {
    remote.list(&location(url)).map(|entry| Ok(entry?.location.key().to_string())).collect()
}

#[test]
fn a_folder_is_listed_page_by_page_and_goes_on_after_trouble() {
    let server = Server::start(|request, number| {
        assert!(request.header("authorization").is_none(), "unsigned");
        assert!(
            request.target.starts_with("/bucket?") && request.target.contains("prefix=p%2F"),
            "{}",
            request.target
        );
        vec![Act::Send(match number {
            0 => listed(&["p/a.jpg", "p/b b.jpg"], Some("TOKEN")),
            1 => reply("500 Internal Server Error", &[], b""),
            2 => listed(&["p/c.jpg"], Some("TOKEN2")),
            3 => cut(listed(&["p/d.jpg"], None), 150),
            _ => listed(&["p/d.jpg"], None),
        })]
    });
    let remote = with_store(&server, &[]);
    for folder in ["s3://bucket/p", "s3://bucket/p/"] {
        if server.requests().is_empty() {
            let expected = [
                "s3://bucket/p/a.jpg",
                "s3://bucket/p/b b.jpg",
                "s3://bucket/p/c.jpg",
                "s3://bucket/p/d.jpg",
            ];
            assert_eq!(keys(&remote, folder).unwrap(), expected);
        } else {
            assert_eq!(keys(&remote, folder).unwrap(), ["s3://bucket/p/d.jpg"]);
        }
    }
    let targets: Vec<String> = server.requests().into_iter().map(|request| request.target).collect();
    assert!(targets[1].contains("continuation-token=TOKEN"), "{targets:?}");
    assert!(
        targets[2].contains("start-after=p%2Fb%20b.jpg") || targets[2].contains("start-after=p%2Fb+b.jpg"),
        "{targets:?}"
    );
    assert!(targets[4].contains("start-after=p%2Fc.jpg"), "{targets:?}");
}

#[test]
fn listings_that_cannot_be_are_refused() {
    let server = Server::with(listed(&["p/b.jpg", "p/a.jpg"], None));
    let error = keys(&with_store(&server, &[]), "s3://b/p").unwrap_err();
    assert_says(&error, ErrorKind::Unsupported, &["does not list by name"]);

    let server = Server::with(reply("200 OK", &[], b"<html>"));
    assert_says(&keys(&with_store(&server, &[]), "s3://b/p").unwrap_err(), ErrorKind::Io, &["endpoint"]);

    let server = Server::with(listed(&["p/x//y.jpg"], None));
    let error = keys(&with_store(&server, &[]), "s3://b/p").unwrap_err();
    assert_says(&error, ErrorKind::Unsupported, &["p/x//y.jpg", "another name"]);

    let body = b"<Error><Code>NoSuchBucket</Code></Error>";
    let server = Server::with(reply("404 Not Found", &[], body));
    let error = keys(&with_store(&server, &[]), "s3://b/p").unwrap_err();
    assert_says(&error, ErrorKind::Io, &["404", "NoSuchBucket", "ends in /"]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn marks_of_folders_are_passed_over() {
    let server = Server::with(listed(&["p/a.jpg", "p/a/", "p/a/1.jpg", "p/b/", "p/b/2.jpg"], None));
    let found = keys(&with_store(&server, &[]), "s3://b/p").unwrap();
    assert_eq!(found, ["s3://b/p/a.jpg", "s3://b/p/a/1.jpg", "s3://b/p/b", "s3://b/p/b/2.jpg"]);
}

#[test]
fn objects_with_marks_of_the_web_in_their_names_are_pictures() {
    let server = Server::start(|request, _| {
        let date = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
        vec![Act::Send(match request.target.contains("list-type") {
            true => listed(&["p/cat#1.jpg", "p/cat#2.jpg", "p/cat?.jpg"], None),
            false => reply("200 OK", &[date, "ETag: \"a\""], request.target.as_bytes()),
        })]
    });
    let options =
        SourceOptions { opener: Some(Arc::new(with_store(&server, &[]))), ..SourceOptions::default() };
    for input in ["s3://b/p/", "s3://b/p/cat*.jpg"] {
        let mut collection = open(&Input::parse(input.as_ref()).unwrap(), &options).unwrap();
        let items: Vec<Item> = std::iter::from_fn(|| collection.next(&mut |_| true)).map(arrived).collect();
        let found: Vec<_> = items
            .iter()
            .map(|item| match &item.content {
                Ok(Content::Bytes(bytes)) => (item.key.as_str(), String::from_utf8(bytes.clone()).unwrap()),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [
            ("s3://b/p/cat#1.jpg", "/b/p/cat%231.jpg".to_owned()),
            ("s3://b/p/cat#2.jpg", "/b/p/cat%232.jpg".to_owned()),
            ("s3://b/p/cat?.jpg", "/b/p/cat%3F.jpg".to_owned()),
        ];
        assert_eq!(found, expected, "{input}");
    }
}

#[test]
fn objects_of_stores_are_read_whole_in_order_and_in_parts() {
    let body = content(3_000_000);
    let whole = body.clone();
    let server = Server::start(move |request, number| {
        let mut answer = file(&whole, "\"one\"", request);
        let date = b"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        answer.splice(end..end + 4, date.iter().copied());
        vec![Act::Send(if number == 0 { cut(answer, 700_000) } else { answer })]
    });
    let remote = with_store(&server, &[]);
    let place = location("s3://bucket/a b/c+d.tar");
    let mut bytes = Vec::new();
    remote.open_stream(&place).unwrap().read_to_end(&mut bytes).unwrap();
    assert!(bytes == body);
    let requests = server.requests();
    assert_eq!(requests[0].target, "/bucket/a%20b/c%2Bd.tar");
    assert_eq!(requests[1].header("if-match"), Some("\"one\""));
    assert!(requests[1].first_byte() > 600_000);

    let mut end = vec![0; 1000];
    let mut file = remote.open_file(&place).unwrap();
    file.seek(SeekFrom::End(-1000)).unwrap();
    file.read_exact(&mut end).unwrap();
    assert!(end == body[body.len() - 1000..]);

    let error = picture(&remote, "s3://bucket/a b/c+d.tar").unwrap_err();
    assert_says(&error, ErrorKind::Limit, &["announces 3000000"]);
}

#[test]
fn refusals_of_stores_name_code_and_remedy() {
    for (status, headers, code, words) in [
        ("404 Not Found", &[][..], "NoSuchKey", &["404", "NoSuchKey", "spelling"][..]),
        ("403 Forbidden", &[], "AccessDenied", &["403", "AccessDenied", "AWS_ACCESS_KEY_ID"]),
        ("301 Moved", &["x-amz-bucket-region: eu-west-1"], "PermanentRedirect", &["AWS_REGION=eu-west-1"]),
        ("403 Forbidden", &["x-ms-error-code: AuthorizationFailure"], "", &["AuthorizationFailure"]),
        ("403 Forbidden", &[], "<script>", &["(403 Forbidden)"]),
    ] {
        let body = format!("<?xml?><Error><Code>{code}</Code><Message>KEY</Message></Error>");
        let server = Server::with(reply(status, headers, body.as_bytes()));
        let error = picture(&with_store(&server, &[]), "s3://b/x").unwrap_err();
        assert_says(&error, ErrorKind::Io, words);
        assert_eq!(server.requests().len(), 1, "{status}");
    }
    let server = Server::start(|_, number| {
        let busy = reply("503 Slow Down", &["Retry-After: 1"], b"<Error><Code>SlowDown</Code></Error>");
        let date = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
        vec![Act::Send(if number == 0 { busy } else { reply("200 OK", &["ETag: \"a\"", date], b"x") })]
    });
    assert_eq!(picture(&with_store(&server, &[]), "s3://b/x").unwrap(), b"x");
    for name in ["s3://b/a//b.jpg", "s3://b/../x", "s3://b/a\nb"] {
        let error = picture(&with_store(&server, &[]), name).unwrap_err();
        assert_says(&error, ErrorKind::Unsupported, &["another name"]);
    }
}

#[test]
fn credentials_of_the_environment_sign_and_their_absence_is_anonymous() {
    let date = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
    let server = Server::with(reply("200 OK", &["ETag: \"a\"", date], b"x"));
    let endpoint = server.url("");
    let remote = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Remote::new(RemoteOptions { environment: Environment::from_vars(pairs), ..options() }).unwrap()
    };
    let signed = [
        ("AWS_ACCESS_KEY_ID", "ID"),
        ("AWS_SECRET_ACCESS_KEY", "SECRET"),
        ("AWS_ENDPOINT_URL_S3", &endpoint),
    ];
    assert_eq!(picture(&remote(&signed), "s3://b/x").unwrap(), b"x");
    let nobody = [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_ENDPOINT_URL", &endpoint)];
    assert_eq!(picture(&remote(&nobody), "s3://b/x").unwrap(), b"x");
    let emulator = endpoint.trim_start_matches("http://").trim_end_matches('/');
    assert_eq!(picture(&remote(&[("STORAGE_EMULATOR_HOST", emulator)]), "gs://b/x").unwrap(), b"x");
    let azure = [
        ("AZURE_STORAGE_ACCOUNT_NAME", "me"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "a2V5"),
        ("AZURE_STORAGE_ENDPOINT", &endpoint),
    ];
    assert_eq!(picture(&remote(&azure), "az://b/x").unwrap(), b"x");

    let requests = server.requests();
    let sign = |number: usize| requests[number].header("authorization").unwrap_or_default().to_string();
    assert!(sign(0).starts_with("AWS4-HMAC-SHA256 Credential=ID/"), "{}", sign(0));
    assert_eq!((sign(1).as_str(), sign(2).as_str()), ("", ""));
    assert!(sign(3).starts_with("SharedKey me:"), "{}", sign(3));

    let error = picture(&remote(&[("AZURE_SKIP_SIGNATURE", "true")]), "az://b/x").unwrap_err();
    assert_says(&error, ErrorKind::Argument, &["environment", "ccount"]);
}

#[test]
fn collections_are_read_from_servers_and_stores() {
    let server = Server::start(|request, _| {
        vec![Act::Send(match request.target.split('?').next().unwrap() {
            "/b" if request.target.contains("prefix=p%2F") => {
                listed(&["p/1.jpg", "p/2.png", "p/notes.md"], None)
            }
            "/b" => listed(&[], None),
            "/missing.jpg" => reply("404 Not Found", &[], b""),
            path => {
                let date = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
                reply("200 OK", &[date, "ETag: \"a\""], path.as_bytes())
            }
        })]
    });
    let list = tempfile::NamedTempFile::new().unwrap();
    let secret = server.url("c.jpg?X-Amz-Signature=s").replace("http://", "http://user:pw@");
    let lines = ["s3://b/p/", &secret, &server.url("missing.jpg"), "s3://b/q/", "gs:///x.jpg"];
    std::fs::write(list.path(), lines.join("\n")).unwrap();
    let inputs = Input::parse(format!("@{}", list.path().display()).as_ref()).unwrap();
    let options =
        SourceOptions { opener: Some(Arc::new(with_store(&server, &[]))), ..SourceOptions::default() };
    let mut collection = open(&inputs, &options).unwrap();
    let items: Vec<Item> =
        std::iter::from_fn(|| collection.next(&mut |key| key != "s3://b/p/2.png")).map(arrived).collect();
    let keys: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
    let missing = server.url("missing.jpg");
    assert_eq!(keys, ["s3://b/p/1.jpg", &server.url("c.jpg"), &missing, "s3://b/q/", "gs:///x.jpg"]);
    let bytes = |item: &Item| match &item.content {
        Ok(Content::Bytes(bytes)) => String::from_utf8(bytes.clone()).unwrap(),
        Ok(other) => panic!("{other:?}"),
        Err(error) => error.to_string(),
    };
    let contents: Vec<String> = items.iter().map(bytes).collect();
    assert_eq!(contents[..2], ["/b/p/1.jpg", "/c.jpg"]);
    for (content, word) in contents[2..].iter().zip(["404", "no pictures below this address", "bucket"]) {
        assert!(content.contains(word), "{content}");
    }
    assert!(!server.requests().iter().any(|request| request.target.contains("2.png")), "it was not wanted");
}

#[test]
fn web_servers_that_speak_webdav_are_listed() {
    let entry = |path: &str, length: usize| {
        format!(
            "<D:response><D:href>{path}</D:href><D:propstat><D:prop><D:getcontentlength>{length}</D:getcontentlength>\
             <D:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</D:getlastmodified><D:resourcetype/></D:prop>\
             <D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
        )
    };
    let body = format!(
        "<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\">{}{}</D:multistatus>",
        entry("/p/b%20b.jpg", 7),
        entry("/p/a.jpg", 5)
    );
    let server = Server::with(reply("207 Multi-Status", &[], body.as_bytes()));
    let entries: Vec<_> = remote().list(&location(&server.url("p/"))).collect::<Result<_>>().unwrap();
    let found: Vec<_> = entries.iter().map(|entry| (entry.location.key().to_string(), entry.bytes)).collect();
    assert_eq!(found, [(server.url("p/a.jpg"), 5), (server.url("p/b%20b.jpg"), 7)]);

    let server = Server::with(reply("405 Method Not Allowed", &[], b""));
    let error = keys(&remote(), &server.url("p/")).unwrap_err();
    assert_says(&error, ErrorKind::Io, &["405", "write the addresses of the files to a list"]);
}
