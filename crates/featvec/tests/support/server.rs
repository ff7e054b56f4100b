//! A web server on this machine that says what a test wants it to say.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a client asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The second word of the first line.
    pub target: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// N and M of `Range: bytes=N-M`, as far as they are there.
    pub fn range(&self) -> (Option<usize>, Option<usize>) {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        range.map_or((None, None), |(first, last)| (first.parse().ok(), last.parse().ok()))
    }

    /// N of `Range: bytes=N-`, 0 without.
    pub fn first_byte(&self) -> usize {
        self.range().0.unwrap_or(0)
    }
}

/// What the server does with a connection before it closes it.
pub enum Act {
    Send(Vec<u8>),
    /// Says nothing for so long.
    Wait(Duration),
    /// Says nothing more until the client gives up.
    Stall,
}

/// Answers in threads of its own until it is dropped.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// `answer` gets each request with its number, from 0 on.
    pub fn start(answer: impl Fn(&Request, usize) -> Vec<Act> + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stopping = Arc::new(AtomicBool::new(false));
        let (log, stop, answer) = (requests.clone(), stopping.clone(), Arc::new(answer));
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || serve(&stream.unwrap(), &log, &*answer));
            }
        });
        Server { address, requests, stopping, acceptor: Some(acceptor) }
    }

    /// Always the same answer.
    pub fn with(reply: Vec<u8>) -> Server {
        Server::start(move |_, _| vec![Act::Send(reply.clone())])
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor up.
        drop(TcpStream::connect(self.address));
        self.acceptor.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: &TcpStream, log: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request, usize) -> Vec<Act>) {
    let Some(request) = read_request(stream) else {
        return;
    };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(request.clone());
        log.len() - 1
    };
    for act in answer(&request, number) {
        match act {
            // A client that has had enough closes the connection.
            Act::Send(bytes) => drop(stream.write_all(&bytes)),
            Act::Wait(pause) => std::thread::sleep(pause),
            Act::Stall => drop(stream.read_to_end(&mut Vec::new())),
        }
    }
    drop(stream.shutdown(Shutdown::Both));
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        headers.push((name.to_string(), value.to_string()));
    }
    Some(Request { target: first.split(' ').nth(1)?.to_string(), headers })
}

/// A whole answer: `status` such as `200 OK`, further header lines, body with its length.
pub fn reply(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    head(status, &[headers, &[&format!("Content-Length: {}", body.len())]].concat(), body)
}

/// An answer that ends where the connection ends, unless `headers` says otherwise.
pub fn head(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\nConnection: close\r\n").into_bytes();
    for line in headers {
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// What an honest file server answers, ranges included.
pub fn file(body: &[u8], etag: &str, request: &Request) -> Vec<u8> {
    let (first, length) = (request.first_byte(), body.len());
    let etag_line = format!("ETag: {etag}");
    if request.range().0.is_none() || request.header("if-range").is_some_and(|tag| tag != etag) {
        return reply("200 OK", &[&etag_line], body);
    }
    if first >= length {
        return reply("416 Range Not Satisfiable", &[&format!("Content-Range: bytes */{length}")], b"");
    }
    let end = request.range().1.map_or(length, |last| length.min(last + 1));
    let range = format!("Content-Range: bytes {first}-{}/{length}", end - 1);
    reply("206 Partial Content", &[&etag_line, &range], &body[first..end])
}
