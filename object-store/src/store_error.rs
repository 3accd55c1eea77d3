//! What an error of `object_store` means for the lock, and its text in one line.

use std::env;
use std::error::Error;
use std::fmt;

use object_store::Error as ClientError;

use crate::machine::ErrorClass;
use crate::register::RegisterError;
use crate::secrets::masked;

/// What stands in front of the status of an answer, in the text of an error of `object_store`, whose type has
/// no name: 429, 501 and a timeout are all `Generic`.
const STATUS: &str = "Server returned non-2xx status code: ";

/// What no repetition changes, whatever the status.
const PERMANENT: [&str; 10] = [
    "<Code>NoSuchBucket</Code>",
    "<Code>InvalidBucketName</Code>",
    "<Code>ContainerNotFound</Code>",
    "<Code>InvalidResourceName</Code>",
    // The wrong region: a redirect to another endpoint, with or without its address.
    "<Code>AuthorizationHeaderMalformed</Code>",
    "Received redirect without LOCATION",
    // A server that sends no version has nothing that a condition can name.
    "ETag required for conditional",
    "Version required for conditional",
    // The client does not send the request.
    "HTTP error: builder error",
    // The task of the request has panicked, or the runtime has ended.
    "HTTP error: SpawnError",
];

/// Credentials that the store does not know any more, or never knew. Most come with 400.
const DENIED: [&str; 8] = [
    "<Code>AccessDenied</Code>",
    "<Code>ExpiredToken</Code>",
    "<Code>ExpiredTokenException</Code>",
    "<Code>InvalidAccessKeyId</Code>",
    "<Code>InvalidClientTokenId</Code>",
    "<Code>InvalidIdentityToken</Code>",
    "<Code>InvalidToken</Code>",
    "<Code>TokenRefreshRequired</Code>",
];

/// A request that arrived in part or too slowly: S3 answers 400.
const PASSING: [&str; 3] = [
    "<Code>BadDigest</Code>",
    "<Code>IncompleteBody</Code>",
    "<Code>RequestTimeout</Code>",
];

/// What the caller can conclude.
pub(crate) fn class(error: &ClientError) -> ErrorClass {
    let text = error.to_string();
    match error {
        ClientError::PermissionDenied { .. } | ClientError::Unauthenticated { .. } => {
            ErrorClass::Denied
        }
        ClientError::NotImplemented { .. }
        | ClientError::NotSupported { .. }
        | ClientError::InvalidPath { .. }
        | ClientError::UnknownConfigurationKey { .. } => ErrorClass::Permanent,
        _ if has_one_of(&text, &PERMANENT) => ErrorClass::Permanent,
        ClientError::Generic { .. } => class_of_answer(&text),
        _ => ErrorClass::Unknown,
    }
}

/// An error that passes must not end a wait: what is not known to stay is `Unknown`.
fn class_of_answer(text: &str) -> ErrorClass {
    if has_one_of(text, &DENIED) {
        return ErrorClass::Denied;
    }
    if is_of_credentials(text) || has_one_of(text, &PASSING) {
        return ErrorClass::Unknown;
    }
    match status(text) {
        // 302, 303 and 307 are for now: a proxy that wants a login, a bucket whose name is new.
        Some(301 | 308 | 501) => ErrorClass::Permanent,
        Some(408 | 409 | 412 | 421 | 425 | 429) => ErrorClass::Unknown,
        Some(400..=499) => ErrorClass::Permanent,
        _ => ErrorClass::Unknown,
    }
}

/// Whether the request was not for the store, but for a token. A service that has no token for a new machine yet
/// answers 404, and one that cannot ask the next service 400.
fn is_of_credentials(text: &str) -> bool {
    const SIGNS: [&str; 4] = [
        "Error performing POST ",
        "Error performing token request: ",
        "://169.254.",
        "://metadata.google.internal",
    ];
    let agent = env::var("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    has_one_of(text, &SIGNS) || agent.is_ok_and(|url| !url.is_empty() && text.contains(&url))
}

fn has_one_of(text: &str, signs: &[&str]) -> bool {
    signs.iter().any(|sign| text.contains(sign))
}

fn status(text: &str) -> Option<u16> {
    text.split_once(STATUS)?.1.get(..3)?.parse().ok()
}

/// Whether a 404 is of a proxy whose store is away, or of a server that is no store: the answers of S3, Azure and
/// Google Cloud Storage have a code.
pub(crate) fn is_of_no_store(error: &ClientError) -> bool {
    let text = error.to_string();
    status(&text) == Some(404) && !text.contains("<Code>")
}

/// A next step that fits better than that of the class.
fn step(error: &ClientError) -> Option<&'static str> {
    let text = error.to_string();
    let service = match error {
        ClientError::Generic { store, .. } => *store,
        _ => return None,
    };
    if text.contains("HTTP error: builder error") && text.contains(" http://") {
        return Some(match service {
            "S3" => "use https://, or set AWS_ALLOW_HTTP=true",
            "GCS" => "use https://, or set GOOGLE_ALLOW_HTTP=true",
            _ => "use https://, or set AZURE_ALLOW_HTTP=true",
        });
    }
    // The machine itself is asked where no variable has credentials.
    if has_one_of(
        &text,
        &["://169.254.169.254", "://metadata.google.internal"],
    ) {
        return Some(match service {
            "S3" => {
                "no credentials are set, and this machine has no role: set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY"
            }
            "GCS" => {
                "no credentials are set, and this machine has no account: set GOOGLE_SERVICE_ACCOUNT"
            }
            _ => {
                "no credentials are set, and this machine has no identity: set \
                 AZURE_STORAGE_ACCOUNT_KEY"
            }
        });
    }
    does_not_know_conditions(&text).then_some(
        "this server cannot carry a lock: use a server with conditional writes, or a newer version of this \
         one",
    )
}

/// The answers of servers that do not implement conditions to a write that has one.
fn does_not_know_conditions(text: &str) -> bool {
    const CODES: [&str; 3] = [
        "<Code>InvalidArgument</Code>",
        "<Code>NotImplemented</Code>",
        "not supported",
    ];
    let is_put = text.contains("Error performing PUT ");
    let is_unknown = status(text) == Some(400) && has_one_of(text, &CODES);
    is_put && !is_of_credentials(text) && (status(text) == Some(501) || is_unknown)
}

/// The error as the lock reports it.
pub(crate) fn of_client(error: &ClientError) -> RegisterError {
    let text = error.to_string();
    RegisterError {
        class: class(error),
        source: Box::new(StoreError {
            text: summary(&text),
            is_answer: status(&text).is_some(),
            step: step(error),
        }),
    }
}

/// An error with a text of our own.
pub(crate) fn of_text(class: ErrorClass, text: &str) -> RegisterError {
    RegisterError {
        class,
        source: Box::new(StoreError {
            text: text.to_owned(),
            is_answer: false,
            step: None,
        }),
    }
}

/// A store's answer in one line.
#[derive(Debug)]
pub(crate) struct StoreError {
    text: String,
    is_answer: bool,
    step: Option<&'static str>,
}

impl StoreError {
    /// That of an error with a text from here. A user's register has others.
    pub(crate) fn of(error: &RegisterError) -> Option<&StoreError> {
        error.source.downcast_ref()
    }

    /// Whether the server has answered.
    pub(crate) fn is_answer(&self) -> bool {
        self.is_answer
    }

    /// A next step that fits better than that of the class.
    pub(crate) fn step(&self) -> Option<&'static str> {
        self.step
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for StoreError {}

/// The text up to the body of the answer, and the code and the message in the body. The rest is left
/// out: it can be a page of HTML, and a server or a proxy that shows the request that it received shows
/// the token in it.
fn summary(text: &str) -> String {
    let text = &masked(text);
    let Some((before, answer)) = text.split_once(STATUS) else {
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
            let error = generic(&format!("{STATUS}{overload}"));
            assert_eq!(class(&error), ErrorClass::Unknown, "{overload}");
        }
    }

    // A wait of hours ended because of a machine whose credentials came a second later.
    #[test]
    fn an_answer_about_credentials_that_may_come_ends_no_wait() {
        for text in [
            "PUT http://169.254.169.254/latest/api/token in 1ms - {}404 Not Found: ",
            "POST https://sts.amazonaws.com/ in 1ms - {}400 Bad Request: <Code>IDPCommunicationError</Code>",
            "token request: Error performing GET http://localhost:9/msi in 1ms - {}400 Bad Request: ",
            "PUT http://h/b/k in 1ms - {}400 Bad Request: <Code>RequestTimeout</Code>",
            "PUT http://h/b/k in 1ms - {}421 Misdirected Request: ",
        ] {
            let text = text.replace("{}", STATUS);
            let error = generic(&format!("Error performing {text}"));
            assert_eq!(class(&error), ErrorClass::Unknown, "{text}");
        }
    }

    // "gave no answer in time; check the endpoint and the network", after half a minute.
    #[test]
    fn the_next_step_names_what_is_missing() {
        let builder = "Error performing GET http://h/b/k in 1ms - HTTP error: builder error";
        let token =
            "Error performing PUT http://169.254.169.254/latest/api/token in 1s - HTTP error";
        let unknown =
            format!("Error performing PUT http://h/b/k in 1s - {STATUS}501 Not Implemented: ");
        let argument = format!(
            "Error performing PUT http://h/b/k in 1s - {STATUS}400 Bad Request: <Code>InvalidArgument</Code>"
        );
        for (text, expected) in [
            (builder, "AWS_ALLOW_HTTP=true"),
            (token, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
            (&unknown, "cannot carry a lock"),
            (&argument, "cannot carry a lock"),
        ] {
            let step = step(&generic(text)).unwrap_or_default();
            assert!(step.contains(expected), "{text}: {step}");
        }
    }
}
