//! Takes out of a message what may be a secret: messages go into logs and tickets, and clients and parsers
//! quote what they were given.

use std::env;
use std::ffi::OsString;

/// The text without credentials in URLs, and without the values of variables that may be secret.
pub(crate) fn masked(text: &str) -> String {
    without_values(with_short_urls(text), env::vars_os())
}

/// The text without what stands before an `@` in the authority of a URL, and without the query of a URL. An
/// endpoint in a variable may be `http://id:secret@host`, and a signature may be in a query. RFC 3986,
/// sections 3.2.1 and 3.4: an authority ends at `/`, `?` or `#`, and a password may contain quotes.
fn with_short_urls(text: &str) -> String {
    let mut parts = text.split("://");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_end = |c: char| c.is_whitespace() || "/?#".contains(c);
        let authority = part.split(is_end).next().unwrap_or_default();
        let userinfo = authority.rfind('@').map_or(0, |at| at + 1);
        let part = part.get(userinfo..).unwrap_or_default();
        let (url, rest) = part.split_at(part.find(char::is_whitespace).unwrap_or(part.len()));
        result.push_str("://");
        result.push_str(url.split('?').next().unwrap_or_default());
        result.push_str(rest);
    }
    result
}

/// The text with the names of variables in place of their values.
fn without_values(text: String, variables: impl Iterator<Item = (OsString, OsString)>) -> String {
    let mut secrets: Vec<_> = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, value)| is_of_a_service(name) && may_be_secret(name, value))
        .collect();
    // A value may be a part of another one, of which the rest would stay.
    secrets.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    secrets.iter().fold(text, |text, (name, value)| {
        let name = format!("(value of {name})");
        // A message that quotes a value escapes its quotes and line ends.
        let text = text.replace(value, &name);
        text.replace(value.trim(), &name)
            .replace(&value.escape_debug().to_string(), &name)
    })
}

/// Whether `object_store` reads this variable.
pub(crate) fn is_of_a_service(name: &str) -> bool {
    ["AWS_", "AZURE_", "GOOGLE_"]
        .iter()
        .any(|service| name.starts_with(service))
}

/// By its name, or because the content of a file was pasted in place of its name: JSON, or something long. A
/// value of a few letters would be found in the words of the message.
fn may_be_secret(name: &str, value: &str) -> bool {
    const WORDS: [&str; 8] = [
        "KEY",
        "TOKEN",
        "SECRET",
        "SAS",
        "PASSWORD",
        "CREDENTIALS",
        "CONNECTION_STRING",
        "SERVICE_ACCOUNT",
    ];
    const LONG: usize = 64;
    let is_named = !name.ends_with("_ID") && WORDS.iter().any(|word| name.contains(word));
    let is_url = value.contains("://") && !value.contains('@');
    let is_content = value.contains(['{', '@']) || (value.len() > LONG && !is_url);
    value.trim().len() >= 6 && (is_named || is_content)
}

#[cfg(test)]
mod tests {
    use super::*;

    // A quote in the password ended the authority, and the rest of the password was shown.
    #[test]
    fn neither_the_credentials_nor_the_query_of_a_url_is_repeated() {
        for (text, expected) in [
            (
                "GET http://id:hunter2@host:9/b/k failed",
                "GET http://host:9/b/k failed",
            ),
            ("(http://hunter2@a) s3://b/k@2", "(http://a) s3://b/k@2"),
            ("at http://id:hun\"ter'2@host/b", "at http://host/b"),
            (
                "at http://h/b?sig=hunter2&x=1 in 1ms",
                "at http://h/b in 1ms",
            ),
            ("no URL, but me@host?", "no URL, but me@host?"),
        ] {
            assert_eq!(with_short_urls(text), expected);
        }
    }

    #[test]
    fn a_secret_that_a_message_quotes_is_not_repeated() {
        let long = "x".repeat(65);
        let variables = [
            ("GOOGLE_SERVICE_ACCOUNT_KEY", "hunter2"),
            ("GOOGLE_SERVICE_ACCOUNT", "{\"private_key\": \"hunter2\"}\n"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "eyJhbGciOiJ"),
            ("AWS_ENDPOINT", "http://id:hun/ter2@host"),
            ("AWS_ACCESS_KEY_ID", "invalid"),
            ("AWS_REGION", "eu"),
            ("AZURE_CLIENT_ID", &long),
            ("AZURE_STORAGE_KEY", ""),
        ];
        for (text, expected) in [
            (
                "invalid type: string \"hunter2\" in eu",
                "invalid type: string \"(value of GOOGLE_SERVICE_ACCOUNT_KEY)\" in eu",
            ),
            (
                "no file {\"private_key\": \"hunter2\"}",
                "no file (value of GOOGLE_SERVICE_ACCOUNT)",
            ),
            (
                "no file \"{\\\"private_key\\\": \\\"hunter2\\\"}\\n\"",
                "no file \"(value of GOOGLE_SERVICE_ACCOUNT)\"",
            ),
            (
                "no file eyJhbGciOiJ",
                "no file (value of AWS_WEB_IDENTITY_TOKEN_FILE)",
            ),
            (
                "PUT http://id:hun/ter2@host/b",
                "PUT (value of AWS_ENDPOINT)/b",
            ),
            (&format!("no {long}"), "no (value of AZURE_CLIENT_ID)"),
        ] {
            let variables = variables.map(|(name, value)| (name.into(), value.into()));
            assert_eq!(
                without_values(text.to_owned(), variables.into_iter()),
                expected
            );
        }
    }
}
