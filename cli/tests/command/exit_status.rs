//! Exit statuses of every verb but `run` and `table`.

use std::time::Duration;

use crate::support::{Directory, LONG_AGO, now_ns, vector};

// Scripts branch on these numbers.
#[test]
fn every_exit_status_is_the_documented_one() {
    let dir = Directory::new();
    dir.plant("stale.lock", b"elsewhere", LONG_AGO);
    dir.plant("held.lock", b"elsewhere", now_ns());
    dir.write("foreign.lock", "{\"pid\": 1}");
    dir.write("v2.lock", vector("synthetic/version-2.bin"));
    dir.write("torn.lock", "FLVR");
    dir.age("torn.lock", Duration::from_secs(10));
    let cases: [(&[&str], i32); 32] = [
        (&["status", "free"], 0),
        (&["status", "held"], 1),
        (&["status"], 2),
        (&["status", "stale"], 3),
        (&["status", "torn"], 4),
        (&["status", "foreign"], 4),
        (&["status", "v2"], 4),
        (&["status", "no/such/directory/d"], 5),
        (&["status", "stale", "free", "held"], 3),
        (&["wait", "free"], 0),
        (&["wait", "--timeout=50ms", "held"], 1),
        (&["wait", "--timeout=soon", "held"], 2),
        (&["wait", "stale"], 3),
        (&["wait", "foreign"], 4),
        (&["wait", "v2"], 4),
        (&["wait", "no/such/directory/d"], 5),
        (&["dump", "held.lock"], 0),
        (&["dump"], 2),
        (&["dump", "torn.lock"], 4),
        (&["dump", "foreign.lock"], 4),
        (&["dump", "v2.lock"], 4),
        (&["dump", "."], 4),
        (&["dump", "no-such.lock"], 5),
        (&["scan", "no/such/directory"], 5),
        (&["break", "free"], 0),
        (&["break", "held"], 1),
        (&["break", "--force", "held"], 2),
        (&["break", "foreign"], 4),
        (&["break", "v2"], 4),
        (&["break", "no/such/directory/d"], 5),
        (&["man", "no-such-verb"], 2),
        (&["no-such-verb"], 2),
    ];
    for (args, expected) in cases {
        let output = dir.rvlf(args);
        let message = &output.stderr;
        assert_eq!(
            output.code(),
            expected,
            "{args:?}: {}{message}",
            output.stdout
        );
        if expected == 5 {
            let cause = "No such file or directory";
            assert!(message.starts_with("rvlf: "), "{args:?}: {message}");
            assert!(message.contains(cause), "{args:?}: the cause: {message}");
        }
    }
}
