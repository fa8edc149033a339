//! The admin address.

use crate::shape::Need::{Default, Optional};
use crate::shape::{Key, Kind, List, Object};

use super::rules::*;
use super::tls::SERVER_TLS;

pub(crate) static ADMIN: Object = Object {
    noun: "an admin address",
    title: "admin",
    doc: "Where the status page, metrics and API are served, and whose requests are taken there.",
    keys: &[
        Key {
            name: "bind",
            doc: "Addresses that are listened on: IP:port or unix:PATH, one or a list. One that other hosts reach needs `token_file`, `read_token_file` or `client_certificates`.",
            kind: Kind::List(&ADMIN_BIND),
            need: Default("127.0.0.1:9900"),
            example: "[127.0.0.1:9900, \"unix:/run/weir/admin.sock\"]",
        },
        Key {
            name: "token_file",
            doc: "The file of a token; who brings it (`Authorization: Bearer`) may read and change. Read again when it changes.",
            kind: Kind::Text(&FILE_NAME),
            need: Optional("no token"),
            example: "admin.token",
        },
        Key {
            name: "read_token_file",
            doc: "The file of a token; who brings it may read. Read again when it changes.",
            kind: Kind::Text(&FILE_NAME),
            need: Optional("no token"),
            example: "read.token",
        },
        Key {
            name: "tls",
            doc: "TLS on the TCP addresses, as on listeners; who shows a certificate of `client_certificates` may read and change.",
            kind: Kind::Object(&SERVER_TLS),
            need: Optional("no TLS"),
            example: "{cert: admin.pem, key: admin.key}",
        },
        Key {
            name: "hosts",
            doc: "Names it may be asked by, beside IP addresses and localhost.",
            kind: Kind::List(&HOSTS),
            need: Default("[]"),
            example: "[weir.example]",
        },
    ],
    choices: &[],
    later: &[],
};

static ADMIN_BIND: List = List {
    of: Kind::Text(&BIND_ADDRESS),
    or_one: true,
    empty: Some(("no_address", "there is no address; `admin: off` serves none")),
};

static HOSTS: List = List { of: Kind::Text(&HOST), or_one: true, empty: None };
