//! The status page: files built from `lb/page`, committed there, embedded here.
//!
//! They are open to everybody who reaches the address and hold nothing of this instance: what the page
//! shows it asks the API for, with the token if there is one. It loads nothing from elsewhere, and a
//! browser that obeys the policy below could not.

use std::sync::LazyLock;

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
    X_FRAME_OPTIONS,
};
use http::{Response, StatusCode};

use super::body::AnswerBody;
use crate::control::source::fingerprint;

/// No script and no style but our files, nobody's frame, nothing sent anywhere.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// One file of the page.
struct File {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
    /// Made of the text, so it changes with it.
    tag: LazyLock<Option<HeaderValue>>,
}

macro_rules! file {
    ($path:literal, $name:literal, $content_type:literal) => {{
        const TEXT: &str = include_str!(concat!("../../page/dist/", $name));
        fn tag() -> Option<HeaderValue> {
            HeaderValue::try_from(format!("\"{}\"", fingerprint(TEXT))).ok()
        }
        File { path: $path, content_type: $content_type, text: TEXT, tag: LazyLock::new(tag) }
    }};
}

static FILES: [File; 4] = [
    file!("/", "index.html", "text/html; charset=utf-8"),
    file!("/page/app.js", "app.js", "text/javascript; charset=utf-8"),
    file!("/page/app.css", "app.css", "text/css; charset=utf-8"),
    file!("/page/icon.svg", "icon.svg", "image/svg+xml"),
];

/// Whether a path is the page's: such a file needs no leave.
pub(super) fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with("/page/")
}

/// The file at `path`; an empty 304 for whoever has it.
pub(super) fn answer(path: &str, headers: &HeaderMap) -> Option<Response<AnswerBody>> {
    let file = FILES.iter().find(|file| file.path == path)?;
    let tag = file.tag.as_ref();
    let had = headers.get_all(IF_NONE_MATCH).iter().any(|had| tag.is_some_and(|tag| names(had, tag)));
    let mut response = Response::new(AnswerBody::from(if had { "" } else { file.text }));
    if had {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    // Kept, and asked for again: after an upgrade the page is the new one at once.
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    fields.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    fields.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    fields.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    fields.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if let Some(tag) = tag {
        fields.insert(ETAG, tag.clone());
    }
    Some(response)
}

/// Whether `If-None-Match` has this tag among its own.
fn names(had: &HeaderValue, tag: &HeaderValue) -> bool {
    had.as_bytes() == b"*" || had.as_bytes().windows(tag.len()).any(|part| part == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn ask(path: &str, had: Option<&HeaderValue>) -> Option<(u16, HeaderMap, usize)> {
        let headers = had.map(|had| (IF_NONE_MATCH, had.clone())).into_iter().collect();
        let (head, body) = answer(path, &headers)?.into_parts();
        Some((head.status.as_u16(), head.headers, body.collect().await.unwrap().to_bytes().len()))
    }

    #[tokio::test]
    async fn a_file_that_is_had_is_not_sent_again() {
        for file in &FILES {
            let (status, headers, length) = ask(file.path, None).await.unwrap();
            assert_eq!((status, length), (200, file.text.len()), "{}", file.path);
            let (status, _, length) = ask(file.path, headers.get(ETAG)).await.unwrap();
            assert_eq!((status, length), (304, 0), "{}", file.path);
            let other = HeaderValue::from_static("\"0\"");
            assert_eq!(ask(file.path, Some(&other)).await.unwrap().0, 200);
        }
        assert!(ask("/page/other.js", None).await.is_none());
    }

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        for file in &FILES {
            assert!(file.text.len() < 150 << 10, "{} has {} bytes", file.path, file.text.len());
            assert!(is_page(file.path));
        }
        let page = FILES[0].text;
        assert!(!page.contains("<script>") && !page.contains("style=") && !page.contains("//"), "{page}");
        assert!(!is_page("/pages") && !is_page("/api/v1/status"));
    }
}
