//! Refuses variables whose values make `object_store` panic: it takes them for parts of headers and of URLs
//! that are valid, at the first request.

use std::str::FromStr;

/// What is wrong with a value. The value itself may be secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Flaw {
    /// A secret of Kubernetes that was made from a file ends with the line end of the file.
    Control,
    NotAscii,
    NoWord,
    NoScheme,
    NoUrl,
}

impl Flaw {
    /// The problem, and the next step.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Flaw::Control => {
                "has a line end or another control character; take it off, as $(cat FILE) does in a shell"
            }
            Flaw::NotAscii => "has a character that is not ASCII; copy it anew",
            Flaw::NoWord => {
                "has a character other than a letter, a digit, `-`, `.` and `_`; copy it anew"
            }
            Flaw::NoScheme => "does not begin with http:// or https://; write it so",
            Flaw::NoUrl => {
                "is no URL that a key can be appended to; write https://HOST:PORT, and the credentials in \
                 their own variables"
            }
        }
    }
}

/// The first variable that the client of this service reads, by the keys `K` of its builder, and cannot use.
pub(crate) fn flawed<K: FromStr>(
    variables: impl Iterator<Item = (String, String)>,
) -> Option<(String, Flaw)> {
    let mut found: Vec<_> = variables
        .filter(|(name, _)| crate::secrets::is_of_a_service(name))
        .filter(|(name, _)| name.to_ascii_lowercase().parse::<K>().is_ok())
        .filter_map(|(name, value)| Some((flaw(&name, &value)?, name)))
        .map(|(flaw, name)| (name, flaw))
        .collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found.into_iter().next()
}

fn flaw(name: &str, value: &str) -> Option<Flaw> {
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    // JSON and PEM have lines. What a proxy needs is checked by its client.
    if has(&["SERVICE_ACCOUNT", "PROXY"]) {
        return None;
    }
    if value.chars().any(char::is_control) {
        return Some(Flaw::Control);
    }
    if has(&["FILE", "APPLICATION_CREDENTIALS"]) {
        return None;
    }
    if !value.is_ascii() {
        return Some(Flaw::NotAscii);
    }
    let is_flag = name.ends_with("USE_FABRIC_ENDPOINT");
    if has(&["ENDPOINT", "_URL", "AUTHORITY_HOST"]) && !is_flag {
        return flaw_of_url(value);
    }
    // It is complete, and may have a query.
    if has(&["FULL_URI"]) {
        return flaw_of_url(value.split('?').next().unwrap_or_default());
    }
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_part_of_url = has(&["REGION", "TENANT_ID", "AUTHORITY_ID", "ACCOUNT_NAME"]);
    (is_part_of_url && !value.bytes().all(is_word)).then_some(Flaw::NoWord)
}

/// The client appends the bucket and the key. An `@` behind the host is of a password with a `/` in it: what
/// stands before that would be taken for the host, and be asked for by its name.
fn flaw_of_url(url: &str) -> Option<Flaw> {
    let Some(("http" | "https", rest)) = url.split_once("://") else {
        return Some(Flaw::NoScheme);
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let path = rest.get(authority.len()..).unwrap_or_default();
    let is_bad = |c: char| c == ' ' || "\"<>\\^`{|}?#".contains(c);
    let has_bad = rest.contains(is_bad) || path.contains('@');
    (has_bad || reqwest::Url::parse(url).is_err()).then_some(Flaw::NoUrl)
}
