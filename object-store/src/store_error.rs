//! What an error of `object_store` means for the lock, and its text in one line.

use std::error::Error;
use std::fmt;

use object_store::Error as ClientError;

use crate::machine::ErrorClass;
use crate::register::RegisterError;

/// What the answer of a store means. `object_store` has no statuses in its errors: 429, 5xx and a
/// timeout are all `Generic`, and so are the answers that no repetition changes, whose codes are read
/// from the text.
const PERMANENT: [&str; 10] = [
    "<Code>NoSuchBucket</Code>",
    "<Code>InvalidBucketName</Code>",
    "<Code>ContainerNotFound</Code>",
    "<Code>InvalidResourceName</Code>",
    // The wrong region: a redirect to another endpoint, with or without its address.
    "<Code>AuthorizationHeaderMalformed</Code>",
    "status code: 301 ",
    "status code: 308 ",
    "Received redirect without LOCATION",
    // A server that sends no version has nothing that a condition can name.
    "ETag required for conditional",
    "Version required for conditional",
];

/// What the caller can conclude.
pub(crate) fn class(error: &ClientError) -> ErrorClass {
    match error {
        ClientError::PermissionDenied { .. } | ClientError::Unauthenticated { .. } => {
            ErrorClass::Denied
        }
        ClientError::NotImplemented { .. }
        | ClientError::NotSupported { .. }
        | ClientError::InvalidPath { .. }
        | ClientError::UnknownConfigurationKey { .. } => ErrorClass::Permanent,
        other if is_permanent(&other.to_string()) => ErrorClass::Permanent,
        _ => ErrorClass::Unknown,
    }
}

fn is_permanent(text: &str) -> bool {
    PERMANENT.iter().any(|sign| text.contains(sign))
}

/// The error as the lock reports it.
pub(crate) fn of_client(error: &ClientError) -> RegisterError {
    RegisterError {
        class: class(error),
        source: Box::new(StoreError(summary(&error.to_string()))),
    }
}

/// An error with a text of our own.
pub(crate) fn of_text(class: ErrorClass, text: &str) -> RegisterError {
    RegisterError {
        class,
        source: Box::new(StoreError(text.to_owned())),
    }
}

/// A store's answer in one line.
#[derive(Debug)]
pub(crate) struct StoreError(String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for StoreError {}

/// The text without what stands before an `@` in the authority of a URL: an endpoint in a variable may be
/// `http://id:secret@host`, and the client quotes it. RFC 3986, section 3.2.1.
pub(crate) fn without_userinfo(text: &str) -> String {
    let mut parts = text.split("://");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_end = |c: char| c.is_whitespace() || "/?#\"'".contains(c);
        let authority = part.split(is_end).next().unwrap_or_default();
        let userinfo = authority.rfind('@').map_or(0, |at| at + 1);
        result.push_str("://");
        result.push_str(part.get(userinfo..).unwrap_or_default());
    }
    result
}

/// The text up to the body of the answer, and the code and the message in the body. The rest is left
/// out: it can be a page of HTML, and a server or a proxy that shows the request that it received shows
/// the token in it.
fn summary(text: &str) -> String {
    let text = &without_userinfo(text);
    const BODY: &str = "Server returned non-2xx status code: ";
    let Some((before, answer)) = text.split_once(BODY) else {
        return text.to_owned();
    };
    let (status, body) = answer.split_once(": ").unwrap_or((answer, ""));
    let mut summary = format!("{before}{status}");
    for element in ["Code", "Message"] {
        if let Some(content) = content_of(body, element) {
            summary.push_str(": ");
            summary.extend(
                content
                    .chars()
                    .take(200)
                    .map(|c| if c.is_control() { ' ' } else { c }),
            );
        }
    }
    summary
}

fn content_of<'a>(xml: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{element}>"))?;
    Some(rest.split_once(&format!("</{element}>"))?.0.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> ClientError {
        ClientError::Generic {
            store: "S3",
            source: text.into(),
        }
    }

    #[test]
    fn an_answer_becomes_one_line_without_what_the_server_repeats_of_the_request() {
        let error = generic(
            "Error performing PUT http://host/b/k in 2ms - Server returned non-2xx status code: 403 \
             Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code>\n<Message>Access \
             Denied</Message><Request>Authorization: Bearer hunter2</Request></Error>",
        );
        assert_eq!(
            of_client(&error).to_string(),
            "Generic S3 error: Error performing PUT http://host/b/k in 2ms - 403 Forbidden: \
             AccessDenied: Access Denied"
        );
    }

    #[test]
    fn a_password_in_the_url_of_an_endpoint_is_not_repeated() {
        for (text, expected) in [
            (
                "GET http://id:hunter2@host:9/b/k failed",
                "GET http://host:9/b/k failed",
            ),
            ("(http://hunter2@a) s3://b/k@2", "(http://a) s3://b/k@2"),
            ("no URL, but me@host", "no URL, but me@host"),
        ] {
            assert_eq!(without_userinfo(text), expected);
            assert_eq!(
                of_client(&generic(text)).to_string(),
                format!("Generic S3 error: {expected}")
            );
        }
    }

    #[test]
    fn what_no_repetition_changes_is_permanent_and_overload_is_not() {
        let missing = "status code: 404 Not Found: <Error><Code>NoSuchBucket</Code></Error>";
        let not_found = ClientError::NotFound {
            path: "k".to_owned(),
            source: missing.to_owned().into(),
        };
        assert_eq!(class(&not_found), ErrorClass::Permanent);
        for overload in [
            "429 Too Many Requests: ",
            "503 Slow Down: ",
            "500 Internal Error: ",
        ] {
            let error = generic(&format!("Server returned non-2xx status code: {overload}"));
            assert_eq!(class(&error), ErrorClass::Unknown, "{overload}");
        }
    }
}
