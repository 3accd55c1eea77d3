//! What the clients of `object_store` send, seen by a stub: the conditions of each service, what
//! becomes of each status, and what is never sent or shown.
//!
//! The clients are configured by environment variables, as users do it. A test that needs some runs
//! itself again in a process that has them.

mod support;

use std::env;
use std::process::Command;
use std::time::Duration;

use rvlf_object_store::{
    Bucket, Condition, Demand, ErrorClass, Found, HttpOptions, Location, Put, Register,
    SelfTestError, StoreLock, block_on, self_test,
};
use support::stub::{Dialect, Request, Stub};
use tokio::runtime::Runtime;

const SECRETS: [&str; 5] = [
    "s3cr3t-aws",
    "t0ken-aws",
    "czNjcjN0LWF6dXJl",
    "b3arer-gcp",
    "hunter2-pasted",
];

/// Runs the test `name` again, alone, with these variables and no others of a service. Returns its
/// output. In that process returns `None`.
fn again_with(name: &str, variables: &[(&str, &str)]) -> Option<String> {
    if env::var_os("RVLF_TEST_CHILD").is_some() {
        return None;
    }
    let mut command = Command::new(env::current_exe().expect("the test has a file"));
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    for (variable, _) in env::vars_os() {
        let text = variable.to_string_lossy();
        if ["AWS_", "AZURE_", "GOOGLE_", "AZURITE_"]
            .iter()
            .any(|part| text.starts_with(part))
        {
            command.env_remove(&variable);
        }
    }
    command
        .env("RVLF_TEST_CHILD", "1")
        .envs(variables.iter().copied());
    let output = command.output().expect("the test can be started again");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("1 passed"),
        "{name} is not the name of this test: {text}"
    );
    Some(text)
}

fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a thread can be started")
}

fn open(url: &str, runtime: &Runtime) -> Bucket {
    let http = HttpOptions {
        request_timeout: Duration::from_secs(20),
        runtime: runtime.handle().clone(),
    };
    let location: Location = url.parse().expect("it is a URL");
    Bucket::open(&location, &http).expect("the variables configure it")
}

fn s3(stub: &Stub) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT", stub.url()),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", "id".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "s3cr3t-aws".to_owned()),
        ("AWS_SESSION_TOKEN", "t0ken-aws".to_owned()),
    ]
}

fn gcs(stub: &Stub) -> Vec<(&'static str, String)> {
    vec![
        ("GOOGLE_BASE_URL", stub.url()),
        ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
        ("GOOGLE_BEARER_TOKEN", "b3arer-gcp".to_owned()),
    ]
}

fn run_again(name: &str, variables: &[(&'static str, String)]) -> Option<String> {
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    again_with(name, &variables)
}

/// The verdict of the self-test, in a process of its own.
fn verdict_of(name: &str, dialect: Dialect, expected: Option<Demand>) {
    if env::var_os("RVLF_TEST_CHILD").is_none() {
        let stub = Stub::start(dialect);
        run_again(name, &s3(&stub));
        return;
    }
    let runtime = runtime();
    let bucket = open("s3://bucket/x", &runtime);
    let result = runtime.block_on(self_test(&bucket, "x.lock", Duration::from_secs(60)));
    match (result, expected) {
        (Ok(()), None) => {
            // The dialect that the self-test has found is that of the lock's own object.
            let object = bucket.register("x.lock".into());
            runtime.block_on(async {
                let first = object.put_if("first".into(), Condition::Absent).await;
                let Ok(Put::Stored(version)) = first else {
                    panic!("{first:?}")
                };
                let second = object
                    .put_if("second".into(), Condition::Version(version))
                    .await;
                assert!(matches!(second, Ok(Put::Stored(_))), "{second:?}");
            });
        }
        (Err(SelfTestError::Unsuitable { what, .. }), Some(demand)) => assert_eq!(what, demand),
        (other, _) => panic!("{other:?} instead of {expected:?}"),
    }
}

#[test]
fn a_server_that_ignores_if_none_match_is_refused() {
    let name = "a_server_that_ignores_if_none_match_is_refused";
    verdict_of(name, Dialect::S3IgnoresCreate, Some(Demand::RefuseCreate));
}

#[test]
fn a_server_that_ignores_if_match_is_refused() {
    let name = "a_server_that_ignores_if_match_is_refused";
    verdict_of(name, Dialect::S3IgnoresUpdate, Some(Demand::RefuseStale));
}

#[test]
fn a_server_that_wants_etags_without_quotes_gets_them_so() {
    let name = "a_server_that_wants_etags_without_quotes_gets_them_so";
    verdict_of(name, Dialect::S3Unquoted, None);
}

// Several servers ignore the condition of a DELETE, and a late one removes the lock of a successor. The
// user of a lock also needs no permission to delete.
#[test]
fn a_lock_deletes_nothing_but_the_objects_of_its_self_test() {
    let name = "a_lock_deletes_nothing_but_the_objects_of_its_self_test";
    if env::var_os("RVLF_TEST_CHILD").is_none() {
        let stub = Stub::start(Dialect::S3);
        run_again(name, &s3(&stub));
        let requests = stub.requests();
        let writes_lock =
            |request: &&Request| request.method == "PUT" && request.path == "/bucket/x.lock";
        let writes = requests.iter().filter(writes_lock).count();
        assert!(
            writes >= 6,
            "two holds, each with a commit and a release: {writes}"
        );
        let others = requests
            .iter()
            .filter(|request| !["GET", "PUT"].contains(&&*request.method));
        assert_eq!(others.clone().count(), 2, "of the one self-test");
        for request in others {
            // S3 has a POST that deletes the objects whose names are in its body.
            let named = format!(
                "{} {}",
                request.path,
                String::from_utf8_lossy(&request.body)
            );
            assert!(named.contains("x.lock.self-test-"), "{request:?}");
        }
        return;
    }
    block_on(async {
        for payload in ["first", "second"] {
            let options = StoreLock::options();
            let lock = options
                .acquire("s3://bucket/x", Duration::from_secs(60))
                .await;
            let lock = lock.expect("the stub keeps all conditions");
            lock.commit(payload).await.expect("the lock is held");
            lock.release().await.expect("the lock is held");
        }
    });
}

// GCS compares generations and not ETags: a version without its number would update nothing.
#[test]
fn gcs_is_sent_the_generation_that_it_returned() {
    let name = "gcs_is_sent_the_generation_that_it_returned";
    if env::var_os("RVLF_TEST_CHILD").is_none() {
        let stub = Stub::start(Dialect::Gcs);
        run_again(name, &gcs(&stub));
        let conditions: Vec<_> = stub
            .requests()
            .iter()
            .filter(|request| request.method == "PUT")
            .map(|request| request.headers.get("x-goog-if-generation-match").cloned())
            .collect();
        let sent = |text: &str| Some(text.to_owned());
        assert_eq!(
            conditions,
            [sent("0"), sent("0"), sent("1"), sent("1"), sent("2")]
        );
        return;
    }
    let runtime = runtime();
    let object = open("gs://bucket/x", &runtime).register("x.lock".into());
    runtime.block_on(async {
        let put = |text: &'static str, condition| object.put_if(text.into(), condition);
        assert_eq!(object.get().await.expect("an answer"), Found::Absent);
        let Ok(Put::Stored(first)) = put("first", Condition::Absent).await else {
            panic!("absent")
        };
        assert_eq!(first.version.as_deref(), Some("1"));
        assert_eq!(
            put("late", Condition::Absent).await.expect("an answer"),
            Put::Refused
        );
        let update = Condition::Version(first);
        assert!(matches!(
            put("second", update.clone()).await,
            Ok(Put::Stored(_))
        ));
        assert_eq!(put("stale", update).await.expect("an answer"), Put::Refused);
        let Ok(Found::Present(found)) = object.get().await else {
            panic!("it was written")
        };
        assert_eq!(&found.bytes[..], b"second");
        let after_get = put("third", Condition::Version(found.version)).await;
        assert!(matches!(after_get, Ok(Put::Stored(_))), "{after_get:?}");
    });
}

// A client that sends a conditional write again by itself is refused because of its own first copy.
#[test]
fn each_status_has_its_class_and_no_request_is_sent_again() {
    let name = "each_status_has_its_class_and_no_request_is_sent_again";
    let answers = [
        (429, "Some"),
        (500, "Some"),
        (503, "Some"),
        (408, "Some"),
        (425, "Some"),
        (400, "RequestTimeout"),
        (403, "Some"),
        (401, "Some"),
        (400, "ExpiredToken"),
        (400, "InvalidToken"),
        (400, "InvalidAccessKeyId"),
        (409, "Some"),
        (412, "Some"),
        (404, "Some"),
        (501, "NotImplemented"),
        (400, "InvalidArgument"),
        (400, "KeyTooLongError"),
        (405, "MethodNotAllowed"),
    ];
    if env::var_os("RVLF_TEST_CHILD").is_none() {
        for dialect in [Dialect::S3, Dialect::Gcs] {
            let stub = Stub::start(dialect);
            for (status, code) in answers {
                stub.answer_next(1, status, &format!("<Error><Code>{code}</Code></Error>"));
            }
            stub.answer_next(2, 404, "<Error><Code>NoSuchBucket</Code></Error>");
            let mut variables = if dialect == Dialect::Gcs {
                gcs(&stub)
            } else {
                s3(&stub)
            };
            let scheme = if dialect == Dialect::Gcs { "gs" } else { "s3" };
            variables.push(("RVLF_TEST_SCHEME", scheme.to_owned()));
            run_again(name, &variables);
            assert_eq!(
                stub.requests().len(),
                answers.len() + 2,
                "{dialect:?}: one for each call"
            );
        }
        return;
    }
    let scheme = env::var("RVLF_TEST_SCHEME").expect("the parent sets it");
    let runtime = runtime();
    let object = open(&format!("{scheme}://bucket/x"), &runtime).register("x.lock".into());
    let version = rvlf_object_store::Version {
        e_tag: Some("\"1\"".to_owned()),
        version: Some("1".to_owned()),
    };
    let put = || runtime.block_on(object.put_if("x".into(), Condition::Version(version.clone())));
    for (status, code) in answers {
        let outcome = put().map_err(|error| error.class);
        let expected = match (status, code) {
            (400, "RequestTimeout") => Err(ErrorClass::Unknown),
            (403 | 401, _) | (400, "ExpiredToken" | "InvalidToken" | "InvalidAccessKeyId") => {
                Err(ErrorClass::Denied)
            }
            (409 | 412 | 404, _) => Ok(Put::Refused),
            (501 | 400 | 405, _) => Err(ErrorClass::Permanent),
            _ => Err(ErrorClass::Unknown),
        };
        assert_eq!(outcome, expected, "{status} {code}");
    }
    assert_eq!(put().expect_err("no bucket").class, ErrorClass::Permanent);
    let read = runtime.block_on(object.get());
    assert_eq!(read.expect_err("no bucket").class, ErrorClass::Permanent);
}

// The client of `object_store` follows redirects: it sent a PUT on as a GET, with the session token, and the
// ETag of the object that was there already confirmed a commit of which nothing was in. The page on which a
// GET ends is no lock: the hold was lost for good.
#[test]
fn a_redirect_is_not_followed_and_is_no_write_and_no_object() {
    let name = "a_redirect_is_not_followed_and_is_no_write_and_no_object";
    let statuses = [301, 302, 303, 307, 308];
    if env::var_os("RVLF_TEST_CHILD").is_none() {
        let stub = Stub::start(Dialect::S3);
        let other = Stub::start(Dialect::S3);
        other.answer_next(20, 200, "<html>Please log in</html>");
        for status in statuses {
            stub.redirect_next(2, status, &format!("{}/bucket/x.lock", other.url()));
        }
        run_again(name, &s3(&stub));
        assert!(other.requests().is_empty(), "{:?}", other.requests());
        assert_eq!(stub.requests().len(), statuses.len() * 2);
        return;
    }
    let runtime = runtime();
    let object = open("s3://bucket/x", &runtime).register("x.lock".into());
    let version = rvlf_object_store::Version {
        e_tag: Some("\"7\"".to_owned()),
        version: None,
    };
    for status in statuses {
        // 302, 303 and 307 are for now: the page of a proxy goes away.
        let class = match status {
            301 | 308 => ErrorClass::Permanent,
            _ => ErrorClass::Unknown,
        };
        let condition = Condition::Version(version.clone());
        let put = runtime.block_on(object.put_if("x".into(), condition));
        assert_eq!(put.expect_err("not stored").class, class, "{status}");
        let get = runtime.block_on(object.get());
        assert_eq!(get.expect_err("no object").class, class, "{status}");
    }
}

// A proxy whose store restarts answers 404 by itself: the holder lost its lock for good ("the lock object was
// deleted"). An endpoint that is a web server had a free lock under every key.
#[test]
fn the_404_of_a_proxy_is_no_absent_object() {
    let name = "the_404_of_a_proxy_is_no_absent_object";
    if env::var_os("RVLF_TEST_CHILD").is_none() {
        for dialect in [Dialect::S3, Dialect::Gcs] {
            let stub = Stub::start(dialect);
            stub.answer_next(1, 404, "404 page not found\n");
            stub.answer_next(1, 404, "");
            let (scheme, mut variables) = match dialect {
                Dialect::Gcs => ("gs", gcs(&stub)),
                _ => ("s3", s3(&stub)),
            };
            variables.push(("RVLF_TEST_SCHEME", scheme.to_owned()));
            run_again(name, &variables);
        }
        return;
    }
    let scheme = env::var("RVLF_TEST_SCHEME").expect("the parent sets it");
    let runtime = runtime();
    let object = open(&format!("{scheme}://bucket/x"), &runtime).register("x.lock".into());
    for body in ["a text", "nothing"] {
        let got = runtime.block_on(object.get());
        assert_eq!(got.expect_err(body).class, ErrorClass::Unknown, "{body}");
    }
    let absent = runtime.block_on(object.get());
    assert_eq!(absent.expect("the store answers"), Found::Absent);
}

// "the store gave no answer in time", after half a minute, of a server that answers or is never asked.
#[test]
fn an_acquisition_that_no_repetition_helps_ends_at_once_and_says_what_to_do() {
    let name = "an_acquisition_that_no_repetition_helps_ends_at_once_and_says_what_to_do";
    if env::var_os("RVLF_TEST_CHILD").is_none() {
        let stub = Stub::start(Dialect::S3);
        stub.answer_next(1, 404, "<Error><Code>NoSuchKey</Code></Error>");
        stub.answer_next(9, 501, "<Error><Code>NotImplemented</Code></Error>");
        let mut variables = s3(&stub);
        variables.push(("RVLF_TEST_EXPECTED", "cannot carry a lock".to_owned()));
        run_again(name, &variables);
        variables.retain(|(name, _)| !["AWS_ALLOW_HTTP", "RVLF_TEST_EXPECTED"].contains(name));
        variables.push(("RVLF_TEST_EXPECTED", "AWS_ALLOW_HTTP=true".to_owned()));
        run_again(name, &variables);
        return;
    }
    let expected = env::var("RVLF_TEST_EXPECTED").expect("the parent sets it");
    let acquisition = StoreLock::options().acquire("s3://bucket/x", Duration::MAX);
    let error = block_on(acquisition).expect_err("it cannot be done");
    assert!(error.to_string().contains(&expected), "{error}");
}

// An error goes into logs and tickets.
#[test]
fn no_message_and_no_debug_output_shows_a_credential() {
    let name = "no_message_and_no_debug_output_shows_a_credential";
    if env::var_os("RVLF_TEST_CHILD").is_none() {
        let stub = Stub::start(Dialect::S3);
        let mut variables = s3(&stub);
        variables.extend(gcs(&stub));
        variables.push(("AZURITE_BLOB_STORAGE_URL", stub.url()));
        variables.push(("AZURE_STORAGE_USE_EMULATOR", "true".to_owned()));
        variables.push(("AZURE_STORAGE_ACCOUNT_KEY", "czNjcjN0LWF6dXJl".to_owned()));
        variables.push(("AZURE_ALLOW_HTTP", "true".to_owned()));
        // A server that shows the request that it received.
        let shown = SECRETS.join(" Authorization: ");
        for status in [400, 403, 401, 404, 409, 412, 429, 500] {
            stub.answer_next(6, status, &format!("<html>{shown}</html>"));
        }
        let output = run_again(name, &variables).expect("this is the parent");
        assert!(
            output.matches("error: ").count() >= 30,
            "the errors were provoked: {output}"
        );
        for secret in SECRETS {
            assert!(!output.contains(secret), "{secret} is shown: {output}");
        }
        return;
    }
    let runtime = runtime();
    for _ in 0..8 {
        for scheme in ["s3", "gs", "az"] {
            let bucket = open(&format!("{scheme}://bucket/x"), &runtime);
            let object = bucket.register("x.lock".into());
            println!("{bucket:?} {object:?} {}", object.name());
            let put = runtime.block_on(object.put_if("x".into(), Condition::Absent));
            let get = runtime.block_on(object.get());
            for error in [put.err(), get.err()].into_iter().flatten() {
                println!(
                    "error: {error} {error:?} {:?}",
                    std::error::Error::source(&error)
                );
            }
        }
    }
    let error = "s3://id:hunter2-pasted@bucket/x"
        .parse::<Location>()
        .expect_err("no bucket name");
    println!("error: {error} {error:?}");
}

// The client panicked at the first request: the acquisition sent it again until its deadline, or ended the command
// with 101.
#[test]
fn a_value_that_no_request_can_carry_is_an_error_that_names_its_variable() {
    let name = "a_value_that_no_request_can_carry_is_an_error_that_names_its_variable";
    let variables = [
        ("s3", "AWS_ACCESS_KEY_ID", "hunter2\n"),
        ("s3", "AWS_SESSION_TOKEN", "hunter2\n"),
        ("s3", "AWS_SESSION_TOKEN", "hunter2\u{e4}"),
        ("s3", "AWS_REGION", "eu\n"),
        ("s3", "AWS_DEFAULT_REGION", "eu west"),
        ("s3", "AWS_ENDPOINT", "127.0.0.1:9"),
        ("s3", "AWS_ENDPOINT", ""),
        ("s3", "AWS_ENDPOINT", "http://id:hunter2/@127.0.0.1:9"),
        ("s3", "AWS_ENDPOINT", "http://id:hunter2?@127.0.0.1:9"),
        ("s3", "AWS_ENDPOINT", "http://id:hunter2\"@127.0.0.1:9"),
        (
            "s3",
            "AWS_ENDPOINT_URL_S3",
            "http://id:hun ter2@127.0.0.1:9",
        ),
        ("s3", "AWS_ENDPOINT", "http://127.0.0.1:99999"),
        ("az", "AZURE_STORAGE_TOKEN", "hunter2\n"),
        ("az", "AZURE_STORAGE_TENANT_ID", "a b"),
        ("gs", "GOOGLE_BEARER_TOKEN", "hunter2\n"),
    ];
    for (scheme, variable, value) in variables {
        let all = [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
            ("AZURE_CLIENT_ID", "client"),
            ("AZURE_CLIENT_SECRET", "secret"),
            ("RVLF_TEST_SCHEME", scheme),
            (variable, value),
        ];
        if let Some(output) = again_with(name, &all) {
            let error = format!("error: cannot open {scheme}://bucket: {variable} ");
            assert!(output.contains(&error), "{value:?}: {output}");
            assert!(
                !output.contains("hunter2") && !output.contains("ter2@"),
                "{output}"
            );
        }
    }
    if env::var_os("RVLF_TEST_CHILD").is_some() {
        let scheme = env::var("RVLF_TEST_SCHEME").expect("the parent sets it");
        let acquisition =
            StoreLock::options().acquire(&format!("{scheme}://bucket/x"), Duration::ZERO);
        let error = block_on(acquisition).expect_err("it cannot be sent");
        println!("error: {error} {error:?}");
    }
}

// JSON has lines, and a path may have any character.
#[test]
fn a_value_that_no_header_carries_is_not_refused() {
    let name = "a_value_that_no_header_carries_is_not_refused";
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/tmp/t\u{e4}"),
        ("AWS_ENDPOINT", "http://[::1]:9/path/"),
        ("AWS_OF_ANOTHER_PROGRAM", "two\nlines"),
    ];
    if again_with(name, &variables).is_none() {
        open("s3://bucket/x", &runtime());
    }
}

// A token in place of the name of its file is quoted when the file is opened, which is at the first request.
#[test]
fn a_secret_in_the_wrong_place_is_not_repeated_by_the_error_of_a_request() {
    let name = "a_secret_in_the_wrong_place_is_not_repeated_by_the_error_of_a_request";
    let variables: [&[(&str, &str)]; 3] = [
        &[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "hunter2-pasted"),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ],
        &[(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://127.0.0.1:9/hunter2-pasted?t=hunter2-pasted",
        )],
        &[
            ("AWS_ENDPOINT", "http://id:'hunter2-pasted@127.0.0.1:9"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_SKIP_SIGNATURE", "true"),
        ],
    ];
    for variables in variables {
        if let Some(output) = again_with(name, variables) {
            assert!(!output.contains("hunter2"), "{output}");
            assert!(output.contains("error: "), "{output}");
        }
    }
    if env::var_os("RVLF_TEST_CHILD").is_some() {
        let runtime = runtime();
        let object = open("s3://bucket/x", &runtime).register("x.lock".into());
        let error = runtime.block_on(object.get()).expect_err("no credentials");
        println!("error: {error} {error:?}");
    }
}

// A key in the wrong variable is quoted by the parser that does not understand it.
#[test]
fn a_secret_in_the_wrong_place_is_not_repeated_by_the_error_of_the_configuration() {
    let name = "a_secret_in_the_wrong_place_is_not_repeated_by_the_error_of_the_configuration";
    let variables = [
        ("GOOGLE_SERVICE_ACCOUNT", "{\"key\": \"hunter2-pasted\"}"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "hunter2-pasted"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2-pasted"),
    ];
    if let Some(output) = again_with(name, &variables) {
        assert!(!output.contains("hunter2"), "{output}");
        assert_eq!(output.matches("error: cannot open").count(), 3, "{output}");
        return;
    }
    if env::var_os("RVLF_TEST_CHILD").is_some() {
        let runtime = runtime();
        let http = HttpOptions {
            request_timeout: Duration::from_secs(1),
            runtime: runtime.handle().clone(),
        };
        for url in ["gs://bucket/x", "az://bucket/x", "s3://bucket/x"] {
            let location: Location = url.parse().expect("it is a URL");
            let error = Bucket::open(&location, &http).expect_err("the configuration is wrong");
            println!("error: {error} {error:?}");
        }
    }
}
