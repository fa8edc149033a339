//! What a route does besides sending a request on: answers and changes.

use crate::shape::Need::{Default, Optional};
use crate::shape::{Choice, Integer, Key, Kind, List, Object, Words};

use super::rules::*;

pub(super) static REDIRECT_WORD: Words =
    Words { noun: "`https`", known: &[("https", "To the same place by HTTPS.")], later: &[] };

pub(crate) static REDIRECT: Object = Object {
    noun: "a redirect",
    title: "redirect",
    doc: "Where a client is sent; what is not given stays as it was asked for.",
    keys: &[
        Key {
            name: "scheme",
            doc: "The scheme that clients are sent to.",
            kind: Kind::Word(&SCHEME),
            need: Optional("as it was asked for"),
            example: "https",
        },
        Key {
            name: "host",
            doc: "The host that clients are sent to, without port.",
            kind: Kind::Text(&HOST),
            need: Optional("as it was asked for"),
            example: "new.example",
        },
        Key {
            name: "port",
            doc: "The port that clients are sent to.",
            kind: Kind::Integer(PORT),
            need: Optional("as it was asked for; of another scheme its own"),
            example: "8443",
        },
        Key {
            name: "path",
            doc: "A path in place of the whole one; it may have a query, to which that of the request is added.",
            kind: Kind::Text(&PROBE_PATH),
            need: Optional("as it was asked for"),
            example: "/moved",
        },
        Key {
            name: "path_prefix",
            doc: "What comes in place of the route's `path_prefix`; what follows it stays.",
            kind: Kind::Text(&PATH),
            need: Optional("as it was asked for"),
            example: "/new",
        },
        Key {
            name: "status",
            doc: "The status of the answer: 301, 302, 303, 307 or 308.",
            kind: Kind::Integer(Integer { min: 301, max: 308, below: Some(NO_REDIRECT), above: Some(NO_REDIRECT) }),
            need: Optional("301 for GET and HEAD, else 308, which keeps the method"),
            example: "308",
        },
        Key {
            name: "strip_query",
            doc: "Whether the query is left out.",
            kind: Kind::Bool,
            need: Default("false"),
            example: "false",
        },
    ],
    choices: &[Choice { of: &["path", "path_prefix"], needed: None, both: "path_and_prefix" }],
    later: &[],
};

/// What to say of a status that leads nowhere.
const NO_REDIRECT: (&str, &str) = ("bad_status", "a redirect is one of 301, 302, 303, 307 and 308");

const PORT: Integer = Integer {
    min: 1,
    max: 65_535,
    below: Some(("bad_port", "a port is a number from 1 to 65535")),
    above: Some(("bad_port", "a port is a number from 1 to 65535")),
};

static SCHEME: Words = Words {
    noun: "a scheme",
    known: &[("http", "Without TLS, port 80 unless told."), ("https", "With TLS, port 443 unless told.")],
    later: &[],
};

pub(crate) static RESPOND: Object = Object {
    noun: "a fixed answer",
    title: "respond",
    doc: "An answer that is always the same; no endpoint is asked.",
    keys: &[
        Key {
            name: "status",
            doc: "The status of the answer.",
            kind: Kind::Integer(Integer {
                min: 200,
                max: 599,
                below: Some(("bad_status", "the status of an answer is a number from 200 to 599")),
                above: Some(("bad_status", "the status of an answer is a number from 200 to 599")),
            }),
            need: Default("200"),
            example: "200",
        },
        Key {
            name: "body",
            doc: "The body of the answer, at most 64 KiB.",
            kind: Kind::Text(&BODY),
            need: Optional("none"),
            example: "\"User-agent: *\\nDisallow: /\\n\"",
        },
        Key {
            name: "content_type",
            doc: "The Content-Type of the body.",
            kind: Kind::Text(&CONTENT_TYPE),
            need: Default("text/plain; charset=utf-8"),
            example: "text/html",
        },
    ],
    choices: &[],
    later: &["file", "headers"],
};

pub(crate) static REWRITE: Object = Object {
    noun: "a rewrite",
    title: "rewrite",
    doc: "How a request is changed before an endpoint gets it.",
    keys: &[
        Key {
            name: "path",
            doc: "A path in place of the whole one; the query stays.",
            kind: Kind::Text(&PATH),
            need: Optional("as it was asked for"),
            example: "/whole",
        },
        Key {
            name: "path_prefix",
            doc: "What comes in place of the route's `path_prefix`; what follows it stays.",
            kind: Kind::Text(&PATH),
            need: Optional("as it was asked for"),
            example: "/v1",
        },
        Key {
            name: "host",
            doc: "What comes in place of the request's Host; a port may follow.",
            kind: Kind::Text(&HOST_HEADER),
            need: Optional("as it was asked for"),
            example: "api.internal",
        },
    ],
    choices: &[Choice { of: &["path", "path_prefix"], needed: None, both: "path_and_prefix" }],
    later: &["path_regex"],
};

pub(crate) static ROUTE_HEADERS: Object = Object {
    noun: "a change of headers",
    title: "route_headers",
    doc: "How header fields are changed on their way.",
    keys: &[
        Key {
            name: "request",
            doc: "Changes of the request's header fields, before an endpoint gets it.",
            kind: Kind::Object(&HEADER_EDITS),
            need: Default("{}"),
            example: "{set: {x-client: \"{client_address}\"}, remove: [x-debug]}",
        },
        Key {
            name: "response",
            doc: "Changes of the answer's header fields, whoever gives the answer.",
            kind: Kind::Object(&HEADER_EDITS),
            need: Default("{}"),
            example: "{set: {strict-transport-security: max-age=31536000}, remove: [server]}",
        },
    ],
    choices: &[],
    later: &[],
};

pub(crate) static HEADER_EDITS: Object = Object {
    noun: "a change of headers",
    title: "header_edits",
    doc: "Changes to header fields: first what is removed, then what is set, then what is added.",
    keys: &[
        Key {
            name: "set",
            doc: "Fields that come instead of all of their name; {client_address}, {host}, {path}, {request_id}, {scheme}, {cluster} and {server_name} stand for what they say, {{ for a brace.",
            kind: Kind::Map(&EDITED_NAME, &Kind::Text(&HEADER_TEMPLATE)),
            need: Default("{}"),
            example: "{x-client: \"{client_address}\"}",
        },
        Key {
            name: "add",
            doc: "Fields that come beside those of the same name.",
            kind: Kind::Map(&EDITED_NAME, &Kind::Text(&HEADER_TEMPLATE)),
            need: Default("{}"),
            example: "{via: weir}",
        },
        Key {
            name: "remove",
            doc: "Fields that are taken away.",
            kind: Kind::List(&EDITED_NAMES),
            need: Default("[]"),
            example: "[x-debug]",
        },
    ],
    choices: &[],
    later: &[],
};

static EDITED_NAMES: List = List { of: Kind::Text(&EDITED_HEADER), or_one: true, empty: None };

pub(super) static UPGRADES: List = List { of: Kind::Text(&UPGRADE), or_one: true, empty: None };
