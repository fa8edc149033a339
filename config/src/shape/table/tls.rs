//! TLS, of listeners and of clusters.

use crate::shape::Need::{Default, Optional, Required};
use crate::shape::{Choice, Integer, Key, Kind, List, Object, Words};

use super::rules::*;

pub(crate) static SERVER_TLS: Object = Object {
    noun: "TLS of a listener",
    title: "server_tls",
    doc: "TLS with clients: the certificates, and what is asked of clients.",
    keys: &[
        Key {
            name: "certificates",
            doc: "Certificates with their keys. A client gets the first whose names cover the one it asks for; otherwise the first of all.",
            kind: Kind::List(&CERTIFICATES),
            need: Optional("`cert` and `key` are the only one"),
            example: "[{cert: shop.pem, key: shop.key}]",
        },
        Key {
            name: "cert",
            doc: "Short for one certificate: the file of it and its chain (PEM).",
            kind: Kind::Text(&FILE_NAME),
            need: Optional("`certificates` lists them"),
            example: "shop.pem",
        },
        Key {
            name: "key",
            doc: "Beside `cert`: the file of its private key (PEM).",
            kind: Kind::Text(&FILE_NAME),
            need: Optional("it stands in the file of the certificate too"),
            example: "shop.key",
        },
        Key {
            name: "ocsp",
            doc: "Beside `cert`: a file with an OCSP answer (DER) to staple.",
            kind: Kind::Text(&FILE_NAME),
            need: Optional("nothing is stapled"),
            example: "shop.ocsp",
        },
        Key {
            name: "alpn",
            doc: "Protocols that are offered by ALPN, in order of preference.",
            kind: Kind::List(&ALPN),
            need: Optional("[h2, http/1.1] for http, none for tcp"),
            example: "[http/1.1]",
        },
        Key {
            name: "min_version",
            doc: "The lowest version of TLS that is spoken; nothing under 1.2 is.",
            kind: Kind::Word(&TLS_VERSION),
            need: Default("\"1.2\""),
            example: "\"1.3\"",
        },
        Key {
            name: "client_certificates",
            doc: "Whether clients show a certificate (mutual TLS), and who vouches for them.",
            kind: Kind::Object(&CLIENT_CERTIFICATES),
            need: Optional("they are not asked"),
            example: "{mode: require, ca: clients.pem}",
        },
        Key {
            name: "session_tickets",
            doc: "Whether sessions are resumed, with keys of this process or those of a file that instances share.",
            kind: Kind::Any(&[Kind::Word(&TICKET_WORD), Kind::Object(&TICKETS)]),
            need: Default("on"),
            example: "{key_file: tickets.key}",
        },
        Key {
            name: "handshake_timeout",
            doc: "How long a client's handshake may take; then the connection is closed.",
            kind: Kind::Duration { zero: false },
            need: Default("10s"),
            example: "10s",
        },
        Key {
            name: "max_handshakes",
            doc: "Most handshakes under way at once, over all workers; further connections are closed.",
            kind: Kind::Integer(Integer::COUNT),
            need: Default("1024"),
            example: "1024",
        },
    ],
    choices: &[Choice {
        of: &["certificates", "cert"],
        needed: Some(("no_certificate", "as in `tls: {cert: shop.pem, key: shop.key}`")),
        both: "certificates_and_cert",
    }],
    later: &["ciphers", "max_version"],
};

static CERTIFICATES: List = List {
    of: Kind::Object(&CERTIFICATE),
    or_one: false,
    empty: Some(("no_certificate", "without a certificate there is no TLS")),
};

pub(crate) static CERTIFICATE: Object = Object {
    noun: "a certificate",
    title: "certificate",
    doc: "A certificate with its key, in files that are read whenever the config is.",
    keys: &[
        Key {
            name: "cert",
            doc: "The file of the certificate, then of those that vouch for it (PEM).",
            kind: Kind::Text(&FILE_NAME),
            need: Required("the file of the certificate, as in `cert: shop.pem`"),
            example: "shop.pem",
        },
        Key {
            name: "key",
            doc: "The file of its private key (PEM).",
            kind: Kind::Text(&FILE_NAME),
            need: Optional("it stands in the file of the certificate too"),
            example: "shop.key",
        },
        Key {
            name: "ocsp",
            doc: "A file with an OCSP answer (DER) to staple.",
            kind: Kind::Text(&FILE_NAME),
            need: Optional("nothing is stapled"),
            example: "shop.ocsp",
        },
    ],
    choices: &[],
    later: &[],
};

static ALPN: List = List { of: Kind::Text(&ALPN_NAME), or_one: true, empty: None };

static TLS_VERSION: Words =
    Words { noun: "a version of TLS", known: &[("1.2", "TLS 1.2 and 1.3."), ("1.3", "TLS 1.3 only.")], later: &[] };

pub(crate) static CLIENT_CERTIFICATES: Object = Object {
    noun: "a demand for certificates",
    title: "client_certificates",
    doc: "What certificate a client shows.",
    keys: &[
        Key {
            name: "mode",
            doc: "Whether a client may do without.",
            kind: Kind::Word(&CLIENT_MODE),
            need: Default("require"),
            example: "request",
        },
        Key {
            name: "ca",
            doc: "The file of the authorities that vouch for clients (PEM).",
            kind: Kind::Text(&FILE_NAME),
            need: Required("the file of who may vouch for clients, as in `ca: clients.pem`"),
            example: "clients.pem",
        },
        Key {
            name: "forward",
            doc: "Whether endpoints are told of it, in X-Forwarded-Client-Cert.",
            kind: Kind::Bool,
            need: Default("true"),
            example: "true",
        },
    ],
    choices: &[],
    later: &["crl"],
};

static CLIENT_MODE: Words = Words {
    noun: "a way to ask for certificates",
    known: &[
        ("require", "Without one there is no connection."),
        ("request", "It is asked for, and verified if there is one."),
    ],
    later: &[],
};

static TICKET_WORD: Words = Words {
    noun: "`on` or `off`",
    known: &[("on", "With keys that this process makes by itself."), ("off", "Sessions are not resumed.")],
    later: &[],
};

pub(crate) static TICKETS: Object = Object {
    noun: "a file of ticket keys",
    title: "session_tickets",
    doc: "Keys that resume sessions on every instance that has them.",
    keys: &[Key {
        name: "key_file",
        doc: "A file of keys, 80 random bytes each: the first encrypts, all decrypt.",
        kind: Kind::Text(&FILE_NAME),
        need: Required("the file of the keys, made by `openssl rand 80`"),
        example: "tickets.key",
    }],
    choices: &[],
    later: &[],
};

pub(super) static TLS_WORD: Words = Words {
    noun: "`on` or `off`",
    known: &[("on", "TLS, verified by the system's authorities."), ("off", "No TLS.")],
    later: &[],
};

pub(crate) static CLIENT_TLS: Object = Object {
    noun: "TLS of a cluster",
    title: "client_tls",
    doc: "TLS with endpoints, in probes too.",
    keys: &[
        Key {
            name: "server_name",
            doc: "The name asked for (SNI) that must be in the endpoint's certificate.",
            kind: Kind::Text(&SERVER_NAME),
            need: Optional("the endpoint's host name, or its address"),
            example: "orders.internal",
        },
        Key {
            name: "ca",
            doc: "The file of the authorities that vouch for endpoints (PEM).",
            kind: Kind::Text(&FILE_NAME),
            need: Optional("the system's"),
            example: "ca.pem",
        },
        Key {
            name: "verify",
            doc: "Whether somebody must vouch for an endpoint. Off hides traffic from listeners, not from impostors.",
            kind: Kind::Word(&VERIFY),
            need: Default("on"),
            example: "on",
        },
        Key {
            name: "certificate",
            doc: "What we show an endpoint that asks.",
            kind: Kind::Object(&CLIENT_CERTIFICATE),
            need: Optional("nothing"),
            example: "{cert: weir.pem, key: weir.key}",
        },
        Key {
            name: "min_version",
            doc: "The lowest version of TLS that is spoken.",
            kind: Kind::Word(&TLS_VERSION),
            need: Default("\"1.2\""),
            example: "\"1.3\"",
        },
    ],
    choices: &[],
    later: &["alpn", "ciphers", "max_version"],
};

static VERIFY: Words = Words {
    noun: "`on` or `off`",
    known: &[("on", "An authority must vouch for it."), ("off", "Whoever answers is believed.")],
    later: &[],
};

pub(crate) static CLIENT_CERTIFICATE: Object = Object {
    noun: "a certificate",
    title: "own_certificate",
    doc: "What we show an endpoint that asks.",
    keys: &[
        Key {
            name: "cert",
            doc: "The file of the certificate, then of those that vouch for it (PEM).",
            kind: Kind::Text(&FILE_NAME),
            need: Required("the file of the certificate, as in `cert: weir.pem`"),
            example: "weir.pem",
        },
        Key {
            name: "key",
            doc: "The file of its private key (PEM).",
            kind: Kind::Text(&FILE_NAME),
            need: Optional("it stands in the file of the certificate too"),
            example: "weir.key",
        },
    ],
    choices: &[],
    later: &[],
};
