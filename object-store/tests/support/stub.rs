//! A server of one bucket that says what it was asked: for what no server at hand does.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// The rules by which the stub compares versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `If-Match` and `If-None-Match`, with quotes or without.
    S3,
    /// The same, and an ETag with quotes equals none.
    S3Unquoted,
    /// `If-None-Match` is ignored.
    S3IgnoresCreate,
    /// `If-Match` is ignored.
    S3IgnoresUpdate,
    /// `x-goog-if-generation-match`: the XML API of Google Cloud Storage.
    Gcs,
}

/// A request, as the stub received it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

#[derive(Default)]
struct State {
    /// By path: the content, and its version.
    objects: HashMap<String, (Vec<u8>, u64)>,
    versions: u64,
    requests: Vec<Request>,
    /// The next answers, whatever is asked.
    next: Vec<Vec<u8>>,
}

/// The stub. It answers until the process ends.
#[derive(Clone)]
pub struct Stub {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl Stub {
    pub fn start(dialect: Dialect) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the kernel has a port");
        let address = listener.local_addr().expect("it is bound");
        let stub = Self {
            state: Arc::default(),
            address,
        };
        let server = stub.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let server = server.clone();
                thread::spawn(move || server.serve(&connection, dialect));
            }
        });
        stub
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next `times` requests are answered with `status` and `body`, and change nothing.
    pub fn answer_next(&self, times: usize, status: u16, body: &str) {
        let answer = response(status, 0, body.as_bytes());
        self.state().next.extend((0..times).map(|_| answer.clone()));
    }

    /// The next `times` requests are redirected to `location` with `status`.
    pub fn redirect_next(&self, times: usize, status: u16, location: &str) {
        let answer = format!(
            "HTTP/1.1 {status} Status\r\nContent-Length: 0\r\nLocation: {location}\r\n\r\n"
        );
        let answers = (0..times).map(|_| answer.clone().into_bytes());
        self.state().next.extend(answers);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the stub panics")
    }

    /// The connection ends with an error when the client has closed it.
    fn serve(&self, connection: &TcpStream, dialect: Dialect) -> io::Result<()> {
        let mut input = BufReader::new(connection);
        let mut output = connection;
        while let Some(request) = read(&mut input)? {
            let answer = self.answer(request, dialect);
            output.write_all(&answer)?;
        }
        Ok(())
    }

    fn answer(&self, request: Request, dialect: Dialect) -> Vec<u8> {
        let mut state = self.state();
        state.requests.push(request.clone());
        if !state.next.is_empty() {
            return state.next.remove(0);
        }
        let found = state.objects.get(&request.path).cloned();
        match request.method.as_str() {
            "GET" => match found {
                Some((bytes, version)) => response(200, version, &bytes),
                None => response(404, 0, b"<Error><Code>NoSuchKey</Code></Error>"),
            },
            "PUT" if !holds(&request, found.map(|(_, version)| version), dialect) => {
                response(412, 0, b"<Error><Code>PreconditionFailed</Code></Error>")
            }
            "PUT" => {
                state.versions += 1;
                let version = state.versions;
                state.objects.insert(request.path, (request.body, version));
                response(200, version, b"")
            }
            _ => response(204, 0, b""),
        }
    }
}

/// Whether the condition of a PUT holds for an object with this version.
fn holds(request: &Request, version: Option<u64>, dialect: Dialect) -> bool {
    let header = |name: &str| request.headers.get(name).map(String::as_str);
    let current = version.map(|version| version.to_string());
    if dialect == Dialect::Gcs {
        return header("x-goog-if-generation-match")
            .is_none_or(|wanted| wanted == current.as_deref().unwrap_or("0"));
    }
    let create = header("if-none-match").is_none_or(|_| version.is_none());
    let update = header("if-match").is_none_or(|wanted| match dialect {
        Dialect::S3Unquoted => current.as_deref() == Some(wanted),
        _ => current.as_deref() == Some(wanted.trim_matches('"')),
    });
    (create || dialect == Dialect::S3IgnoresCreate)
        && (update || dialect == Dialect::S3IgnoresUpdate)
}

fn read(input: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    input.read_exact(&mut body)?;
    Ok(Some(Request {
        method,
        path,
        headers,
        body,
    }))
}

fn response(status: u16, version: u64, body: &[u8]) -> Vec<u8> {
    let mut response = format!(
        "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\nETag: \"{version}\"\r\n\
         x-goog-generation: {version}\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n",
        body.len()
    )
    .into_bytes();
    response.extend_from_slice(body);
    response
}
