//! Downloads from a server that redirects, stalls, breaks off and lies.

#[path = "support/fixture.rs"]
mod fixture;
#[path = "support/module.rs"]
mod module;
#[path = "support/server.rs"]
mod server;

use std::fs;
use std::time::Duration;

use featvec::fetch::{FetchOptions, Progress, Proxies};
use featvec::{Error, ErrorKind};
use fixture::{AT_REST, Fixture, handle};
use server::{Act, Request, Server, head, reply};

/// That `fetch` from `server` gives the module, whole and with nothing else left behind.
fn assert_fetched(fixture: &Fixture, server: &Server) {
    let url = server.url("m.tar.gz");
    let path = fixture.fetch(&url).unwrap();
    for (name, bytes) in module::files() {
        assert!(fs::read(path.join(name)).unwrap() == bytes, "{name} differs");
    }
    assert_eq!(fixture.names(&url), AT_REST);
}

/// The error of a fetch that leaves nothing behind.
fn refused(fixture: &Fixture, url: &str) -> Error {
    let error = fixture.fetch(url).unwrap_err();
    assert_eq!(fixture.names(url), [""; 0], "left behind after {error}");
    error
}

#[track_caller]
fn assert_says(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?} in: {error}");
    }
}

#[test]
fn a_module_is_downloaded_once() {
    let server = Server::with(reply("200 OK", &["ETag: \"one\""], &module::archive()));
    let fixture = Fixture::new();
    let url = server.url("a/m.tar.gz?version=1");
    let path = fixture.fetch(&url).unwrap();
    assert_eq!(fixture.fetch(&url).unwrap(), path);

    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].target, "/a/m.tar.gz?version=1&tf-hub-format=compressed");
    assert_eq!(path, fixture.cache.root().join(handle(&url).key()));

    let descriptor = fs::read_to_string(path.with_extension("descriptor.txt")).unwrap();
    let lines: Vec<&str> = descriptor.lines().collect();
    assert_eq!(lines[0], format!("Module: {url}"));
    assert!(
        lines[1].starts_with("Download Time: 20") && lines[2].starts_with("Downloader Hostname: "),
        "{descriptor}"
    );

    let listed = fixture.cache.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].handle.as_deref(), listed[0].key.len()), (Some(url.as_str()), 40));
    assert_eq!(listed[0].sha256.as_deref().map(str::len), Some(64));
}

#[test]
fn redirects_are_followed_relative_ones_too() {
    let server = Server::start(|request, _| {
        let to = |location: &str| reply("302 Found", &[&format!("Location: {location}")], b"moved");
        vec![Act::Send(match request.target.as_str() {
            "/m.tar.gz?tf-hub-format=compressed" => to("/deep/er/x?y=z"),
            "/deep/er/x?y=z" => to("../file"),
            "/deep/file" => reply("200 OK", &[], &module::archive()),
            other => panic!("{other}"),
        })]
    });
    let fixture = Fixture::new();
    assert_fetched(&fixture, &server);
    let url = fixture.cache.list().unwrap()[0].url.clone();
    assert_eq!(url, Some(server.url("deep/file")), "the manifest names the final address");
}

#[test]
fn circles_and_endless_chains_are_refused() {
    let circle = Server::start(|request, _| {
        let location = if request.target == "/a" { "Location: /b" } else { "Location: /a" };
        vec![Act::Send(reply("301 Moved Permanently", &[location], b""))]
    });
    assert_says(&refused(&Fixture::new(), &circle.url("a")), ErrorKind::Io, &["circle"]);
    assert!(circle.requests().len() <= 3);

    let endless = Server::start(|_, number| {
        vec![Act::Send(reply("307 Temporary Redirect", &[&format!("Location: /{number}")], b""))]
    });
    assert_says(&refused(&Fixture::new(), &endless.url("a")), ErrorKind::Io, &["more than 10 redirects"]);
}

#[test]
fn redirects_out_of_the_web_are_refused() {
    for (location, word) in [("file:///etc/passwd", "file:///etc/passwd"), ("gs://b/m", "gs://b/m")] {
        let server = Server::with(reply("303 See Other", &[&format!("Location: {location}")], b""));
        assert_says(&refused(&Fixture::new(), &server.url("m")), ErrorKind::Io, &[word]);
    }
    let nowhere = Server::with(reply("302 Found", &[], b""));
    assert_says(&refused(&Fixture::new(), &nowhere.url("m")), ErrorKind::Io, &["without saying where"]);
}

#[test]
fn refusals_are_final_and_say_what_to_do() {
    for (status, word) in [
        ("404 Not Found", "spelling"),
        ("403 Forbidden", "featvec fetch --from FILE"),
        ("400 Bad Request", "check the handle"),
        ("204 No Content", "without the file"),
    ] {
        let server = Server::with(head(status, &["Content-Length: 0"], b""));
        let error = refused(&Fixture::new(), &server.url("m"));
        assert_says(&error, ErrorKind::Io, &[word, &status[..3], &server.url("m")]);
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[test]
fn a_server_in_trouble_gets_another_chance() {
    for trouble in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"] {
        let server = Server::start(move |_, number| {
            // A thousand years are cut to what the options allow.
            let wait = "Retry-After: 31536000000";
            vec![Act::Send(if number < 2 {
                reply(trouble, &[wait], b"")
            } else {
                reply("200 OK", &[], &module::archive())
            })]
        });
        assert_fetched(&Fixture::new(), &server);
        assert_eq!(server.requests().len(), 3);
    }
    let hopeless = Server::with(reply("502 Bad Gateway", &[], b""));
    assert_says(&refused(&Fixture::new(), &hopeless.url("m")), ErrorKind::Io, &["502"]);
    assert_eq!(hopeless.requests().len(), 3, "two retries");
}

/// Serves the archive, but only `first` bytes of it to the first request.
fn half_then(first: usize, then: impl Fn(&Request, &[u8]) -> Vec<u8> + Send + Sync + 'static) -> Server {
    Server::start(move |request, number| {
        let archive = module::archive();
        if number > 0 {
            return vec![Act::Send(then(request, &archive))];
        }
        let length = format!("Content-Length: {}", archive.len());
        vec![Act::Send(head("200 OK", &[&length, "ETag: \"v1\""], &archive[..first]))]
    })
}

#[test]
fn a_stalled_download_is_resumed() {
    let server = Server::start(|request, number| {
        let archive = module::archive();
        let answer = server::file(&archive, "\"v1\"", request);
        let cut = answer.len() - 3000;
        match number {
            0 => vec![Act::Send(answer[..cut].to_vec()), Act::Stall],
            _ => vec![Act::Send(answer)],
        }
    });
    assert_fetched(&Fixture::new(), &server);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].first_byte(), module::archive().len() - 3000);
    assert_eq!(requests[1].header("if-range"), Some("\"v1\""));
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let server = Server::start(|_, _| vec![Act::Stall]);
    let mut fixture = Fixture::new();
    fixture.options.timeouts.stall = Duration::from_millis(30);
    assert_says(&refused(&fixture, &server.url("m")), ErrorKind::Io, &["no answer within 30ms"]);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_broken_connection_is_resumed() {
    let server = half_then(5000, |request, archive| server::file(archive, "\"v1\"", request));
    assert_fetched(&Fixture::new(), &server);
    assert_eq!(server.requests()[1].first_byte(), 5000);
}

#[test]
fn a_server_without_ranges_starts_over() {
    let server = half_then(5000, |_, archive| reply("200 OK", &[], archive));
    assert_fetched(&Fixture::new(), &server);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn attempts_that_get_no_further_come_to_an_end() {
    let start = |length| head("200 OK", &["Content-Length: 1000000"], &vec![0; length]);
    let up_and_down = Server::start(move |_, number| {
        vec![Act::Send(match number {
            0..20 => start([100_000, 400_000][number % 2]),
            _ => reply("404 Not Found", &[], b""),
        })]
    });
    assert_says(&refused(&Fixture::new(), &up_and_down.url("m")), ErrorKind::Io, &["of 1000000 bytes"]);
    assert_eq!(up_and_down.requests().len(), 4, "the second attempt was the last that got further");

    let forgetful = Server::start(move |_, number| {
        vec![Act::Send(match number {
            0..20 if number % 2 == 0 => start(400_000),
            0..20 => reply("416 Range Not Satisfiable", &[], b""),
            _ => reply("404 Not Found", &[], b""),
        })]
    });
    assert_says(&refused(&Fixture::new(), &forgetful.url("m")), ErrorKind::Io, &["of 1000000 bytes"]);
    assert_eq!(forgetful.requests().len(), 3);
}

#[test]
fn another_part_than_asked_for_is_not_taken() {
    let server = Server::start(|request, number| {
        let archive = module::archive();
        let length = archive.len();
        vec![Act::Send(match number {
            0 => head("200 OK", &[&format!("Content-Length: {length}")], &archive[..5000]),
            1 => {
                let range = format!("Content-Range: bytes 0-{}/{length}", length - 1);
                reply("206 Partial Content", &[&range], &archive)
            }
            _ => {
                assert_eq!(request.first_byte(), 0, "what has been found out to be wrong is forgotten");
                reply("200 OK", &[], &archive)
            }
        })]
    });
    assert_fetched(&Fixture::new(), &server);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn the_rest_of_another_version_is_not_taken() {
    let server = Server::start(|request, number| {
        let archive = module::archive();
        vec![Act::Send(match (number, request.first_byte()) {
            (0, _) => head(
                "200 OK",
                &["ETag: \"v1\"", &format!("Content-Length: {}", archive.len())],
                &archive[..5000],
            ),
            (_, 0) => reply("200 OK", &[], &archive),
            // Neither the ETag nor the length are those of the first half.
            (_, first) => {
                let range = format!("Content-Range: bytes {first}-{}/{}", first + 9, first + 10);
                reply("206 Partial Content", &["ETag: \"v2\"", &range], b"0123456789")
            }
        })]
    });
    assert_fetched(&Fixture::new(), &server);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn wrong_bytes_in_the_right_range_are_found_out() {
    let server = half_then(5000, |request, archive| match request.first_byte() {
        0 => reply("200 OK", &[], archive),
        first => {
            let range = format!("Content-Range: bytes {first}-{}/{}", archive.len() - 1, archive.len());
            reply("206 Partial Content", &[&range], &vec![b'x'; archive.len() - first])
        }
    });
    assert_fetched(&Fixture::new(), &server);
    assert_eq!(server.requests().len(), 3);
    assert_eq!(server.requests()[2].first_byte(), 0);
}

#[test]
fn an_end_without_a_sign_is_noticed() {
    let server = Server::start(|_, number| {
        let archive = module::archive();
        let end = if number == 0 { 5000 } else { archive.len() };
        vec![Act::Send(head("200 OK", &[], &archive[..end]))]
    });
    assert_fetched(&Fixture::new(), &server);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_length_that_is_too_short_is_noticed() {
    let server =
        Server::start(|_, _| vec![Act::Send(head("200 OK", &["Content-Length: 5000"], &module::archive()))]);
    let error = refused(&Fixture::new(), &server.url("m"));
    assert_says(&error, ErrorKind::Corrupt, &["the server sent this twice"]);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_length_that_is_too_long_is_settled_by_the_server() {
    let server = Server::start(|request, _| {
        let archive = module::archive();
        vec![Act::Send(match request.first_byte() {
            0 => head("200 OK", &[&format!("Content-Length: {}", archive.len() + 99)], &archive),
            _ => reply(
                "416 Range Not Satisfiable",
                &[&format!("Content-Range: bytes */{}", archive.len())],
                b"",
            ),
        })]
    });
    assert_fetched(&Fixture::new(), &server);
}

#[test]
fn a_chunked_body_is_read_and_its_early_end_noticed() {
    let server = Server::start(|_, number| {
        let archive = module::archive();
        let mut body = format!("{:x}\r\n", archive.len()).into_bytes();
        body.extend_from_slice(&archive);
        body.extend_from_slice(b"\r\n0\r\n\r\n");
        let end = if number == 0 { 6000 } else { body.len() };
        vec![Act::Send(head("200 OK", &["Transfer-Encoding: chunked"], &body[..end]))]
    });
    assert_fetched(&Fixture::new(), &server);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn bodies_that_are_no_archives_are_named() {
    for (body, kind, word) in [
        (&b"<!DOCTYPE html><title>Kaggle</title>"[..], ErrorKind::Unsupported, "a web page"),
        (b"{\"error\": \"login\"}", ErrorKind::Unsupported, "JSON"),
        (b"BZh91AY&SY", ErrorKind::Unsupported, "bzip2"),
        (b"", ErrorKind::Corrupt, "empty"),
        (b"\x1f\x8b", ErrorKind::Corrupt, "archive"),
    ] {
        let server = Server::with(reply("200 OK", &["Content-Type: text/html"], body));
        assert_says(&refused(&Fixture::new(), &server.url("m")), kind, &[word]);
    }
}

#[test]
fn what_is_not_http_is_an_error() {
    for noise in [
        &b"\x00\xff\x00"[..],
        b"HTTP/1.1 abc\r\n\r\n",
        b"220 ftp ready\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\xff\r\n",
        b"",
    ] {
        let server = Server::with(noise.to_vec());
        assert_says(&refused(&Fixture::new(), &server.url("m")), ErrorKind::Io, &[]);
    }
    let mut endless = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
    endless.resize(1 << 20, b'x');
    assert_says(&refused(&Fixture::new(), &Server::with(endless).url("m")), ErrorKind::Io, &[]);
    for length in ["-1", "99999999999999999999999999", "1, 2", "0x10"] {
        let server = Server::with(head("200 OK", &[&format!("Content-Length: {length}")], b"body"));
        refused(&Fixture::new(), &server.url("m"));
    }
}

#[test]
fn an_unencrypted_server_asked_for_https_is_an_error() {
    let server = Server::with(reply("200 OK", &[], b""));
    let url = server.url("m").replace("http:", "https:");
    assert_says(&refused(&Fixture::new(), &url), ErrorKind::Io, &[]);
}

#[test]
fn nobody_listening_is_an_error() {
    let url = Server::with(Vec::new()).url("m");
    assert_says(&refused(&Fixture::new(), &url), ErrorKind::Io, &[]);
}

#[test]
fn downloads_are_bounded_announced_or_not() {
    let mut fixture = Fixture::new();
    fixture.options.limits.file_bytes = 1000;
    let announced = Server::with(head("200 OK", &["Content-Length: 1001"], b""));
    assert_says(&refused(&fixture, &announced.url("m")), ErrorKind::Limit, &["1001", "1000", "file_bytes"]);
    let silent = Server::with(head("200 OK", &[], &module::archive()));
    assert_says(&refused(&fixture, &silent.url("m")), ErrorKind::Limit, &["1000"]);
    assert_eq!((announced.requests().len(), silent.requests().len()), (1, 1));
}

#[test]
fn archives_that_unpack_to_too_much_are_refused() {
    let mut fixture = Fixture::new();
    fixture.options.limits.archive_bytes = 1 << 20;
    let mut files = module::files();
    files.push(("assets/zeros", vec![0; 8 << 20]));
    let server = Server::with(reply("200 OK", &[], &module::gzip(&module::tar(&files))));
    assert_says(&refused(&fixture, &server.url("m")), ErrorKind::Limit, &["archive_bytes"]);
}

#[test]
fn archives_that_reach_out_are_refused() {
    for (name, kind, bytes) in [
        ("../escaped", b'0', &b"evil"[..]),
        ("a/../../../escaped", b'0', b"evil"),
        ("link", b'2', b"/etc/passwd"),
        ("hard", b'1', b"saved_model.pb"),
    ] {
        let mut tar = module::member(name, kind, bytes);
        tar.extend(module::tar(&module::files()));
        let server = Server::with(reply("200 OK", &[], &module::gzip(&tar)));
        let fixture = Fixture::new();
        refused(&fixture, &server.url("m"));
        let found: Vec<_> =
            fs::read_dir(fixture.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(found, ["cache"], "{name}");
    }
}

#[test]
fn damage_inside_the_module_is_found_before_anybody_uses_it() {
    let mut files = module::files();
    files[3].1[100] ^= 1;
    let server = Server::with(reply("200 OK", &[], &module::gzip(&module::tar(&files))));
    assert_says(
        &refused(&Fixture::new(), &server.url("m")),
        ErrorKind::Corrupt,
        &["the server sent this twice"],
    );

    let mut files = module::files();
    files.remove(3);
    let server = Server::with(reply("200 OK", &[], &module::gzip(&module::tar(&files))));
    refused(&Fixture::new(), &server.url("m"));
}

#[test]
fn an_uncompressed_archive_is_as_good() {
    assert_fetched(&Fixture::new(), &Server::with(reply("200 OK", &[], &module::tar(&module::files()))));
}

#[test]
fn mirrors_are_tried_in_turn() {
    let gone = Server::with(reply("404 Not Found", &[], b""));
    let page = Server::with(reply("200 OK", &[], b"<html>"));
    let good = Server::with(reply("200 OK", &[], &module::archive()));
    let mut fixture = Fixture::new();
    let url = gone.url("google/m/1?x=y");
    fixture.options.mirrors = vec![page.url("{path}.tar.gz"), good.url("mirror/{path}.tgz")];
    fixture.fetch(&url).unwrap();
    assert_eq!(page.requests()[0].target, "/google/m/1.tar.gz?tf-hub-format=compressed");
    assert_eq!(good.requests()[0].target, "/mirror/google/m/1.tgz?tf-hub-format=compressed");
    assert_eq!(
        fixture.cache.path(&handle(&url)),
        fixture.cache.list().unwrap()[0].path,
        "the key is the handle's"
    );

    let mut fixture = Fixture::new();
    fixture.options.mirrors = vec![page.url("{path}.tar.gz")];
    let error = refused(&fixture, &url);
    assert_says(
        &error,
        ErrorKind::Io,
        &["2 places", "404", "a web page", &page.url("google/m/1.tar.gz"), "--mirror"],
    );
}

#[test]
fn a_name_that_nobody_knows_is_asked_for_once() {
    let good = Server::with(reply("200 OK", &[], &module::archive()));
    let mut fixture = Fixture::new();
    // Longer than a name may be, so that no server is needed to know that it is none.
    let url = format!("http://{}/m.tar.gz", "x".repeat(64));
    let mut retries = 0;
    let mut fetch = |options: &FetchOptions| {
        fixture.cache.resolve(&handle(&url), options, &mut |progress| {
            retries += u32::from(matches!(progress, Progress::Retrying { .. }));
        })
    };
    assert_says(&fetch(&fixture.options).unwrap_err(), ErrorKind::Io, &["name is not known"]);
    fixture.options.mirrors = vec![good.url("{path}")];
    fetch(&fixture.options).unwrap();
    assert_eq!(retries, 0);
}

#[test]
fn the_users_mirrors_stand_in_for_tfhub() {
    let good = Server::with(reply("200 OK", &[], &module::archive()));
    let mut fixture = Fixture::new();
    fixture.options.mirrors = vec![good.url("{path}")];
    fixture.fetch("https://tfhub.dev/google/m/1").unwrap();
}

#[test]
fn a_proxy_gets_the_whole_address() {
    let proxy = Server::with(reply("200 OK", &[], &module::archive()));
    let mut fixture = Fixture::new();
    let address = proxy.url("").replace("http://", "http://user:p%40ss@");
    fixture.options.proxies = Proxies { http: Some(address), ..Proxies::default() };
    fixture.fetch("http://unreachable.invalid:81/m.tar.gz").unwrap();
    let request = &proxy.requests()[0];
    assert_eq!(request.target, "http://unreachable.invalid:81/m.tar.gz?tf-hub-format=compressed");
    assert_eq!(request.header("host"), Some("unreachable.invalid:81"));
    assert_eq!(request.header("proxy-authorization"), Some("Basic dXNlcjpwQHNz"));
}

#[test]
fn encrypted_traffic_goes_through_a_tunnel() {
    let proxy = Server::with(reply("403 Forbidden", &[], b""));
    let mut fixture = Fixture::new();
    fixture.options.proxies = Proxies { https: Some(proxy.url("")), ..Proxies::default() };
    assert_says(
        &refused(&fixture, "https://unreachable.invalid/m"),
        ErrorKind::Io,
        &["through the proxy 127.0.0.1"],
    );
    assert_eq!(proxy.requests()[0].target, "unreachable.invalid:443");
}

#[test]
fn exceptions_bypass_the_proxy() {
    let server = Server::with(reply("200 OK", &[], &module::archive()));
    let mut fixture = Fixture::new();
    fixture.options.proxies = Proxies {
        http: Some("http://unreachable.invalid:1".into()),
        exceptions: vec!["127.0.0.1".into()],
        https: None,
    };
    assert_fetched(&fixture, &server);
}

#[test]
fn reading_in_place_is_refused_in_words() {
    let server = Server::with(reply("200 OK", &[], &module::archive()));
    let mut fixture = Fixture::new();
    fixture.options.uncompressed = true;
    assert_says(&refused(&fixture, &server.url("m")), ErrorKind::Unsupported, &["TFHUB_MODEL_LOAD_FORMAT"]);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn offline_asks_nobody() {
    let server = Server::with(reply("200 OK", &[], &module::archive()));
    let mut fixture = Fixture::new();
    fixture.options.offline = true;
    assert_says(&refused(&fixture, &server.url("m")), ErrorKind::Io, &["not in the cache", "--offline"]);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn progress_counts_to_the_end() {
    let server = half_then(5000, |request, archive| server::file(archive, "\"v1\"", request));
    let fixture = Fixture::new();
    let (mut seen, mut retries) = (Vec::new(), 0);
    fixture
        .cache
        .resolve(&handle(&server.url("m")), &fixture.options, &mut |progress| match progress {
            Progress::Downloading { downloaded, total, .. } => seen.push((downloaded, total)),
            Progress::Retrying { .. } => retries += 1,
            _ => {}
        })
        .unwrap();
    let length = module::archive().len() as u64;
    assert_eq!((seen.first(), seen.last()), (Some(&(0, Some(length))), Some(&(length, Some(length)))));
    assert!(seen.is_sorted() && retries == 1);
}

#[test]
fn the_environment_sets_options() {
    let options = FetchOptions::from_vars(|name| {
        let value = match name {
            "FEATVEC_MIRRORS" => "http://a/{path}, http://b/{path} ,",
            "TFHUB_DISABLE_CERT_VALIDATION" => "true",
            "TFHUB_MODEL_LOAD_FORMAT" => "UNCOMPRESSED",
            "http_proxy" => "proxy:8080",
            _ => return None,
        };
        Some(value.to_string())
    });
    assert_eq!(options.mirrors, ["http://a/{path}", "http://b/{path}"]);
    assert!(options.disable_cert_validation && options.uncompressed && !options.offline);
    assert_eq!(options.proxies.http.as_deref(), Some("proxy:8080"));

    let plain =
        FetchOptions::from_vars(|name| (name == "TFHUB_DISABLE_CERT_VALIDATION").then(|| "1".to_string()));
    assert!(!plain.disable_cert_validation && !plain.uncompressed && plain.mirrors.is_empty());
}
