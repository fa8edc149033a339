//! No two sockets of ours may claim one address; those of TCP and UDP do not get in each other's way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::listener::scalar;
use super::{Fields, admin, protocols};
use crate::grammar;
use crate::mistake::Mistake;
use crate::model::{Address, Protocol};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::Span;

/// How the admin address is called where another claims it too.
const ADMIN: &str = "the admin API";

/// Reports an address that two listeners, or a listener and the admin API, claim.
pub(super) fn check(fields: &Fields<'_>, report: &mut Report) {
    let (root, mut sockets) = (Path::Root, Taken::default());
    if let Some(Address::Ip(address)) = admin::default_place(fields) {
        sockets.claims(false, address).claim(address, ADMIN, None);
    }
    for (address, node) in admin::places(fields) {
        sockets.claim(false, address, ADMIN, node.span, &root.key("admin"), report);
    }
    for (at, node) in fields.items("listeners").iter().enumerate() {
        let path = root.key("listeners");
        let (path, Some(fields)) = (path.item(at), Fields::of(node, &shape::LISTENER)) else {
            continue;
        };
        let owner = fields.get("name").and_then(scalar).map_or_else(
            || format!("the listener on line {}", node.mark().line),
            |name| format!("the listener {name:?}"),
        );
        let datagrams = protocols::protocol(&fields) == Protocol::Udp;
        for bind in fields.items("bind") {
            match scalar(bind).and_then(|text| grammar::bind_address(text).ok()) {
                Some(Address::Unix(socket)) if datagrams => {
                    let message =
                        format!("{} is a socket of connections, and `protocol` is udp", Address::Unix(socket));
                    let mistake = Mistake::error("wrong_protocol", bind.span, message);
                    report.push(mistake.hint("give IP:port, as in 0.0.0.0:53"), &path.key("bind"));
                }
                Some(address) => sockets.claim(datagrams, address, &owner, bind.span, &path.key("bind"), report),
                None => {}
            }
        }
    }
}

/// Who has which sockets.
#[derive(Default)]
struct Taken {
    /// Of datagrams or not, by port.
    ports: HashMap<(bool, u16), Claims>,
    files: HashMap<Arc<std::path::Path>, Claim>,
}

impl Taken {
    fn claims(&mut self, datagrams: bool, address: SocketAddr) -> &mut Claims {
        self.ports.entry((datagrams, address.port())).or_default()
    }

    /// Claims an address, or reports whose it is already.
    fn claim(
        &mut self,
        datagrams: bool,
        address: Address,
        owner: &str,
        span: Span,
        path: &Path<'_>,
        report: &mut Report,
    ) {
        match address {
            // The system chooses another free port each time.
            Address::Ip(ip) if ip.port() == 0 => {}
            Address::Ip(ip) => {
                let claims = self.claims(datagrams, ip);
                match claims.overlapping(ip.ip()) {
                    Some(other) => report.push(taken(&address, span, owner, other), path),
                    None => claims.claim(ip, owner, Some(span)),
                }
            }
            Address::Unix(ref socket) => match self.files.entry(Arc::clone(socket)) {
                Entry::Occupied(other) => report.push(taken(&address, span, owner, other.get()), path),
                Entry::Vacant(free) => {
                    _ = free.insert(Claim { address, owner: owner.to_owned(), span: Some(span) });
                }
            },
        }
    }
}

fn taken(address: &Address, span: Span, owner: &str, other: &Claim) -> Mistake {
    let message = if other.address == *address {
        format!("{address} is taken by {} already", if other.owner == owner { this(owner) } else { &other.owner })
    } else {
        format!("{address} overlaps with {} of {}", other.address, other.owner)
    };
    let mistake = Mistake::error("port_taken", span, message);
    match other.span {
        Some(first) => mistake.hint("give one of them another port or address").related(first, "taken here"),
        None => mistake.hint(format!(
            "the admin API is at {} unless told otherwise; give `admin:` another address, or `off`",
            other.address
        )),
    }
}

fn this(owner: &str) -> &str {
    if owner == ADMIN { owner } else { "this listener" }
}

/// Who has what of one port.
#[derive(Default)]
struct Claims {
    by_ip: HashMap<IpAddr, Claim>,
    /// The first of each family, for an address that stands for the whole family.
    first: [Option<Claim>; 2],
    /// Who has the whole family.
    whole: [Option<Claim>; 2],
}

#[derive(Clone)]
struct Claim {
    address: Address,
    owner: String,
    /// `None`: by default, it stands nowhere.
    span: Option<Span>,
}

impl Claims {
    fn claim(&mut self, address: SocketAddr, owner: &str, span: Option<Span>) {
        let (family, claim) =
            (usize::from(address.is_ipv6()), Claim { address: address.into(), owner: owner.to_owned(), span });
        if address.ip().is_unspecified() {
            self.whole[family] = Some(claim.clone());
        }
        self.first[family].get_or_insert_with(|| claim.clone());
        self.by_ip.insert(address.ip(), claim);
    }

    fn overlapping(&self, ip: IpAddr) -> Option<&Claim> {
        let family = usize::from(ip.is_ipv6());
        if ip.is_unspecified() {
            return self.first[family].as_ref();
        }
        self.whole[family].as_ref().or_else(|| self.by_ip.get(&ip))
    }
}
