//! Addresses that cannot be had.

use super::{Area, Says};
use crate::doctor::facts::{Bind, Port};
use crate::doctor::report::Finding;

const PORTS: Area = Area("ports");

pub(super) fn judge(ports: &[Port]) -> Vec<Finding> {
    ports.iter().filter_map(one).collect()
}

fn one(port: &Port) -> Option<Finding> {
    let Port { whose, key, kind, address, bind } = port;
    let effect = "`weir run` does not start; a reload that wants the address is refused".to_owned();
    let (code, cause, evidence, fix) = match bind {
        Bind::Free | Bind::Ours => return None,
        Bind::Taken(Some(owner)) => (
            "port_taken",
            format!("{whose} cannot have {address}: {owner} has it"),
            format!("binding it says `address in use`; pid {} runs `{}`", owner.pid, owner.line),
            format!("stop it (`kill {}`, or its service), or change {key}", owner.pid),
        ),
        Bind::Taken(None) => (
            "port_taken",
            format!("{whose} cannot have {address}: another process has it"),
            "binding it says `address in use`; whose it is is hidden from this user".to_owned(),
            format!("{} shows who has it; stop that, or change {key}", sockets_of(kind)),
        ),
        Bind::Denied if *kind == "unix" => (
            "port_denied",
            format!("{whose} may not make {address}"),
            "its directory does not let this user write".to_owned(),
            format!("give this user the directory (in a unit: `RuntimeDirectory=weir`), or change {key}"),
        ),
        Bind::Denied => (
            "port_denied",
            format!("{whose} may not have {address}: a port under 1024 needs a right that this user lacks"),
            "binding it says `permission denied`".to_owned(),
            format!(
                "`setcap cap_net_bind_service=+ep $(command -v weir)`, in a unit \
                 `AmbientCapabilities=CAP_NET_BIND_SERVICE`, or change {key}"
            ),
        ),
        Bind::NotHere => (
            "address_not_here",
            format!("{whose} cannot have {address}: this host has no such address"),
            "binding it says `cannot assign requested address`; `ip -brief addr` lists those it has".to_owned(),
            format!(
                "change {key}, or add the address (`ip addr add`); for one that comes and goes (VRRP): \
                 `sysctl -w net.ipv4.ip_nonlocal_bind=1`"
            ),
        ),
        Bind::Failed(words) => (
            "port_failed",
            format!("{whose} cannot have {address}: {words}"),
            format!("the system says: {words}"),
            format!("change {key}, or what stands in its way"),
        ),
    };
    Some(PORTS.bad(code, Says { cause, evidence, effect, fix }))
}

fn sockets_of(kind: &str) -> &'static str {
    match kind {
        "udp" => "`sudo ss -lunp`",
        "unix" => "`sudo ss -lxp`",
        _ => "`sudo ss -ltnp`",
    }
}
