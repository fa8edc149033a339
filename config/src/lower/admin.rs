//! The admin address: where it is served, and whom it knows.

use std::sync::Arc;

use super::dial::once;
use super::listener::scalar;
use super::{Fields, tls};
use crate::admin::{Admin, Token, is_reachable};
use crate::files::Files;
use crate::grammar;
use crate::mistake::Mistake;
use crate::model::{Address, Protocol, ServerTls};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::{Node, Value};

/// What admin requests are spoken in.
const ALPN: &str = "http/1.1";

/// The admin address; `None` if it is switched off.
pub(super) fn lower(config: &Fields<'_>, files: &Files<'_>, report: &mut Report) -> Option<Admin> {
    let Some(node) = config.get("admin") else {
        let usual = config.default_text("admin").and_then(|text| grammar::bind_address(text).ok());
        return usual.map(|address| Admin::at(vec![address]));
    };
    let (root, fields) = (Path::Root, Fields::of(node, &shape::ADMIN));
    let path = root.key("admin");
    let admin = match &fields {
        Some(fields) => Admin {
            bind: addresses(fields),
            token: token(fields, "token_file", files, &path, report),
            read_token: token(fields, "read_token_file", files, &path, report),
            tls: server_tls(fields, files, &path, report),
            hosts: once(fields.items("hosts"), grammar::host, &path.key("hosts"), report),
        },
        None => Admin::at(vec![scalar(node).and_then(|text| grammar::bind_address(text).ok())?]),
    };
    if let Some(fields) = &fields {
        same_tokens(&admin, fields, &path, report);
    }
    // What could not be read is no credential that is missing.
    if !report.has_errors() {
        refuse_open(&admin, node, fields.as_ref(), &path, report);
    }
    Some(admin)
}

/// The addresses that the key `admin` names, each with its place.
pub(super) fn places<'a>(config: &Fields<'a>) -> Vec<(Address, &'a Node)> {
    let Some(node) = config.get("admin") else { return Vec::new() };
    let nodes = match Fields::of(node, &shape::ADMIN) {
        Some(fields) => fields.items("bind"),
        None => std::slice::from_ref(node),
    };
    let read = |node: &'a Node| Some((grammar::bind_address(scalar(node)?).ok()?, node));
    nodes.iter().filter_map(read).collect()
}

/// Where it is served by default, if the file does not say.
pub(super) fn default_place(config: &Fields<'_>) -> Option<Address> {
    let bind = match config.get("admin") {
        None => config.default_text("admin")?,
        Some(node) => {
            let fields = Fields::of(node, &shape::ADMIN)?;
            if fields.get("bind").is_some() {
                return None;
            }
            fields.default_text("bind")?
        }
    };
    grammar::bind_address(bind).ok()
}

fn addresses(fields: &Fields<'_>) -> Vec<Address> {
    if fields.get("bind").is_none() {
        let usual = fields.default_text("bind").and_then(|text| grammar::bind_address(text).ok());
        return usual.into_iter().collect();
    }
    // One that stands there twice is found with those of listeners.
    let read = |node: &Node| scalar(node).and_then(|text| grammar::bind_address(text).ok());
    fields.items("bind").iter().filter_map(read).collect()
}

fn token(
    fields: &Fields<'_>,
    key: &'static str,
    files: &Files<'_>,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Arc<Token>> {
    let (node, name) = (fields.get(key)?, fields.text(key)?);
    match files.read(&name).and_then(|bytes| Token::read(&name, &bytes)) {
        Ok(token) => Some(Arc::new(token)),
        Err(wrong) => {
            report.wrong(node.mark(), &path.key(key), wrong);
            None
        }
    }
}

/// Two tokens that are one: who may only read could change.
fn same_tokens(admin: &Admin, fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) {
    let (Some(token), Some(read), Some(node)) = (&admin.token, &admin.read_token, fields.get("read_token_file")) else {
        return;
    };
    if token.is_same(read) {
        let message = format!("{} and {} hold the same token, so whoever may read may change", token.file, read.file);
        let mistake = Mistake::error("same_token", node.mark(), message);
        report.push(mistake.hint("make another one for those who read"), &path.key("read_token_file"));
    }
}

fn server_tls(fields: &Fields<'_>, files: &Files<'_>, path: &Path<'_>, report: &mut Report) -> Option<ServerTls> {
    let tls = tls::server(fields, Protocol::Tcp, files, path, report)?;
    if let Some(node) = alpn(fields).filter(|_| tls.alpn != [ALPN]) {
        let message = "the admin address speaks HTTP/1.1 alone";
        let path = path.key("tls");
        report.push(Mistake::error("bad_alpn", node.mark(), message).hint("leave `alpn` out"), &path.key("alpn"));
    }
    Some(ServerTls { alpn: vec![ALPN.to_owned()], ..tls })
}

fn alpn<'a>(fields: &Fields<'a>) -> Option<&'a Node> {
    let Value::Map(entries) = &fields.get("tls")?.value else { return None };
    entries.iter().find(|(key, _)| key.text == "alpn").map(|(_, node)| node)
}

/// An address that others reach, and nobody could say who they are.
fn refuse_open(admin: &Admin, node: &Node, fields: Option<&Fields<'_>>, path: &Path<'_>, report: &mut Report) {
    let Some(open) = admin.open_to_all() else { return };
    let place = fields.and_then(|fields| {
        let items = fields.items("bind").iter();
        items.zip(&admin.bind).find(|(_, address)| is_reachable(address)).map(|(node, _)| node)
    });
    let port = open.ip().map_or(9900, |address| address.port());
    let message = format!("{open} can be reached from other hosts, and whoever reaches it could read and change");
    let hint = format!(
        "add `token_file`, `read_token_file` or `tls` with `client_certificates`, as in `admin: {{bind: \"{open}\", \
         token_file: admin.token}}`; or keep it on this host: 127.0.0.1:{port}, unix:/run/weir/admin.sock"
    );
    report.push(Mistake::error("open_admin", place.unwrap_or(node).mark(), message).hint(hint), path);
}
