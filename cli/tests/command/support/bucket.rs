//! A server of objects in this process, which speaks as much of the protocol of S3 as a lock needs: GET, PUT
//! under a condition, DELETE. A test stops its answers, and reads and writes its objects past every condition.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::Directory;

/// What no output may contain: every credential of the tests contains it.
pub const SECRET: &str = "hunter2";

/// A bucket, and one of the ports at which it is served.
pub struct Bucket {
    objects: Arc<Mutex<Objects>>,
    port: Arc<Port>,
    address: String,
}

#[derive(Default)]
struct Objects {
    by_path: HashMap<String, Object>,
    versions: u64,
    hides_absent: bool,
}

#[derive(Clone)]
struct Object {
    bytes: Vec<u8>,
    version: u64,
    modified: SystemTime,
}

/// How one port answers.
#[derive(Default)]
struct Port {
    is_silent: AtomicBool,
    keeps_answers: AtomicBool,
    /// Every request is refused with this.
    error: Mutex<Option<&'static str>>,
}

impl Bucket {
    pub fn new() -> Bucket {
        Bucket::serving(Arc::default())
    }

    /// The same objects at another port, which a test silences by itself.
    pub fn at_another_port(&self) -> Bucket {
        Bucket::serving(self.objects.clone())
    }

    fn serving(objects: Arc<Mutex<Objects>>) -> Bucket {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let port = Arc::<Port>::default();
        let (served, answers) = (objects.clone(), port.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (served, answers) = (served.clone(), answers.clone());
                // A client that leaves is no failure of the test.
                std::thread::spawn(move || serve(stream, &served, &answers));
            }
        });
        Bucket {
            objects,
            port,
            address,
        }
    }

    /// `rvlf`, with the environment that leads to this port.
    pub fn command(&self, dir: &Directory, args: &[&str]) -> Command {
        let mut command = dir.command(args);
        command
            .env("AWS_ENDPOINT", format!("http://{}", self.address))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "id-hunter2")
            .env("AWS_SECRET_ACCESS_KEY", "key-hunter2")
            .env("AWS_SESSION_TOKEN", "token-hunter2");
        command
    }

    /// From now on the server takes requests, and does and answers nothing.
    pub fn be_silent(&self) {
        self.port.is_silent.store(true, Ordering::SeqCst);
    }

    /// From now on, or no longer, the server writes what it is sent, and does not answer that it did.
    pub fn keep_answers_to_writes(&self, keeps: bool) {
        self.port.keeps_answers.store(keeps, Ordering::SeqCst);
    }

    /// From now on every answer is this status line, with the request repeated in its body.
    pub fn answer_only(&self, status: &'static str) {
        let mut error = self
            .port
            .error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *error = Some(status);
    }

    /// From now on the server answers as S3 does to a user who may not list the bucket: 403 to a GET of an object
    /// that is not there.
    pub fn hide_absent_objects(&self) {
        lock(&self.objects).hides_absent = true;
    }

    /// Overwrites an object of the bucket `bucket`, as another program would.
    pub fn write(&self, key: &str, bytes: &[u8], age: Duration) {
        let mut objects = lock(&self.objects);
        objects.write(
            format!("/bucket/{key}"),
            bytes.to_vec(),
            SystemTime::now() - age,
        );
    }

    pub fn read(&self, key: &str) -> Option<Vec<u8>> {
        let objects = lock(&self.objects);
        let object = objects.by_path.get(&format!("/bucket/{key}"));
        object.map(|object| object.bytes.clone())
    }
}

impl Objects {
    fn write(&mut self, path: String, bytes: Vec<u8>, modified: SystemTime) -> u64 {
        self.versions += 1;
        let version = self.versions;
        let object = Object {
            bytes,
            version,
            modified,
        };
        self.by_path.insert(path, object);
        version
    }
}

fn lock(objects: &Mutex<Objects>) -> MutexGuard<'_, Objects> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Request {
    method: String,
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

fn serve(stream: TcpStream, objects: &Mutex<Objects>, port: &Port) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some(request) = read_request(&mut reader)? {
        while port.is_silent.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let error = *port.error.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match error {
            Some(status) => error_answer(status, &request),
            None => answer(&request, &mut lock(objects)),
        };
        while request.method == "PUT" && port.keeps_answers.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stream.write_all(&answer)?;
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next(), words.next());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|len| len.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Some(Request {
        method: method.unwrap_or_default(),
        path: path.unwrap_or_default(),
        headers,
        body,
    }))
}

fn answer(request: &Request, objects: &mut Objects) -> Vec<u8> {
    let found = objects.by_path.get(&request.path).cloned();
    match (request.method.as_str(), found) {
        _ if !request.path.starts_with("/bucket/") => {
            error_answer("404 Not Found: NoSuchBucket", request)
        }
        ("GET", None) if objects.hides_absent => {
            error_answer("403 Forbidden: AccessDenied", request)
        }
        ("GET", None) => error_answer("404 Not Found: NoSuchKey", request),
        ("GET", Some(object)) => {
            let modified = httpdate(object.modified);
            let headers = format!(
                "ETag: \"{}\"\r\nLast-Modified: {modified}\r\n",
                object.version
            );
            whole_answer("200 OK", &headers, &object.bytes)
        }
        ("PUT", found) if !is_fulfilled(request, found.as_ref()) => {
            error_answer("412 Precondition Failed: PreconditionFailed", request)
        }
        ("PUT", _) => {
            let (path, body) = (request.path.clone(), request.body.clone());
            let version = objects.write(path, body, SystemTime::now());
            whole_answer("200 OK", &format!("ETag: \"{version}\"\r\n"), b"")
        }
        _ => {
            objects.by_path.remove(&request.path);
            whole_answer("204 No Content", "", b"")
        }
    }
}

fn is_fulfilled(request: &Request, found: Option<&Object>) -> bool {
    if request.headers.contains_key("if-none-match") {
        return found.is_none();
    }
    let named = request.headers.get("if-match");
    named.is_none_or(|named| found.is_some_and(|found| *named == format!("\"{}\"", found.version)))
}

/// Some servers show what they received.
fn error_answer(status: &str, request: &Request) -> Vec<u8> {
    let (status, code) = status.split_once(": ").unwrap_or((status, "Error"));
    let headers = format!("{:?}", request.headers);
    let body = format!("<Error><Code>{code}</Code><Request>{headers}</Request></Error>");
    whole_answer(status, "", body.as_bytes())
}

fn whole_answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// RFC 9110, section 5.6.7.
fn httpdate(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).expect("it is within the calendar");
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
