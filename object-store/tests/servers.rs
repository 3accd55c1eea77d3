//! What servers do with the conditions that the lock rests on. `scripts/servers.sh` starts each server
//! and runs these tests; without it they say that they are skipped.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::{ClientConfigKey, RetryConfig};
use rvlf_object_store::{
    Bucket, Condition, Demand, ErrorClass, Found, HttpOptions, Location, Put, Register,
    RegisterFuture, Scratch, SelfTestError, Version, diagnose, self_test,
};
use tokio::runtime::Runtime;

/// Generous: the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(240);

/// The server that `scripts/servers.sh` has started.
struct Server {
    name: String,
    data: Location,
    bucket: Bucket,
    runtime: Runtime,
}

impl Server {
    fn open() -> Option<Server> {
        let Ok(url) = env::var("RVLF_TEST_URL") else {
            eprintln!("skipped: no RVLF_TEST_URL; scripts/servers.sh starts servers and sets it");
            return None;
        };
        let data: Location = format!("{url}/data/x")
            .parse()
            .expect("the script sets a URL");
        let runtime = runtime();
        let http = HttpOptions {
            request_timeout: Duration::from_secs(20),
            runtime: runtime.handle().clone(),
        };
        let bucket = Bucket::open(&data, &http).expect("the script sets the variables");
        let name = env::var("RVLF_TEST_SERVER").expect("the script sets the server's name");
        Some(Server {
            name,
            data,
            bucket,
            runtime,
        })
    }

    /// `None` if the server is the one that must be refused.
    fn open_suitable() -> Option<Server> {
        let server = Server::open()?;
        if server.name == "s3rver" {
            eprintln!(
                "skipped: {} ignores conditions, see the test that it is refused",
                server.name
            );
            return None;
        }
        Some(server)
    }

    fn lock_key(&self) -> String {
        self.data.lock_key(None).to_string()
    }
}

/// With a thread of its own, as the lock has one.
fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a thread can be started")
}

#[test]
fn a_server_that_keeps_the_conditions_passes_the_self_test() {
    let Some(server) = Server::open_suitable() else {
        return;
    };
    let key = server.lock_key();
    server
        .runtime
        .block_on(self_test(&server.bucket, &key, TIMEOUT))
        .expect("it is suitable");
}

// Two winners of one race are two holders of one lock.
#[test]
fn of_contenders_at_the_same_time_one_wins() {
    let Some(server) = Server::open_suitable() else {
        return;
    };
    let key = server.lock_key();
    let diagnosis = server
        .runtime
        .block_on(diagnose(&server.bucket, &key, TIMEOUT));
    let diagnosis = diagnosis.expect("it is suitable");
    println!(
        "{}: create: {}; update: {}",
        server.name, diagnosis.create, diagnosis.update
    );
    assert!(diagnosis.is_suitable(), "{diagnosis:?}");
    assert!(
        diagnosis.create.one_winner >= 15 && diagnosis.update.one_winner >= 15,
        "{diagnosis:?}"
    );
}

#[test]
fn a_server_that_ignores_conditions_is_refused_by_the_self_test() {
    let Some(server) = Server::open() else { return };
    if server.name != "s3rver" {
        eprintln!("skipped: {} keeps the conditions", server.name);
        return;
    }
    let key = server.lock_key();
    let error = server
        .runtime
        .block_on(self_test(&server.bucket, &key, TIMEOUT));
    match error.expect_err("it creates an object that exists") {
        SelfTestError::Unsuitable { what, .. } => assert_eq!(what, Demand::RefuseCreate),
        other => panic!("{other}"),
    }
}

// A state that a PUT, an update and a GET name differently would let no takeover through.
#[test]
fn an_object_is_written_under_a_condition_and_read_back() {
    let Some(server) = Server::open_suitable() else {
        return;
    };
    let object = server.bucket.register(unique("written").as_str().into());
    server.runtime.block_on(async {
        assert_eq!(object.get().await.expect("an answer"), Found::Absent);
        let bytes = vec![7; 104 + 64 * 1024];
        let Ok(Put::Stored(created)) = object.put_if(bytes.clone().into(), Condition::Absent).await
        else {
            panic!("it was absent");
        };
        let Ok(Found::Present(found)) = object.get().await else {
            panic!("it was created")
        };
        assert_eq!((&found.bytes[..], &found.version), (&bytes[..], &created));
        assert!(
            found.modified_ms.is_some_and(|ms| ms > 1_700_000_000_000),
            "Last-Modified"
        );
        let update = object
            .put_if("short".into(), Condition::Version(created.clone()))
            .await;
        assert!(matches!(update, Ok(Put::Stored(_))), "{update:?}");
        let late = object
            .put_if("late".into(), Condition::Version(created))
            .await;
        assert_eq!(late.expect("an answer"), Put::Refused);
        let again = object.put_if("again".into(), Condition::Absent).await;
        assert_eq!(again.expect("an answer"), Put::Refused);
        // Left by a script that failed: the beginning of what is not ours, and nothing at all.
        for (length, read) in [(2 << 20, 104 + 64 * 1024 + 1), (0, 0)] {
            let foreign = server.bucket.register(unique("foreign").as_str().into());
            foreign
                .put_if(vec![0; length].into(), Condition::Absent)
                .await
                .expect("an answer");
            let Ok(Found::Present(found)) = foreign.get().await else {
                panic!("it was created")
            };
            assert_eq!(found.bytes.len(), read);
        }
    });
}

// A wrong name of a bucket must not look like a free lock, and must not be retried until the timeout.
#[test]
fn a_bucket_that_does_not_exist_is_a_permanent_error() {
    let Some(server) = Server::open_suitable() else {
        return;
    };
    let missing: Location = format!("{}://rvlf-no-such-bucket/x", server.data.service.scheme())
        .parse()
        .expect("it is a URL");
    let http = HttpOptions {
        request_timeout: Duration::from_secs(20),
        runtime: server.runtime.handle().clone(),
    };
    let bucket = Bucket::open(&missing, &http).expect("only requests find out");
    let object = bucket.register("x.lock".into());
    let error = server
        .runtime
        .block_on(object.get())
        .expect_err("there is no such bucket");
    assert_eq!(error.class, ErrorClass::Permanent, "{error}");
}

/// Two gateways of one store: each contender has the next one.
struct Gateways {
    buckets: [Bucket; 2],
    next: Arc<AtomicUsize>,
}

impl Scratch for Gateways {
    fn register(&self, key: &str) -> Arc<dyn Register> {
        let objects = self
            .buckets
            .each_ref()
            .map(|bucket| bucket.register(key.into()));
        Arc::new(Either {
            objects,
            next: Arc::clone(&self.next),
        })
    }

    fn delete(&self, key: &str) -> RegisterFuture<()> {
        Scratch::delete(&self.buckets[0], key)
    }

    fn strip_quotes(&self, strip: bool) {
        for bucket in &self.buckets {
            Scratch::strip_quotes(bucket, strip);
        }
    }
}

/// One object, by way of the one gateway and the other in turn.
struct Either<R> {
    objects: [R; 2],
    next: Arc<AtomicUsize>,
}

impl<R: Register> Either<R> {
    fn turn(&self) -> &R {
        let [first, second] = &self.objects;
        match self.next.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => first,
            _ => second,
        }
    }
}

impl<R: Register> Register for Either<R> {
    fn get(&self) -> RegisterFuture<Found> {
        self.turn().get()
    }

    fn put_if(&self, bytes: bytes::Bytes, condition: Condition) -> RegisterFuture<Put> {
        self.turn().put_if(bytes, condition)
    }

    fn name(&self) -> String {
        self.objects[0].name()
    }
}

// A gateway that checks the condition against what it remembers lets the holder of the other gateway be
// overwritten.
#[test]
fn of_contenders_at_two_gateways_one_wins() {
    let Some(server) = Server::open_suitable() else {
        return;
    };
    let Ok(endpoint) = env::var("RVLF_TEST_SECOND_ENDPOINT") else {
        return;
    };
    let second = AmazonS3Builder::from_env()
        .with_bucket_name(&server.data.bucket)
        .with_endpoint(endpoint)
        .with_config(
            object_store::aws::AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp),
            "true",
        )
        .with_retry(RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        })
        .build()
        .expect("the script sets the variables");
    let second = Bucket::new(Arc::new(second), "s3://second-gateway");
    let gateways = Gateways {
        buckets: [server.bucket.clone(), second],
        next: Arc::default(),
    };
    let diagnosis = server
        .runtime
        .block_on(diagnose(&gateways, &server.lock_key(), TIMEOUT));
    let diagnosis = diagnosis.expect("it is suitable");
    println!(
        "two gateways: create: {}; update: {}",
        diagnosis.create, diagnosis.update
    );
    assert!(diagnosis.is_suitable(), "{diagnosis:?}");
}

fn unique(name: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.expect("the clock is past 1970").as_nanos();
    format!("{name}-{}-{nanos}", std::process::id())
}

#[test]
fn a_version_that_the_store_never_had_is_refused() {
    let Some(server) = Server::open_suitable() else {
        return;
    };
    let object = server.bucket.register(unique("never").as_str().into());
    server.runtime.block_on(async {
        object
            .put_if("first".into(), Condition::Absent)
            .await
            .expect("an answer");
        let never = Version {
            e_tag: Some("\"0123456789abcdef\"".into()),
            version: None,
        };
        let put = object
            .put_if("blind".into(), Condition::Version(never))
            .await;
        assert_eq!(put.expect("an answer"), Put::Refused);
    });
}
