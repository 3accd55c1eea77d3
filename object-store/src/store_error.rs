//! What an error of `object_store` means for the lock, and its text in one line.

use std::error::Error;
use std::fmt;

use object_store::Error as ClientError;

use crate::machine::ErrorClass;
use crate::register::RegisterError;

/// What the answer of a store means. `object_store` has no statuses in its errors: 429, 5xx and a
/// timeout are all `Generic`, and so are the answers that no repetition changes, whose codes are read
/// from the text.
const PERMANENT: [&str; 9] = [
    "<Code>NoSuchBucket</Code>",
    "<Code>InvalidBucketName</Code>",
    "<Code>ContainerNotFound</Code>",
    "<Code>InvalidResourceName</Code>",
    // The wrong region: a redirect to another endpoint, with or without its address.
    "<Code>AuthorizationHeaderMalformed</Code>",
    "status code: 301 ",
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

/// The text up to the body of the answer, and the code and the message in the body. The rest is left
/// out: it can be a page of HTML, and a server or a proxy that shows the request that it received shows
/// the token in it.
fn summary(text: &str) -> String {
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
