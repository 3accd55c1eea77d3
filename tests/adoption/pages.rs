//! docs/adopting.md against the files that it shows.

use std::fs;

// A reader copies the example from the page: it must be the one that the tests run.
#[test]
fn the_page_on_adoption_shows_the_lock_that_the_tests_put_into_rvf_runtime() {
    let page = support::repository().join("docs/adopting.md");
    let page = fs::read_to_string(page).expect("the page exists");
    let shim = fs::read_to_string(crate::patched::own_file("locking.rs")).expect("it exists");
    assert!(
        page.contains(&shim),
        "docs/adopting.md does not show rvf_runtime/locking.rs"
    );
}
